"""From scenario to page with the real programs, and what judges it."""

import dataclasses
import re
import secrets
import subprocess
import tempfile
import unittest
import unittest.mock
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.pages import shorten
from tools.pages.incidents import PAGES, WARNINGS, Incident
from tools.pages.run import FACTOR, Course, anchors, judge, judge_text, notifications, run, table
from tools.pages.stack import EXAMPLE, RULES, short_rules
from tools.scenarios import SCENARIOS, Report
from tools.servers import Page


def alerts() -> list[dict[str, Any]]:
    return [rule for group in shorten.load(RULES)["groups"] for rule in group["rules"] if "alert" in rule]


class FastMotion(unittest.TestCase):
    def test_durations(self) -> None:
        for text, factor, short in (
            ("1h", 60, "60s"),
            ("23h30m", 60, "1410s"),
            ("5m", 12, "25s"),
            ("1m", 120, "500ms"),
            ("0s", 60, "0s"),
            ("10s", 60, "167ms"),
        ):
            self.assertEqual(shorten.shorter(text, factor), short)
        for wrong in ("", "1", "m", "1.5h", "1h 2m"):
            with self.assertRaises(ValueError):
                shorten.seconds(wrong)

    def test_expressions(self) -> None:
        for text, short in (
            ("rate(a[5m] offset 23h30m) > 0.1", "rate(a[5s] offset 1410s) > 0.1"),
            ("x < 4 * 3600 and y / 900 > 14400", "x < 4 * 60 and y / 15 > 240"),
            ("x * 1000 > 60", "x * 1000 > 60"),
            ("sum_over_time(r[1h]) * 60 > 1 / 60", "sum_over_time(r[60s]) * 1 > 1 / 60"),
            (
                'a{le="0.005",w="1h",n="3600"}[1w] > 14.4 * 0.001',
                'a{le="0.005",w="1h",n="3600"}[10080s] > 14.4 * 0.001',
            ),
            ("job:x:rate5m > job:y:growth1h", "job:x:rate5m > job:y:growth1h"),
            ("max_over_time(q[1d:1m])", "max_over_time(q[1440s:1s])"),
            ("# 3600 in a comment [5m]\nup == 0", "up == 0"),
        ):
            self.assertEqual(shorten.expression(text, 60), short)

    def test_nothing_but_times_changes(self) -> None:
        """Put back, everything is as it was; so are annotations, labels and names without being put back."""
        original = shorten.load(RULES)
        short = shorten.rules(original, 60)
        for group, quick in zip(original["groups"], short["groups"], strict=True):
            self.assertEqual(shorten.seconds(quick["interval"]) * 60, shorten.seconds(group["interval"]))
            for rule, fast in zip(group["rules"], quick["rules"], strict=True):
                timeless = ("expr", "for", "keep_firing_for")
                self.assertEqual({**fast, **{key: rule[key] for key in timeless if key in rule}}, rule)
                for key in ("for", "keep_firing_for"):
                    if key in rule:
                        self.assertAlmostEqual(shorten.seconds(fast[key]) * 60, shorten.seconds(rule[key]))
                self.assertEqual(self.skeleton(fast["expr"]), self.skeleton(rule["expr"]))

    @staticmethod
    def skeleton(expression: str) -> str:
        """An expression without comments, times and seconds."""
        without = "\n".join(line for line in expression.splitlines() if not line.lstrip().startswith("#"))
        return re.sub(rf"(?<![\w:.\"]){shorten.DURATION}\b|(?<![\w:.\"])\d+\b(?!\.)", "T", without).strip()

    def test_the_numbers_that_are_seconds_are_these(self) -> None:
        """A new multiple of 900 in the rules must be looked at: it is divided as if it were seconds."""
        found = {int(n) for rule in self.all_expressions() for n in re.findall(r"(?<![\w:.\"])\d+\b(?![.\w])", rule)}
        self.assertEqual({n for n in found if n and n % shorten.SECONDS == 0} - {900, 3600, 14400}, set())

    @staticmethod
    def all_expressions() -> list[str]:
        return [rule["expr"] for group in shorten.load(RULES)["groups"] for rule in group["rules"]]

    def test_prometheus_and_alertmanager_take_them(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            for factor in (1, 12, 60, 120):
                rules = short_rules(Path(name), factor)
                subprocess.run(["promtool", "check", "rules", rules], check=True, capture_output=True)
                config = Path(name) / "alertmanager.yml"
                config.write_text(
                    yaml.safe_dump(shorten.alertmanager(shorten.load(EXAMPLE), factor, "http://127.0.0.1:1/"))
                )
                subprocess.run(["amtool", "check-config", config], check=True, capture_output=True)

    def test_every_receiver_is_ours_and_every_route_is_kept(self) -> None:
        original = shorten.load(EXAMPLE)
        short = shorten.alertmanager(original, 60, "http://pager/")
        urls = [hook["url"] for receiver in short["receivers"] for hook in receiver.get("webhook_configs", [])]
        self.assertEqual(urls, [f"http://pager/{name}" for name in ("page", "team")])
        self.assertEqual(short["inhibit_rules"], original["inhibit_rules"])
        self.assertEqual(
            [route["matchers"] for route in short["route"]["routes"]],
            [route["matchers"] for route in original["route"]["routes"]],
        )


DOWN = Incident("down", "SessgateDown", "crash", number=r"127\.0\.0\.1:\d+", muted=("SessgateNearCap",))
TEXT = {
    "summary": "A sidecar cannot be scraped.",
    "description": "127.0.0.1:9480 of job down has not answered.",
    "runbook_url": "https://example.org/alerts/runbook.md#sessgatedown",
}


def course(incident: Incident = DOWN, **changes: Any) -> Course:
    """A course in which everything is right, but for the changes."""
    right: dict[str, Any] = {
        "report": Report("crash", 1, onset=100.0, relief=120.0),
        "told": [(104.0, "page", "SessgateDown")],
        "calls": 1,
        "resolved": {"SessgateDown": 122.0},
        "muted": {"SessgateNearCap"},
        "annotations": TEXT,
    }
    return Course(incident, **{**right, **changes})


@unittest.mock.patch("tools.pages.run.anchors", lambda: {"sessgatedown"})
class Verdict(unittest.TestCase):
    def expect(self, wanted: str, **changes: Any) -> None:
        problems = judge(course(**changes))
        self.assertTrue(any(re.search(wanted, problem) for problem in problems), (wanted, problems))

    def test_all_is_right(self) -> None:
        self.assertEqual(judge(course()), [])
        self.assertEqual((course().to_page, course().to_resolved), (4.0, 2.0))

    def test_each_wrong_is_named(self) -> None:
        page = (104.0, "page", "SessgateDown")
        self.expect("pages: none", told=[])
        self.expect("came 2 times", told=[page, (110.0, "page", "SessgateDown")])
        self.expect("pages: .*SessgateOther", told=[page, (110.0, "page", "SessgateOther")])
        self.expect("came 0 times to page", told=[(104.0, "team", "SessgateDown")])
        self.expect("before the cause", told=[(99.0, "page", "SessgateDown")])
        self.expect("not resolved", resolved={})
        self.expect("NearCap was told", told=[page, (105.0, "team", "SessgateNearCap")])
        self.expect("not seen muted", muted=set())
        self.expect("rang 2 times", calls=2)
        self.expect("rang 0 times", calls=0)
        self.expect("not told that all is over", is_open=True)
        self.expect("does not name the job", annotations={**TEXT, "description": "127.0.0.1:9480 is gone"})
        self.expect(r"no 127", annotations={**TEXT, "description": "of job down"})
        self.expect("no link to the runbook", annotations={**TEXT, "runbook_url": "https://example.org/"})

    def test_another_name_of_the_cause_may_come_before_or_after_but_neither_beside_it_nor_with_a_call(self) -> None:
        cap = dataclasses.replace(DOWN, lesser=("SessgateSoon", "SessgateNearCap"))
        soon, page = (102.0, "page", "SessgateSoon"), (104.0, "page", "SessgateDown")
        near = (122.0, "page", "SessgateNearCap")
        for told in ([page], [soon, page], [page, near], [soon, page, near]):
            self.assertEqual(judge(course(cap, told=told)), [])
        self.expect("rang 2 times", incident=cap, told=[soon, page], calls=2)
        self.expect("pages: none", incident=cap, told=[soon])
        self.expect("Soon was told beside", incident=cap, told=[soon, page], beside={("SessgateSoon", "SessgateDown")})

    def test_a_link_must_lead_somewhere(self) -> None:
        with unittest.mock.patch("tools.pages.run.anchors", lambda: {"other"}):
            self.assertEqual(judge_text(DOWN, TEXT), ["the runbook has no #sessgatedown"])

    def test_a_warning_may_page_nobody(self) -> None:
        warning = Incident("flood", "SessgateCreationFlood", "flood", "warning")
        told = Course(warning, told=[(1.0, "page", "SessgateCapReached"), (2.0, "team", "SessgateCreationFlood")])
        self.assertTrue(any("wanted none" in problem for problem in judge(told)))

    def test_on_a_quiet_day_every_word_is_too_many(self) -> None:
        quiet = Course(Incident("quiet", "", "normal-day"), told=[(1.0, "team", "SessgateNearCap")])
        self.assertEqual(judge(quiet), ["SessgateNearCap was told to team"])

    def test_notifications_are_read_as_a_person_reads_them(self) -> None:
        def page(
            at: float,
            firing: Sequence[str],
            resolved: Sequence[str] = (),
            receiver: str = "page",
            job: str = "a",
            key: str = "",
        ) -> Page:
            states = [(name, "firing") for name in firing] + [(name, "resolved") for name in resolved]
            listed = [
                {"labels": {"alertname": name}, "status": status, "annotations": {"summary": name}}
                for name, status in states
            ]
            labels = {"job": job}
            payload: Mapping[str, Any] = {
                "receiver": receiver, "groupKey": key or job, "groupLabels": labels, "alerts": listed
            }
            return Page(at, at, "/", payload)

        pages = [
            page(1, ["X"]),
            page(2, ["X", "Y"]),
            page(3, ["Z"], receiver="team"),
            page(4, ["W"], job="b"),
            page(5, ["Y"], ["X"]),
            page(6, ["X"], ["Y"]),
        ]
        read = notifications(pages, "a")
        self.assertEqual(read.told, [(1, "page", "X"), (2, "page", "Y"), (3, "team", "Z"), (6, "page", "X")])
        self.assertEqual(read.resolved, {"X": 5, "Y": 6})
        self.assertEqual(read.annotations["Z"], {"summary": "Z"})
        self.assertEqual((read.beside, read.calls, read.is_open), ({("Y", "X")}, 1, True))
        stays = notifications([page(1, ["X", "Y"]), page(2, ["X", "Y", "Z"])], "a").beside
        self.assertEqual(stays, {("X", "Y"), ("Y", "X"), ("Z", "X"), ("Z", "Y")})
        over = notifications([*pages, page(7, [], ["X"])], "a")
        self.assertEqual((over.calls, over.is_open), (1, False))
        again = notifications([*pages, page(7, [], ["X"]), page(8, ["X"])], "a")
        self.assertEqual((again.calls, again.is_open), (2, True))
        self.assertEqual(notifications([*pages, page(7, ["V"], key="V")], "a").calls, 2)


class Coverage(unittest.TestCase):
    def test_every_critical_alert_has_an_incident(self) -> None:
        critical = {rule["alert"] for rule in alerts() if rule["labels"]["severity"] == "critical"}
        self.assertEqual(critical - {incident.alert for incident in PAGES}, set())

    def test_incidents_name_what_exists(self) -> None:
        known = {rule["alert"] for rule in alerts()}
        for incident in (*PAGES, *WARNINGS):
            self.assertEqual({incident.alert, *incident.muted, *incident.also} - known, set())
            self.assertIn(incident.scenario, SCENARIOS)

    def test_the_runbook_has_every_alert(self) -> None:
        self.assertEqual({rule["alert"].lower() for rule in alerts()} - anchors(), set())


class EndToEnd(unittest.TestCase):
    def test_each_critical_alert_arrives_as_one_page(self) -> None:
        """Real sidecars, Prometheus and Alertmanager, an hour in a minute; `python3 -m tools.pages --all` does more."""
        seed = secrets.randbelow(1 << 32)
        courses = run(PAGES, seed=seed, tell=print)
        print(table(courses, FACTOR))
        problems = {course.incident.name: course.problems for course in courses if course.problems}
        self.assertEqual(problems, {}, f"seed {seed}")
        self.assertEqual(len(courses), len(PAGES) + 1)


if __name__ == "__main__":
    unittest.main()
