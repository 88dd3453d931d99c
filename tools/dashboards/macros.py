"""Grafana's variables in expressions, filled in as Grafana does, and what else is asked of a dashboard as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::\w+)?\}|(?P<plain>\w+))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """The text with `$name` and `${name}` replaced; KeyError for a variable that nobody defines."""
    return VARIABLE.sub(lambda match: values[match["braced"] or match["plain"]], text)


def panels(dashboard: Json) -> Iterator[Json]:
    """Its panels without the headings of rows, those of collapsed rows included."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", [])


def variables(dashboard: Json) -> list[Json]:
    """Its variables."""
    found: list[Json] = dashboard["templating"]["list"]
    return found


def events(dashboard: Json) -> list[Json]:
    """Its annotations that ask Prometheus."""
    return [found for found in dashboard["annotations"]["list"] if not found.get("builtIn")]
