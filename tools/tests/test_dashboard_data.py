"""Every query of the dashboards has data, from a real Prometheus that scraped real sidecars while a story was played."""

import contextlib
import copy
import json
import unittest
from collections.abc import Callable
from typing import Any

from tools.dashboards import build, data
from tools.dashboards.data import Window
from tools.dashboards.macros import events, panels
from tools.dashboards.story import Played, Story, played

Json = dict[str, Any]
STORY = Story(length=40, speed=60, waits=False)
"""Seconds: the store must be away for eleven of them before a change fails."""
QUIET = frozenset({"Stale sessions", "Stale share", "Longest unused session", "Processor"})
"""Panels that may show zeros only: what is stale is exact to a minute, and processor time to a second, which a fast
machine may not need. The run for the pictures excuses none of them."""
SELECTED = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'


def panel(dashboard: Json, title: str) -> Json:
    return next(found for found in panels(dashboard) if found["title"] == title)


def ask(expr: str) -> Callable[[Json], None]:
    def change(dashboard: Json) -> None:
        panel(dashboard, "Requests")["targets"][0]["expr"] = expr
    return change


def annotate(name: str, expr: str) -> Callable[[Json], None]:
    def change(dashboard: Json) -> None:
        next(found for found in events(dashboard) if found["name"] == name)["expr"] = expr
    return change


def vary(query: str) -> Callable[[Json], None]:
    def change(dashboard: Json) -> None:
        dashboard["templating"]["list"][1]["query"] = query
    return change


BREAKS: list[tuple[str, Callable[[Json], Any]]] = [
    ("Requests: gives nothing", ask(f"sum by (outcome) (rate(sessgate_request_total{{{SELECTED}}}[$__rate_interval]))")),
    ("Requests: gives nothing", ask(f'sum by (outcome) (rate(sessgate_requests_total{{door="http", {SELECTED}}}[$__rate_interval]))')),
    ("Requests: gives NaN", ask(f"0 * sum by (outcome) (rate(sessgate_requests_total{{{SELECTED}}}[$__rate_interval])) / 0")),
    ("Requests: gives NaN", ask(f"1 / 0 + sum by (outcome) (rate(sessgate_requests_total{{{SELECTED}}}[$__rate_interval]))")),
    ("Requests: did not move", ask(f"0 * sum by (outcome) (rate(sessgate_requests_total{{{SELECTED}}}[$__rate_interval]))")),
    ("Requests: has no labels ['outcome']", ask(f"sum(rate(sessgate_requests_total{{{SELECTED}}}[$__rate_interval]))")),
    ("Requests: has two series called ok", ask(f"sum by (outcome, door) (rate(sessgate_requests_total{{{SELECTED}}}[$__rate_interval]))")),
    ("Requests: has a setting for refused", ask(
        f'sum by (outcome) (rate(sessgate_requests_total{{outcome="ok", {SELECTED}}}[$__rate_interval]))')),
    ("Alerts that fire: has no column namespace", lambda d: panel(d, "Alerts that fire")["targets"][0].update(
        expr='sum by (alertname) (ALERTS{namespace=~"$namespace", job=~"$job"})')),
    ("variable namespace offers nothing", vary("label_values(sessgate_build, namespace)")),
    ("variable namespace offers nothing", vary("label_values(sessgate_build_info, cluster)")),
    ("annotation Reloads marks nothing", annotate("Reloads", f"sessgate_config_reloads{{{SELECTED}}}")),
    ("annotation Restarts has no event in the window", annotate("Restarts", f"process_start_time_seconds{{{SELECTED}}}")),
]
"""What the check must say, and a change after which it must say it."""


class Data(unittest.TestCase):
    """One story for all tests, since it takes longest."""

    story: Played
    window: Window
    stack: contextlib.ExitStack

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = contextlib.ExitStack()
        cls.story = cls.stack.enter_context(played(STORY))
        cls.window = Window(cls.story.start, cls.story.end, step=1, scrape=STORY.scrape)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.stack.close()

    def check(self, dashboard: Json) -> list[str]:
        return data.check(dashboard, self.story.prometheus, self.window, QUIET)

    def test_everything_has_data(self) -> None:
        for name in build.DASHBOARDS:
            with self.subTest(dashboard=name):
                found = self.check(json.loads((build.FOLDER / f"{name}.json").read_text()))
                self.assertEqual(found, [], "\n".join(map(str, self.story.reports)))

    def test_what_has_none_is_found(self) -> None:
        good = json.loads((build.FOLDER / "overview.json").read_text())
        kept = {"Requests", "Alerts that fire"}
        good["panels"] = [found for found in good["panels"] if found["title"] in kept]
        for wanted, change in BREAKS:
            broken = copy.deepcopy(good)
            change(broken)
            with self.subTest(wanted=wanted):
                found = self.check(broken)
                self.assertTrue([text for text in found if text.startswith(wanted)], found)


if __name__ == "__main__":
    unittest.main()
