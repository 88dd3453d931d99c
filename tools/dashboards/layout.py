"""A dashboard as rows of panels: places them in the grid, and adds variables, annotations and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.dashboards.panels import BLUE, DATA_SOURCE, PURPLE, RED, Json, Panel, link
from tools.dashboards.promql import ours, recorded, series

SCHEMA_VERSION = 42
"""Of Grafana's classic dashboard JSON; older Grafanas take it, too."""
TAG = "sessgate"
"""What the dashboards are found by, and linked to each other."""
GRID = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True)
class Column:
    """Panels of one width, one above the other."""

    panels: Sequence[Panel]

    @property
    def width(self) -> int:
        """Columns of the grid that it takes."""
        return max(panel.width for panel in self.panels)

    @property
    def height(self) -> int:
        """Lines of the grid that it takes."""
        return sum(panel.height for panel in self.panels)


@dataclass(frozen=True)
class Row:
    """A heading, and what is under it, from left to right and then downwards."""

    title: str
    items: Sequence[Panel | Column]


@dataclass(frozen=True)
class Dashboard:
    """A whole dashboard. `uid` is fixed, so that links and imports find the same one again."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    def json(self, runbook: str) -> Json:
        """What goes into the file; `runbook` is the URL of the runbook."""
        return {
            "uid": self.uid, "title": self.title, "description": self.description, "tags": [TAG], "schemaVersion": SCHEMA_VERSION,
            "version": 1, "editable": False, "graphTooltip": 1, "timezone": "browser", "fiscalYearStartMonth": 0,
            "time": {"from": "now-3h", "to": "now"}, "timepicker": {}, "refresh": "30s", "links": links(runbook),
            "templating": {"list": variables()}, "annotations": {"list": events()}, "panels": self.panels(runbook),
        }

    def panels(self, runbook: str) -> list[Json]:
        """The panels with their places and numbers; a line of panels is as high as its highest."""
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            placed.append(heading(row.title, len(placed) + 1, y))
            y += 1
            x = height = 0
            for item in row.items:
                if x + item.width > GRID:
                    x, y, height = 0, y + height, 0
                below = y
                for panel in item.panels if isinstance(item, Column) else [item]:
                    placed.append(panel.json(len(placed) + 1, x, below, runbook))
                    below += panel.height
                x, height = x + item.width, max(height, item.height)
            y += height
        return placed


def heading(title: str, number: int, y: int) -> Json:
    """The heading of a row."""
    return {
        "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
        "gridPos": {"h": 1, "w": GRID, "x": 0, "y": y},
    }


def links(runbook: str) -> list[Json]:
    """To the other dashboards, with variables and time kept, and to the runbook."""
    others = {
        "title": "Sessgate", "type": "dashboards", "icon": "external link", "tooltip": "The other dashboards of Sessgate",
        "url": "", "tags": [TAG], "asDropdown": False, "targetBlank": False, "includeVars": True, "keepTime": True,
    }
    return [others, link("Runbook", runbook, "What each alert means and what to turn")]


def variables() -> list[Json]:
    """Which Prometheus, and which sidecars of it.

    Without Kubernetes there is no `namespace`: "All" stands for any or none there, hence `.*` and not `.+`.
    """
    source = {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "", "hide": 0,
        "includeAll": False, "multi": False, "options": [], "refresh": 1, "skipUrlSync": False,
        "current": {"selected": False, "text": "default", "value": "default"},
    }
    chosen = ['namespace=~"$namespace"', 'job=~"$job"']
    names = [("namespace", "Namespace", ".*"), ("job", "Job", ".+"), ("instance", "Instance", ".+")]
    return [source, *(
        {
            "name": name, "label": label, "type": "query", "datasource": DATA_SOURCE,
            "query": f"label_values(sessgate_build_info{{{', '.join(chosen[:n])}}}, {name})",
            "regex": "", "hide": 0, "includeAll": True, "multi": True, "allValue": every, "options": [], "refresh": 2, "sort": 1,
            "skipUrlSync": False, "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }
        for n, (name, label, every) in enumerate(names)
    )]


def events() -> list[Json]:
    """What happened: alerts, restarts and reloads, each drawn at its time on every panel.

    An alert is drawn once, when its cause began: the shades of several that fire on would hide the lines.
    """
    alerts = 'alertname=~"Sessgate.+", severity!="info"'
    firing = f'{alerts}, alertstate="firing"'
    start = series("process_start_time_seconds")
    reload = series("sessgate_config_last_reload_success_timestamp_seconds")
    return [
        {
            "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
        },
        annotation(
            "Alerts", RED, f"({recorded('ALERTS_FOR_STATE', alerts)} and ignoring (alertstate) {recorded('ALERTS', firing)}) * 1000",
            "{{alertname}}", "{{severity}} since then, in {{namespace}} {{job}} {{instance}}", "severity", at_value=True,
        ),
        annotation(
            "Restarts", PURPLE, f"{ours('process_start_time_seconds')} * 1000", "Started", "{{instance}}", "instance", at_value=True,
        ),
        annotation(
            "Reloads", BLUE, f"({reload} > on (namespace, job, instance) {start} + 10) * 1000", "Configuration reloaded",
            "{{instance}}", "instance", at_value=True,
        ),
        annotation(
            "Refused reloads", "orange", f"{series('sessgate_config_last_reload_successful')} == bool 0", "Configuration refused",
            "{{instance}} keeps the last good one", "instance",
        ),
    ]


def annotation(name: str, color: str, expr: str, title: str, text: str, tags: str, *, at_value: bool = False) -> Json:
    """A query whose points above 0 are events; with `at_value` a value is the event's time in milliseconds."""
    return {
        "name": name, "datasource": DATA_SOURCE, "enable": True, "hide": False, "iconColor": color, "expr": expr, "step": "60s",
        "titleFormat": title, "textFormat": text, "tagKeys": tags, "useValueForTime": at_value,
    }
