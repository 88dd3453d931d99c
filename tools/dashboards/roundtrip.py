"""A dashboard through Grafana's own model of it, the package grafana-foundation-sdk, and back.

That model drops what it does not know, so whatever is missing afterwards is a key that is misspelt or in a wrong place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from tools import venv
from tools.dashboards.macros import Json

venv.activate()

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402
from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: E402

OF_THE_DATA_SOURCE = frozenset({"step", "tagKeys", "textFormat", "titleFormat", "useValueForTime"})
"""Keys of an annotation that belong to Grafana's Prometheus data source and so are not in the model of a dashboard.
They are those of `AnnotationQueryEditor` in grafana/grafana, packages/grafana-prometheus."""


def there_and_back(dashboard: Json) -> Json:
    """What is left of a dashboard after it has been read into the model and written again."""
    register_default_plugins()
    written: Json = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(dashboard)))
    return written


def dropped(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths of all that `before` has and `after` has not, or otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from dropped(value, after[key], f"{path}.{key}")
            elif value is not None:
                yield f"{path}.{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from dropped(one, other, f"{path}[{index}]")
    elif before != after:
        yield path


def lost(dashboard: Json) -> list[str]:
    """The paths that the round trip loses, without those that the model does not cover."""
    return [path for path in dropped(dashboard, there_and_back(dashboard)) if not of_an_annotation(path)]


def of_an_annotation(path: str) -> bool:
    """Whether this is a key of an annotation that belongs to the data source."""
    return path.startswith(".annotations.list[") and path.rsplit(".", 1)[1] in OF_THE_DATA_SOURCE


def main() -> int:
    """Prints what each dashboard loses."""
    from tools.dashboards.build import DASHBOARDS, FOLDER

    found = [f"{name}{path}" for name in DASHBOARDS for path in lost(json.loads((FOLDER / f"{name}.json").read_text()))]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
