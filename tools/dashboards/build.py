"""Writes dashboards/ from the descriptions: `python3 -m tools.dashboards.build [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from tools.dashboards.capacity import CAPACITY
from tools.dashboards.internals import INTERNALS
from tools.dashboards.layout import Dashboard
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.promql import SELECTED_JOBS

FOLDER = Path(__file__).resolve().parent.parent.parent / "dashboards"
"""Where the dashboards are kept."""
RUNBOOK = "https://github.com/sessgate/sessgate/blob/main/alerts/runbook.md"
"""The runbook, as the alerts link to it."""
DASHBOARDS: dict[str, Dashboard] = {"overview": OVERVIEW, "capacity": CAPACITY, "internals": INTERNALS}
"""Each dashboard under the name of its file."""
CONFIG_MAP = "kubernetes-configmap.yaml"


def dashboard_text(dashboard: Dashboard) -> str:
    """The text of a dashboard's file."""
    return json.dumps(dashboard.json(RUNBOOK), indent=2, ensure_ascii=False) + "\n"


def config_map_text(files: dict[str, str]) -> str:
    """A ConfigMap that Grafana's sidecar for dashboards (of its Helm chart) finds by its label."""
    data = {f"sessgate-{name}": json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) for name, text in files.items()}
    config_map = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "sessgate-dashboards", "labels": {"app.kubernetes.io/name": "sessgate", "grafana_dashboard": "1"},
            "annotations": {"grafana_folder": "Sessgate"},
        },
        "data": data,
    }
    head = "# Generated from the dashboards beside it: kubectl apply --server-side -f kubernetes-configmap.yaml\n"
    return head + yaml.safe_dump(config_map, sort_keys=False, allow_unicode=True, width=10**9)


def exclusions_text() -> str:
    """What grafana/dashboard-linter must excuse: queries of recorded series and of alerts, which have no instance."""
    entries = [
        {"dashboard": dashboard.title, "panel": panel["title"]}
        for dashboard in DASHBOARDS.values() for panel in dashboard.panels(RUNBOOK)
        if any(SELECTED_JOBS + "}" in target["expr"] for target in panel.get("targets", []))
    ]
    reason = "Recorded series and alerts stand for a whole job."
    text = yaml.safe_dump({"exclusions": {"target-instance-rule": {"reason": reason, "entries": entries}}}, sort_keys=False)
    return "# Generated. For grafana/dashboard-linter.\n" + text


def wanted() -> dict[str, str]:
    """What should stand in the folder: file name to text."""
    files = {f"{name}.json": dashboard_text(dashboard) for name, dashboard in DASHBOARDS.items()}
    return {**files, CONFIG_MAP: config_map_text(files), ".lint": exclusions_text()}


def outdated() -> list[str]:
    """The names of files that are not as they should be."""
    return [name for name, text in wanted().items() if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != text]


def main(arguments: list[str]) -> int:
    """Writes the files, or with --check says which are out of date."""
    if arguments == ["--check"]:
        for name in outdated():
            print(f"dashboards/{name} is out of date: run python3 -m tools.dashboards.build")
        return 1 if outdated() else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in wanted().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
