"""The rules of grafana/dashboard-linter, and some of our own, for a dashboard: `python3 -m tools.dashboards.lint`.

Rules have the names they have there. Its rule that each selector names an instance has one exception here: recorded
series and alerts stand for a whole job. Its rules about Loki do not apply. Ours have names that begin with `own-`.
Expressions are parsed by promql-parser, which checks types and functions as Prometheus does.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import venv
from tools.dashboards.macros import Json, events, expand, panels, variables

venv.activate()

import promql_parser  # noqa: E402  (from the environment that the line above makes importable)

Finding = tuple[str, str]
"""The name of a rule, and what breaks it."""
Node = Any
"""A node of promql-parser's tree."""

UNITS = frozenset({
    "none", "short", "locale", "percent", "percentunit", "bytes", "s", "ms", "dtdurations", "ops", "reqps", "cpm", "hex", "bool_yes_no",
})
"""The units in use here, all of them Grafana's; there an unknown one is shown as it is written."""
JUDGED = ("stat", "gauge", "bargauge", "timeseries", "table", "heatmap")
"""The kinds of panel in use here."""
RATE_INTERVAL = "7919s"
"""A range that stands for $__rate_interval while an expression is parsed, and nothing else has."""
GLOBALS = {"__rate_interval": RATE_INTERVAL, "__interval": "7907s", "__range": "7901s"}


def parse(expr: str, dashboard: Json) -> Node:
    """The tree of an expression; ValueError or KeyError if it is none."""
    names = {variable["name"]: f"${variable['name']}" for variable in variables(dashboard)}
    return promql_parser.parse(expand(expr, {**names, **GLOBALS}))


def walk(node: Node, above: tuple[Node, ...] = ()) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Each node under this one with the nodes above it, the nearest last."""
    yield node, above
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")]
    for child in [*below, *(getattr(node, "args", None) or [])]:
        if child is not None:
            yield from walk(child, (*above, node))


def selectors(tree: Node) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Each selector with the nodes above it."""
    for node, above in walk(tree):
        if isinstance(node, promql_parser.VectorSelector):
            yield node, above


def matchers(selector: Node) -> set[tuple[str, str, str]]:
    """The matchers of a selector: label, operator, value."""
    signs = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    return {(one.name, signs[str(one.op).removeprefix("MatchOp.")], one.value) for one in selector.matchers.matchers}


def stands_for_a_job(name: str) -> bool:
    """Whether series of this name have no instance of their own."""
    return ":" in name or name in ("ALERTS", "ALERTS_FOR_STATE")


# --- the dashboard as a whole ---------------------------------------------------------------------------------------


def check_dashboard(dashboard: Json) -> Iterator[Finding]:
    """What concerns no single panel."""
    if dashboard.get("editable") is not False:
        yield "uneditable-dashboard", "is editable"
    if "id" in dashboard or not re.fullmatch(r"[a-z-]{8,40}", dashboard.get("uid", "")):
        yield "own-identity", "has an id, or no fixed uid"
    if dashboard["schemaVersion"] != 42:
        yield "own-schema-version", f"is {dashboard['schemaVersion']}"
    sources = [variable for variable in variables(dashboard) if variable["type"] == "datasource"]
    if [(one["name"], one["label"], one["query"]) for one in sources] != [("datasource", "Data source", "prometheus")]:
        yield "template-datasource-rule", "has not exactly one variable `datasource` with its label"
    yield from check_place(dashboard)


def check_place(dashboard: Json) -> Iterator[Finding]:
    """No number twice; no panel over another or out of the grid."""
    numbers = [panel["id"] for panel in dashboard["panels"]]
    if len(set(numbers)) != len(numbers):
        yield "own-panel-ids", "has one of them twice"
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        if taken & cells or max(x for x, _ in cells) >= 24:
            yield "own-grid", f"{panel['title']} overlaps another panel, or leaves the grid"
        taken |= cells


def check_variables(dashboard: Json) -> Iterator[Finding]:
    """Namespace, job and instance: multi, with a value for all of them, asked anew when the time changes."""
    by_name = {variable["name"]: variable for variable in variables(dashboard)}
    for name, every in (("namespace", ".*"), ("job", ".+"), ("instance", ".+")):
        found, rule = by_name.get(name), f"template-{name}-rule"
        if found is None:
            yield rule, "is missing"
            continue
        wanted = {
            "type": "query", "label": name.capitalize(), "multi": True, "includeAll": True, "allValue": every,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
        }
        for key, value in wanted.items():
            if found.get(key) != value:
                yield rule, f"{key} should be {value}"
        if found.get("refresh") != 2:
            yield "template-on-time-change-reload-rule", f"{name} is not asked anew when the time changes"
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", found.get("query", ""))
        if query is None or not parses(query[1], dashboard):
            yield "template-label-promql-rule", f"{name} asks {found.get('query')}"


def parses(expr: str, dashboard: Json) -> bool:
    """Whether this is an expression."""
    try:
        parse(expr, dashboard)
    except (KeyError, ValueError):
        return False
    return True


# --- panels ---------------------------------------------------------------------------------------------------------


def check_panel(panel: Json) -> Iterator[Finding]:
    """What concerns a panel without its queries."""
    if panel["type"] not in JUDGED:
        yield "own-panel-kind", f"{panel['type']} is not looked at by these rules"
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        yield "panel-datasource-rule", "does not use the variable"
    if len(panel.get("title", "")) == 0 or len(panel.get("description", "")) < 40:
        yield "panel-title-description-rule", "has no title, or no description that says what to do"
    if not panel.get("targets"):
        yield "panel-no-targets-rule", "asks nothing"
    field = panel["fieldConfig"]
    units = [field["defaults"].get("unit"), *(
        item["value"] for override in field["overrides"] for item in override["properties"] if item["id"] == "unit"
    )]
    if not set(units) <= UNITS:
        yield "panel-units-rule", f"has the units {units}"
    references = [target["refId"] for target in panel.get("targets", [])]
    if len(set(references)) != len(references):
        yield "own-ref-ids", "has one of them twice"


# --- queries --------------------------------------------------------------------------------------------------------


def check_expression(expr: str, dashboard: Json) -> Iterator[Finding]:
    """What concerns one expression, of a panel or of an annotation."""
    try:
        tree = parse(expr, dashboard)
    except (KeyError, ValueError) as error:
        yield "target-promql-rule", f"{expr}: {error}"
        return
    for selector, above in selectors(tree):
        found, name = matchers(selector), selector.name or ""
        wanted = ["namespace", "job"] if stands_for_a_job(name) else ["namespace", "job", "instance"]
        for label in wanted:
            if (label, "=~", f"${label}") not in found:
                yield f"target-{label}-rule", f"{name} does not select it"
        ranged = bool(above) and isinstance(above[-1], promql_parser.MatrixSelector)
        function = above[-2].func.name if ranged and isinstance(above[-2], promql_parser.Call) else None
        if name.endswith("_total") and function not in ("rate", "irate", "increase"):
            yield "target-counter-agg-rule", f"{name} is not inside rate or increase"
        if ranged and function in ("rate", "irate", "increase") and not is_rate_interval(above[-1]):
            yield "target-rate-interval-rule", f"{name} is not over $__rate_interval"


def is_rate_interval(matrix: Node) -> bool:
    """Whether the range of a selector is $__rate_interval."""
    return f"{matrix.range.total_seconds():g}s" == RATE_INTERVAL


def lint(dashboard: Json) -> list[Finding]:
    """All that is wrong with a dashboard."""
    found = [*check_dashboard(dashboard), *check_variables(dashboard)]
    for panel in panels(dashboard):
        inside: list[Finding] = list(check_panel(panel))
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${datasource}":
                inside.append(("panel-datasource-rule", "a query does not use the variable"))
            inside += check_expression(target["expr"], dashboard)
        found += [(rule, f"{panel.get('title')}: {text}") for rule, text in inside]
    for annotation in events(dashboard):
        found += [(rule, f"annotation {annotation['name']}: {text}") for rule, text in check_expression(annotation["expr"], dashboard)]
    return found


def main(files: list[str]) -> int:
    """Prints what is wrong with these files, or with all dashboards."""
    from tools.dashboards.build import DASHBOARDS, FOLDER

    count = 0
    for file in map(Path, files or [str(FOLDER / f"{name}.json") for name in DASHBOARDS]):
        for rule, text in lint(json.loads(file.read_text())):
            print(f"{file.name}: {rule}: {text}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
