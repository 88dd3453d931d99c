"""Compares the catalogue with what uses it, both ways.

Every metric of docs/METRICS.md is in a rule, on a dashboard, or in internal.yaml with a reason. Every metric, label and
label value that a rule or a dashboard names exists; so does every recorded series.

    python3 -m tools.rules.coverage
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tools.rules import CATALOGUE, DASHBOARDS, INTERNAL, RULES

# Of every scrape, and of Prometheus itself.
FOREIGN = frozenset({"up", "ALERTS"})
TARGET_LABELS = frozenset({"namespace", "job", "instance", "le"})
_SELECTOR = re.compile(r"(?<![\w:$])((?:sessgate|process)_[a-z0-9_]+|(?:job|instance):[a-zA-Z0-9_:]+)(\{[^{}]*\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_ROW = re.compile(r"^\| `((?:sessgate|process)_\w+)` \| (counter|gauge|histogram) \|(?: ([^|]*)\|)?")
_LABEL = re.compile(r"`(\w+)`(?:: ([\w, ]+))?")
_WORD = re.compile(r"[\w+]+")


@dataclass(frozen=True)
class Family:
    """A metric: its series' names, and its labels with their values; an empty set means any value."""

    name: str
    kind: str
    labels: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def series(self) -> frozenset[str]:
        """The names of its series."""
        return frozenset(self.name + part for part in ("_bucket", "_sum", "_count")) if self.kind == "histogram" \
            else frozenset({self.name})


def catalogue(path: Path = CATALOGUE) -> list[Family]:
    """The metrics in the tables of METRICS.md."""
    found = []
    for line in path.read_text().splitlines():
        if row := _ROW.match(line):
            labels = {name: frozenset(value.strip() for value in values.split(",") if value.strip())
                      for name, values in _LABEL.findall(row[3] or "")} if row[1].startswith("sessgate_") else {}
            found.append(Family(row[1], row[2], labels))
    return found


def rule_expressions(path: Path = RULES) -> Iterator[tuple[str, str]]:
    """Every expression of the rules, templates with queries included, with the rule's name."""
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("record") or rule["alert"]
            yield name, rule["expr"]
            yield from ((name, text.replace('\\"', '"')) for text in rule.get("annotations", {}).values()
                        if "| query" in text)


def recorded(path: Path = RULES) -> set[str]:
    """The names of the recorded series."""
    return {rule["record"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
            if "record" in rule}


def dashboard_expressions(folder: Path = DASHBOARDS) -> Iterator[tuple[str, str]]:
    """Every query of every dashboard: panels, variables, annotations."""
    for path in sorted(folder.glob("*.json")):
        yield from ((path.name, text) for text in _queries(json.loads(path.read_text())))


def _queries(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "query", "definition") and isinstance(value, str):
                yield value
            else:
                yield from _queries(value)
    elif isinstance(part, list):
        for value in part:
            yield from _queries(value)


def problems(uses: Iterable[tuple[str, str]], families: list[Family], records: set[str],
             internal: dict[str, str]) -> list[str]:
    """Everything that does not agree, in words."""
    by_series = {series: family for family in families for series in family.series}
    used: set[str] = set()
    found = []
    for where, expression in uses:
        for name, matchers in _SELECTOR.findall(expression):
            if ":" in name:
                if name not in records:
                    found.append(f"{where}: nothing records {name}")
            elif name not in by_series:
                found.append(f"{where}: there is no metric {name}")
            else:
                used.add(by_series[name].name)
                found.extend(f"{where}: {name} {problem}" for problem in _labels(by_series[name], matchers))
    for family in families:
        if family.name in used and family.name in internal:
            found.append(f"{family.name} is listed as internal and used all the same")
        if family.name not in used and not internal.get(family.name):
            found.append(f"{family.name} is in no rule, on no dashboard, and not listed as internal with a reason")
    names = {family.name for family in families}
    found.extend(f"internal.yaml lists {name}, which does not exist" for name in internal if name not in names)
    return found


def _labels(family: Family, matchers: str) -> Iterator[str]:
    for label, operator, value in _MATCHER.findall(matchers):
        if label in TARGET_LABELS or "$" in value:
            continue
        if label not in family.labels:
            yield f"has no label {label}"
            continue
        known = family.labels[label]
        for word in _WORD.findall(value) if "~" in operator else [value]:
            if known and word and word not in known:
                yield f"has no {label} {word}"


def check() -> list[str]:
    """The problems of this repository."""
    internal = yaml.safe_load(INTERNAL.read_text()) or {}
    uses = [*rule_expressions(), *dashboard_expressions()]
    return problems(uses, catalogue(), recorded(), internal)


def main() -> int:
    """Prints the problems; the exit code."""
    found = check()
    print("\n".join(found) or "the catalogue, the rules and the dashboards agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
