"""The alert rules as files: checked, converted for the Prometheus operator, and compared with the catalogue."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
RULES = REPOSITORY / "alerts" / "sessgate.rules.yml"
OPERATOR = REPOSITORY / "alerts" / "prometheusrule.yaml"
ALERTMANAGER = REPOSITORY / "alerts" / "alertmanager.example.yml"
RUNBOOK = REPOSITORY / "alerts" / "runbook.md"
TESTS = REPOSITORY / "alerts" / "tests"
CATALOGUE = REPOSITORY / "docs" / "METRICS.md"
INTERNAL = Path(__file__).parent / "internal.yaml"
DASHBOARDS = REPOSITORY / "dashboards"
