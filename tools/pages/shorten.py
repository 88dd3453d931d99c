"""The rules and the Alertmanager example in fast motion: every time in them divided by one factor.

So that an hour's trend takes a minute and the rules stay what they are, three things are divided, and nothing else:

1. durations: `for`, `keep_firing_for`, `interval`, and those in expressions (`[5m]`, `offset 23h30m`); in the example
   for Alertmanager `group_wait`, `group_interval` and `repeat_interval`;
2. in expressions, whole numbers that are multiples of 900, which are seconds there: the 3600 of "reaches its cap within
   the hour" or of "rate times an hour"; and the 60 of `* 60`, the seconds between two evaluations;
3. nothing in annotations, names and label values: a page reads as it will read.

Rates (sessions a second) and ratios are not changed; a scenario's traffic is as fast as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
"""Prometheus's units of time, in seconds."""
ONE = r"\d+(?:ms|[smhdwy])"
DURATION = rf"(?:{ONE})+"
"""A duration as Prometheus writes it, such as `23h30m`."""
SECONDS = 900
"""Multiples of this in an expression are seconds: quarters of an hour."""
TOKEN = re.compile(
    "|".join(
        (
            r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""",
            r"(?P<name>(?:[A-Za-z_]|:(?=[A-Za-z_:]))[\w:]*)",
            rf"(?P<time>{DURATION})\b",
            r"(?P<minute>(?<=\* )60\b)",
            r"(?P<number>\d+(?:\.\d+)?)",
        )
    )
)
"""What an expression is read as, where it matters: only durations and numbers are changed."""


def seconds(duration: str) -> float:
    """The length of a duration in seconds."""
    if not re.fullmatch(DURATION, duration):
        raise ValueError(f"{duration!r} is no duration")
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def shorter(duration: str, factor: float) -> str:
    """The duration divided by the factor, in whole milliseconds; never 0 unless it was."""
    length = seconds(duration) * 1000 / factor
    milliseconds = max(1, round(length)) if length else 0
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def expression(text: str, factor: float) -> str:
    """A PromQL expression in fast motion."""

    def replaced(match: re.Match[str]) -> str:
        if duration := match["time"]:
            return shorter(duration, factor)
        if match["minute"]:
            return f"{60 / factor:g}"
        if (number := match["number"]) and number.isdigit() and int(number) and int(number) % SECONDS == 0:
            return f"{int(number) / factor:g}"
        return match[0]

    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return TOKEN.sub(replaced, "\n".join(lines))


def rules(document: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A rule file in fast motion."""
    return {"groups": [_group(group, factor) for group in document["groups"]]}


def _group(group: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {**_times(group, ("interval",), factor), "rules": [_rule(rule, factor) for rule in group["rules"]]}


def _rule(rule: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {**_times(rule, ("for", "keep_firing_for"), factor), "expr": expression(rule["expr"], factor)}


def _times(mapping: Mapping[str, Any], keys: tuple[str, ...], factor: float) -> dict[str, Any]:
    return {key: shorter(value, factor) if key in keys else value for key, value in mapping.items()}


ROUTE_TIMES = ("group_wait", "group_interval", "repeat_interval")


def alertmanager(document: Mapping[str, Any], factor: float, webhook: str) -> dict[str, Any]:
    """An Alertmanager configuration in fast motion, whose webhooks post to `webhook`/<name of the receiver>."""
    receivers = [_receiver(receiver, webhook) for receiver in document["receivers"]]
    return {**document, "route": _route(document["route"], factor), "receivers": receivers}


def _route(route: Mapping[str, Any], factor: float) -> dict[str, Any]:
    below = [_route(child, factor) for child in route.get("routes", [])]
    return {**_times(route, ROUTE_TIMES, factor), **({"routes": below} if below else {})}


def _receiver(receiver: Mapping[str, Any], webhook: str) -> dict[str, Any]:
    hooks = [{**hook, "url": webhook + receiver["name"]} for hook in receiver.get("webhook_configs", [])]
    return {**receiver, **({"webhook_configs": hooks} if hooks else {})}


def load(path: Path) -> dict[str, Any]:
    """A YAML file."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document
