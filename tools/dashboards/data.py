"""Whether a dashboard has data: asks a Prometheus everything that Grafana would ask it.

Each query must give at least one series of finite numbers, and something must have been other than 0 in the time that the
dashboard shows. Also the names of the series must be as the panel expects: each label of a legend is there, no two series
of a panel are called the same, and each setting for one series finds it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.dashboards.macros import Json, events, expand, panels, variables
from tools.servers import Prometheus, Sample

LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Window:
    """The time that a dashboard shows: Unix seconds, the step between points, and the scrape interval, in seconds."""

    start: float
    end: float
    step: float
    scrape: float

    @property
    def values(self) -> dict[str, str]:
        """Grafana's variables: everything selected, and its intervals as it computes them."""
        rate = max(self.step + self.scrape, 4 * self.scrape)
        return {
            "namespace": ".*", "job": ".+", "instance": ".+", "datasource": "prometheus", "__interval": f"{self.step:g}s",
            "__rate_interval": f"{math.ceil(rate)}s", "__range": f"{math.ceil(self.end - self.start)}s",
        }


@dataclass(frozen=True)
class Answer:
    """What one query of a panel gave: what is shown, and what would be over the whole window."""

    target: Json
    series: Sequence[Sample]
    history: Sequence[Sample]

    def names(self) -> list[str]:
        """What the series are called in the panel."""
        return [legend(self.target["legendFormat"], series) for series in self.series]

    def missing_labels(self) -> set[str]:
        """Labels of the legend that some series does not have."""
        wanted = set(LEGEND_LABEL.findall(self.target["legendFormat"]))
        return {label for label in wanted if any(label not in series.labels for series in self.series)}


def legend(pattern: str, series: Sample) -> str:
    """The name of a series: the legend with its labels filled in."""
    return LEGEND_LABEL.sub(lambda match: series.labels.get(match[1], ""), pattern)


def ask(prometheus: Prometheus, target: Json, window: Window) -> Answer:
    """One query of a panel, as Grafana asks it: for the end of the window, or for all of it."""
    expr = expand(target["expr"], window.values)
    history = prometheus.query_range(expr, window.start, window.end, window.step)
    return Answer(target, prometheus.query(expr, window.end) if target["instant"] else history, history)


def check_answer(answer: Answer, quiet: bool) -> Iterator[str]:
    """What is wrong with the answer to one query."""
    expr = answer.target["expr"]
    values = [value for series in answer.series for _, value in series.points]
    if not values:
        yield f"gives nothing: {expr}"
        return
    if not all(math.isfinite(value) for value in values):
        yield f"gives NaN or an infinity: {expr}"
    if not quiet and not any(value for series in answer.history for _, value in series.points):
        yield f"did not move: {expr}"
    if missing := answer.missing_labels():
        yield f"has no labels {sorted(missing)} for its legend: {expr}"


def check_names(panel: Json, answers: Sequence[Answer]) -> Iterator[str]:
    """What is wrong with the names of a panel's series."""
    names = [name for answer in answers for name in answer.names()]
    labels = {label for answer in answers for series in answer.history for label in series.labels}
    if panel["type"] == "table":
        shown = panel["transformations"][0]["options"]["include"]["names"]
        yield from (f"has no column {name}" for name in shown if name not in labels | {"Value"})
        return
    yield from (f"has two series called {name}" for name, count in Counter(names).items() if count > 1)
    wanted = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    yield from (f"has a setting for {name}, which is not there" for name in sorted(wanted - set(names)))


def check_variables(dashboard: Json, prometheus: Prometheus, window: Window) -> Iterator[str]:
    """What is wrong with the variables: each must offer something."""
    for variable in variables(dashboard):
        if variable["type"] != "query":
            continue
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", expand(variable["query"], window.values))
        given = {"match[]": match[1], "start": window.start, "end": window.end} if match else {}
        if not match or not prometheus.api(f"label/{match[2]}/values", **given):
            yield f"variable {variable['name']} offers nothing"


def check_annotations(dashboard: Json, prometheus: Prometheus, window: Window, quiet: frozenset[str]) -> Iterator[str]:
    """What is wrong with the annotations: each must have marked something, with its text complete."""
    for annotation in events(dashboard):
        found = prometheus.query_range(expand(annotation["expr"], window.values), window.start, window.end, window.step)
        times = [value for series in found for _, value in series.points if value > 0]
        if not times and annotation["name"] not in quiet:
            yield f"annotation {annotation['name']} marks nothing"
        if annotation["useValueForTime"] and not any(window.start <= event / 1000 <= window.end for event in times):
            yield f"annotation {annotation['name']} has no event in the window"


def check(dashboard: Json, prometheus: Prometheus, window: Window, quiet: frozenset[str] = frozenset()) -> list[str]:
    """All that is wrong with a dashboard's data. Panels and annotations in `quiet` may be all zeros."""
    found = [*check_variables(dashboard, prometheus, window), *check_annotations(dashboard, prometheus, window, quiet)]
    for panel in panels(dashboard):
        answers = [ask(prometheus, target, window) for target in panel["targets"]]
        wrong = [text for answer in answers for text in check_answer(answer, panel["title"] in quiet)]
        found += [f"{panel['title']}: {text}" for text in [*wrong, *check_names(panel, answers)]]
    return found
