"""Panels as short descriptions, and the JSON that Grafana wants for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.dashboards.promql import NO_LIMIT

Json = dict[str, Any]

DATA_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
"""The data source that the variable at the top of a dashboard names."""
GREEN, ORANGE, RED, BLUE, PURPLE, GREY, YELLOW = "green", "orange", "red", "blue", "purple", "#8e8e8e", "yellow"


@dataclass(frozen=True)
class Query:
    """One expression of a panel, and what its series are called: text with `{{label}}` in it."""

    expr: str
    legend: str = ""
    heatmap: bool = False

    def json(self, ref: str, *, instant: bool, table: bool = False) -> Json:
        """The target; `ref` is the letter that tells the queries of a panel apart."""
        shape = "heatmap" if self.heatmap else "table" if table else "time_series"
        return {
            "datasource": DATA_SOURCE, "editorMode": "code", "expr": self.expr, "format": shape, "instant": instant,
            "legendFormat": self.legend or "__auto", "range": not instant, "refId": ref,
        }


@dataclass(frozen=True)
class Steps:
    """Thresholds: the colour at first, and at each bound upwards the next one."""

    first: str = GREEN
    bounds: Sequence[tuple[float, str]] = ()

    def json(self) -> Json:
        """The thresholds of a field."""
        steps = [{"color": self.first, "value": None}, *({"color": color, "value": value} for value, color in self.bounds)]
        return {"mode": "absolute", "steps": steps}


def override(name: str, **properties: Any) -> Json:
    """Settings of the one series with this name; a `_` in a property stands for a dot."""
    pairs = [{"id": key.replace("_", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": pairs}


def colored(**colors: str) -> list[Json]:
    """A fixed colour for each series of this name."""
    return [override(name, color={"mode": "fixed", "fixedColor": color}) for name, color in colors.items()]


def limit_line(name: str) -> Json:
    """A limit: a dashed red line without a fill, outside any stack."""
    return override(
        name, color={"mode": "fixed", "fixedColor": RED}, custom_lineStyle={"fill": "dash", "dash": [8, 6]},
        custom_fillOpacity=0, custom_lineWidth=2, custom_stacking={"mode": "none", "group": "A"},
    )


def words(texts: Mapping[float | str, tuple[str, str]]) -> list[Json]:
    """A value mapping: what is there to text and colour."""
    options = {f"{value}": {"text": text, "color": color, "index": n} for n, (value, (text, color)) in enumerate(texts.items())}
    return [{"type": "value", "options": options}]


NO_LIMIT_IN_WORDS: list[Json] = [
    {"type": "range", "options": {"from": NO_LIMIT, "to": None, "result": {"text": "no limit", "color": BLUE, "index": 0}}},
]
"""A value mapping for limits that may be off."""


@dataclass(frozen=True)
class Panel:
    """What every panel has. `width` and `height` are in Grafana's grid: 24 columns, rows of about 30 pixels."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Steps = Steps()
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    mappings: Sequence[Json] = ()
    overrides: Sequence[Json] = ()
    missing: str | None = None
    runbook: str | None = None
    """The alert whose entry in the runbook the panel links to."""

    kind = ""
    instant = True

    def custom(self) -> Json:
        """The settings of a field that only this kind of panel has."""
        return {}

    def options(self) -> Json:
        """The settings of this kind of panel."""
        raise NotImplementedError

    def color(self) -> Json:
        """How a field gets its colour."""
        return {"mode": "thresholds"}

    def json(self, number: int, x: int, y: int, runbook: str) -> Json:
        """The panel at its place; `runbook` is the URL of the runbook."""
        defaults: Json = {
            "color": self.color(), "custom": self.custom(), "unit": self.unit, "thresholds": self.steps.json(),
            "decimals": self.decimals, "min": self.low, "max": self.high, "mappings": list(self.mappings) or None,
            "noValue": self.missing,
        }
        table = self.kind == "table"
        links = [runbook_link(self.runbook, runbook)] if self.runbook else None
        panel: Json = {
            "id": number, "type": self.kind, "title": self.title, "description": self.description,
            "datasource": DATA_SOURCE, "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y}, "links": links,
            "targets": [
                query.json(chr(ord("A") + n), instant=self.instant, table=table) for n, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": without_none(defaults), "overrides": list(self.overrides)},
            "options": self.options(), "transformations": self.transformations() or None,
        }
        return without_none(panel)

    def transformations(self) -> list[Json]:
        """What is done to the answers before they are shown."""
        return []


def without_none(values: Mapping[str, Any]) -> Json:
    """A copy without the keys whose value is None."""
    return {key: value for key, value in values.items() if value is not None}


def runbook_link(alert: str, runbook: str) -> Json:
    """A link to an alert's entry in the runbook."""
    return link(f"Runbook: {alert}", f"{runbook}#{alert.lower()}", "What it means, what to look at, what to turn")


def link(title: str, url: str, tooltip: str) -> Json:
    """A link to a page, in a tab of its own."""
    return {
        "title": title, "type": "link", "icon": "doc", "tooltip": tooltip, "url": url, "tags": [], "asDropdown": False,
        "targetBlank": True, "includeVars": False, "keepTime": False,
    }


REDUCE: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


@dataclass(frozen=True)
class Stat(Panel):
    """One big number a series."""

    width: int = 4
    height: int = 4
    background: bool = True
    size: int = 34
    """Of the number, in pixels."""

    kind = "stat"

    def options(self) -> Json:
        return {
            "colorMode": "background" if self.background else "value", "graphMode": "none", "justifyMode": "auto",
            "orientation": "auto", "percentChangeColorMode": "standard", "reduceOptions": REDUCE,
            "showPercentChange": False, "text": {"titleSize": 14, "valueSize": self.size}, "textMode": "auto", "wideLayout": True,
        }


@dataclass(frozen=True)
class Bars(Panel):
    """One horizontal bar a series; `names` is where its name stands, left or top."""

    names: str = "left"

    kind = "bargauge"

    def options(self) -> Json:
        return {
            "displayMode": "basic", "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
            "maxVizHeight": 300, "minVizHeight": 16, "minVizWidth": 8, "namePlacement": self.names, "orientation": "horizontal",
            "reduceOptions": REDUCE, "showUnfilled": True, "sizing": "auto", "valueMode": "color",
        }


@dataclass(frozen=True)
class Gauge(Panel):
    """One dial a series, with the thresholds around it."""

    kind = "gauge"

    def options(self) -> Json:
        return {
            "minVizHeight": 75, "minVizWidth": 75, "orientation": "auto", "reduceOptions": REDUCE,
            "showThresholdLabels": False, "showThresholdMarkers": True, "sizing": "auto",
        }


@dataclass(frozen=True)
class Lines(Panel):
    """Values over time. `stack` piles them up; `threshold` draws the thresholds as lines; `logarithm` is a base; `ranked`
    lists the series beside the chart, the largest first.

    Up to three lines with fixed names show their last values in the legend; of more, the tooltip does.
    """

    stack: bool = False
    threshold: bool = False
    logarithm: int | None = None
    ranked: bool = False

    kind = "timeseries"
    instant = False

    def color(self) -> Json:
        return {"mode": "palette-classic"}

    def custom(self) -> Json:
        scale: Json = {"type": "log", "log": self.logarithm} if self.logarithm else {"type": "linear"}
        return {
            "axisBorderShow": False, "axisColorMode": "text", "axisPlacement": "auto", "drawStyle": "line",
            "fillOpacity": 40 if self.stack else 0 if self.logarithm or self.ranked else 8, "gradientMode": "none",
            "lineInterpolation": "linear", "lineWidth": 1,
            "scaleDistribution": scale, "showPoints": "never", "spanNulls": False,
            "stacking": {"group": "A", "mode": "normal" if self.stack else "none"},
            "thresholdsStyle": {"mode": "dashed" if self.threshold else "off"},
        }

    def options(self) -> Json:
        tooltip = {"mode": "multi", "sort": "desc"}
        if self.ranked:
            legend = {"calcs": ["max"], "displayMode": "table", "placement": "right", "showLegend": True, "sortBy": "Max", "sortDesc": True}
            return {"legend": legend, "tooltip": tooltip}
        few = len(self.queries) <= 3 and not any("{{" in query.legend for query in self.queries)
        return {
            "legend": {"calcs": ["lastNotNull"] if few else [], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": tooltip,
        }


@dataclass(frozen=True)
class Heatmap(Panel):
    """How a histogram's buckets fill over time; `unit` is that of the buckets."""

    kind = "heatmap"
    instant = False

    def color(self) -> Json:
        return {"mode": "palette-classic"}

    def custom(self) -> Json:
        return {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": {"type": "linear"}}

    def options(self) -> Json:
        return {
            "calculate": False, "cellGap": 1,
            "color": {"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": False, "scale": "exponential",
                      "scheme": "Oranges", "steps": 64},
            "cellValues": {"unit": "ops"}, "exemplars": {"color": "rgba(255,0,255,0.7)"}, "filterValues": {"le": 1e-9},
            "legend": {"show": True}, "rowsFrame": {"layout": "auto"}, "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }


@dataclass(frozen=True)
class Table(Panel):
    """A row a series. `columns` are the labels to show, in their order, each with its heading; `value` heads the value."""

    columns: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None
    descending: bool = False

    kind = "table"

    def custom(self) -> Json:
        return {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "minWidth": 60}

    def options(self) -> Json:
        order = [{"desc": True, "displayName": self.value}] if self.descending and self.value else []
        return {"cellHeight": "sm", "frameIndex": 0, "showHeader": True, "sortBy": order}

    def transformations(self) -> list[Json]:
        shown = [*self.columns, *(["Value"] if self.value else [])]
        headings = dict(self.columns) | ({"Value": self.value} if self.value else {})
        return [
            {"id": "filterFieldsByName", "options": {"include": {"names": shown}}},
            {"id": "organize", "options": {
                "excludeByName": {}, "indexByName": {name: n for n, name in enumerate(shown)}, "renameByName": headings,
            }},
        ]
