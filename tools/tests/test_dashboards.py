"""The committed dashboards are current, keep the linter's rules, survive Grafana's model, and agree with the alerts."""

import copy
import json
import re
import struct
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tools.dashboards import bounds, build, lint, roundtrip
from tools.dashboards.macros import events, expand, panels
from tools.dashboards.pictures import LARGEST, WIDTH, height_of
from tools.rules import coverage

Json = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parent.parent.parent
RULES = REPOSITORY / "alerts" / "sessgate.rules.yml"


def dashboards() -> dict[str, Json]:
    return {name: json.loads((build.FOLDER / f"{name}.json").read_text()) for name in build.DASHBOARDS}


def alerts() -> list[Json]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def panel(dashboard: Json, kind: str = "timeseries") -> Json:
    return next(found for found in panels(dashboard) if found["type"] == kind)


def variable(dashboard: Json, name: str) -> Json:
    return next(found for found in dashboard["templating"]["list"] if found["name"] == name)


def ask(expr: str) -> Callable[[Json], None]:
    def change(dashboard: Json) -> None:
        panel(dashboard)["targets"][0]["expr"] = expr
    return change


SELECTED = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
BREAKS: list[tuple[str, Callable[[Json], Any]]] = [
    ("uneditable-dashboard", lambda d: d.update(editable=True)),
    ("own-identity", lambda d: d.update(id=7)),
    ("own-identity", lambda d: d.pop("uid")),
    ("own-schema-version", lambda d: d.update(schemaVersion=39)),
    ("template-datasource-rule", lambda d: variable(d, "datasource").update(label="Prometheus")),
    ("template-namespace-rule", lambda d: variable(d, "namespace").update(allValue=".+")),
    ("template-job-rule", lambda d: variable(d, "job").update(multi=False)),
    ("template-job-rule", lambda d: d["templating"]["list"].remove(variable(d, "job"))),
    ("template-instance-rule", lambda d: variable(d, "instance").update(allValue="")),
    ("template-on-time-change-reload-rule", lambda d: variable(d, "instance").update(refresh=1)),
    ("template-label-promql-rule", lambda d: variable(d, "instance").update(query="label_values(up{, instance)")),
    ("own-panel-ids", lambda d: panel(d).update(id=1)),
    ("own-grid", lambda d: panel(d)["gridPos"].update(x=20)),
    ("own-panel-kind", lambda d: panel(d).update(type="graph")),
    ("panel-datasource-rule", lambda d: panel(d).update(datasource={"type": "prometheus", "uid": "abc"})),
    ("panel-datasource-rule", lambda d: panel(d)["targets"][0].update(datasource={"type": "prometheus", "uid": "abc"})),
    ("panel-title-description-rule", lambda d: panel(d).pop("description")),
    ("panel-no-targets-rule", lambda d: panel(d).update(targets=[])),
    ("panel-units-rule", lambda d: panel(d)["fieldConfig"]["defaults"].update(unit="byte")),
    ("panel-units-rule", lambda d: panel(d)["fieldConfig"]["defaults"].pop("unit")),
    ("own-ref-ids", lambda d: panel(d)["targets"].append(panel(d)["targets"][0])),
    ("target-promql-rule", ask("sum(")),
    ("target-promql-rule", ask(f"rate(sessgate_sessions{{{SELECTED}}})")),
    ("target-promql-rule", ask(f"sessgate_sessions{{{SELECTED}, tier=~\"$tier\"}}")),
    ("target-namespace-rule", ask('sessgate_users{job=~"$job", instance=~"$instance"}')),
    ("target-job-rule", ask('sessgate_users{namespace=~"$namespace", job="$job", instance=~"$instance"}')),
    ("target-instance-rule", ask('1 + max(sessgate_users{namespace=~"$namespace", job=~"$job"})')),
    ("target-job-rule", ask('job:sessgate_sessions:sum{namespace=~"$namespace"}')),
    ("target-counter-agg-rule", ask(f"sum(sessgate_requests_total{{{SELECTED}}})")),
    ("target-counter-agg-rule", ask(f"deriv(sessgate_requests_total{{{SELECTED}}}[$__rate_interval])")),
    ("target-rate-interval-rule", ask(f"rate(sessgate_requests_total{{{SELECTED}}}[5m])")),
    ("target-instance-rule", lambda d: events(d)[1].update(expr="process_start_time_seconds")),
]
"""Each rule of the linter, and a change that it must find."""


class Files(unittest.TestCase):
    def test_they_are_what_the_descriptions_say(self) -> None:
        self.assertEqual(build.outdated(), [], "run python3 -m tools.dashboards.build")

    def test_nothing_else_lies_in_the_folder(self) -> None:
        known = {*build.wanted(), "README.md", "provisioning"}
        self.assertEqual({found.name for found in build.FOLDER.iterdir()} - known, set())

    def test_provisioning_names_what_is_there(self) -> None:
        folder = build.FOLDER / "provisioning"
        source = yaml.safe_load((folder / "datasources" / "sessgate.yaml").read_text())
        provider = yaml.safe_load((folder / "dashboards" / "sessgate.yaml").read_text())
        self.assertEqual([one["type"] for one in source["datasources"]], ["prometheus"])
        self.assertEqual([one["type"] for one in provider["providers"]], ["file"])
        self.assertFalse(provider["providers"][0]["allowUiUpdates"])

    def test_the_config_map_holds_them_all(self) -> None:
        config_map = yaml.safe_load((build.FOLDER / build.CONFIG_MAP).read_text())
        held = {name: json.loads(text) for name, text in config_map["data"].items()}
        self.assertEqual(held, {f"sessgate-{name}.json": dashboard for name, dashboard in dashboards().items()})
        self.assertEqual(config_map["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertLess(len((build.FOLDER / build.CONFIG_MAP).read_bytes()), 1024 * 1024)


class Lint(unittest.TestCase):
    def test_nothing_is_wrong(self) -> None:
        for name, dashboard in dashboards().items():
            self.assertEqual(lint.lint(dashboard), [], name)

    def test_each_rule_finds_what_breaks_it(self) -> None:
        good = dashboards()["overview"]
        for rule, change in BREAKS:
            broken = copy.deepcopy(good)
            change(broken)
            with self.subTest(rule=rule):
                self.assertIn(rule, {found for found, _ in lint.lint(broken)})

    def test_what_the_linter_must_excuse_is_told_to_it(self) -> None:
        rules = yaml.safe_load((build.FOLDER / ".lint").read_text())["exclusions"]
        told = {(entry["dashboard"], entry["panel"]) for entry in rules["target-instance-rule"]["entries"]}
        excused = {
            (dashboard["title"], each["title"]) for dashboard in dashboards().values() for each in panels(dashboard)
            for target in each["targets"] for selector, _ in lint.selectors(lint.parse(target["expr"], dashboard))
            if lint.stands_for_a_job(selector.name)
        }
        self.assertEqual((set(rules), told), ({"target-instance-rule"}, excused))

    def test_recorded_series_need_no_instance(self) -> None:
        dashboard = dashboards()["overview"]
        ask('sum(job:sessgate_sessions:sum{namespace=~"$namespace", job=~"$job"})')(dashboard)
        self.assertEqual(lint.lint(dashboard), [])


class RoundTrip(unittest.TestCase):
    def test_nothing_is_lost(self) -> None:
        for name, dashboard in dashboards().items():
            self.assertEqual(roundtrip.lost(dashboard), [], name)

    def test_a_misspelt_key_is_lost(self) -> None:
        changes: list[tuple[str, Callable[[Json], Any]]] = [
            (".graphToolTip", lambda d: d.update(graphToolTip=1)),
            (".fieldConfig.defaults.units", lambda d: panel(d)["fieldConfig"]["defaults"].update(units="s")),
            (".fieldConfig.defaults.custom.fillOpacities", lambda d: panel(d)["fieldConfig"]["defaults"]["custom"].update(fillOpacities=1)),
            (".options.graph", lambda d: panel(d, "stat")["options"].update(graph="none")),
            (".targets[0].legend", lambda d: panel(d)["targets"][0].update(legend="x")),
            (".annotations.list[1].title", lambda d: events(d)[0].update(title="x")),
            (".templating.list[1].allValues", lambda d: variable(d, "namespace").update(allValues=".*")),
        ]
        for path, change in changes:
            dashboard = dashboards()["overview"]
            change(dashboard)
            with self.subTest(path=path):
                self.assertTrue([lost for lost in roundtrip.lost(dashboard) if lost.endswith(path)], roundtrip.lost(dashboard))


class Alerts(unittest.TestCase):
    """What the dashboards say of the alerts is so."""

    def links(self) -> set[str]:
        return {link["url"] for dashboard in dashboards().values() for each in panels(dashboard) for link in each.get("links", [])}

    def test_bounds_are_those_of_the_alerts(self) -> None:
        expressions: dict[str, str] = {}
        for rule in alerts():
            expressions[rule["alert"]] = expressions.get(rule["alert"], "") + " ; " + " ".join(rule["expr"].split())
        for bound in bounds.BOUNDS:
            with self.subTest(alert=bound.alert):
                # The number ends here, and is multiplied with no other number.
                self.assertRegex(expressions[bound.alert], re.escape(bound.words) + r"(?![\d.])(?! *\* *\d)")

    def test_bounds_are_numbers(self) -> None:
        self.assertEqual(bounds.STORAGE_FULL_SOON.value, 14_400)
        self.assertEqual(bounds.CREATION_MUCH_MORE.value, 1.5)
        self.assertAlmostEqual(bounds.BURN_FAST.value, 0.0144)
        self.assertEqual(bounds.SWEEP_STUCK.value, 3)

    def test_links_to_the_runbook_lead_to_alerts(self) -> None:
        known = {rule["annotations"]["runbook_url"] for rule in alerts()}
        found = self.links()
        self.assertEqual({url for url in found if url.startswith(build.RUNBOOK)}, found)
        self.assertEqual(found - known, set())

    def test_each_alert_that_a_panel_can_show_has_one(self) -> None:
        found = {url.rsplit("#", 1)[1] for url in self.links()}
        self.assertEqual({rule["alert"].lower() for rule in alerts()} - found, WITHOUT_A_PANEL)


WITHOUT_A_PANEL = {
    "sessgateabsent",  # the job exports nothing: it is in the table of alerts that fire
    "sessgatecreationsustained",  # beside expectation and creations, which link to SessgateCreationAnomalous
    "sessgatecreationspikenohistory",  # the same, before there is an expectation
}


class Catalogue(unittest.TestCase):
    """Every metric is on a panel or marked as an annotation, and none is asked for that is not there."""

    def known(self) -> dict[str, str]:
        rows = re.findall(r"^\| `((?:sessgate|process)_\w+)` \| (\w+) \|", (REPOSITORY / "docs" / "METRICS.md").read_text(), re.M)
        return dict(rows)

    def shown(self) -> set[str]:
        found: set[str] = set()
        for dashboard in dashboards().values():
            expressions = [target["expr"] for each in panels(dashboard) for target in each["targets"]]
            expressions += [annotation["expr"] for annotation in events(dashboard)]
            for expr in expressions:
                found |= {selector.name for selector, _ in lint.selectors(lint.parse(expr, dashboard))}
        families = {name: re.sub(r"_(bucket|sum|count)$", "", name) for name in found}
        return {family if family in self.known() else name for name, family in families.items()}

    def test_every_metric_is_shown(self) -> None:
        internal = yaml.safe_load(coverage.INTERNAL.read_text()) or {}
        self.assertGreater(len(self.known()), 40)
        self.assertEqual(set(self.known()) - self.shown(), set(internal))

    def test_only_what_there_is_is_shown(self) -> None:
        recorded = {rule["record"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "record" in rule}
        self.assertEqual(self.shown() - set(self.known()) - recorded, {"up", "ALERTS", "ALERTS_FOR_STATE"})


class Pictures(unittest.TestCase):
    def test_there_is_one_of_each_dashboard(self) -> None:
        folder = REPOSITORY / "docs" / "pictures"
        readme = (build.FOLDER / "README.md").read_text()
        for name in build.DASHBOARDS:
            picture = (folder / f"{name}.png").read_bytes()
            width, height = struct.unpack(">II", picture[16:24])
            self.assertEqual((picture[:4], width), (b"\x89PNG", WIDTH))
            self.assertEqual(height, height_of(dashboards()[name]), f"{name} is old: python3 -m tools.dashboards.pictures")
            self.assertLess(len(picture), LARGEST)
            self.assertIn(f"../docs/pictures/{name}.png", readme)


class Macros(unittest.TestCase):
    def test_variables_are_filled_in(self) -> None:
        values = {"job": "a|b", "__rate_interval": "4s"}
        self.assertEqual(expand('x{job=~"$job"}[$__rate_interval] ${job:regex} ${job}', values), 'x{job=~"a|b"}[4s] a|b a|b')
        with self.assertRaises(KeyError):
            expand("$jobs", values)


if __name__ == "__main__":
    unittest.main()
