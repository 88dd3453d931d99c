"""Draws the dashboards with real data into docs/pictures: `python3 -m tools.dashboards.pictures [--seconds N] [--again]`.

A story is played against real sidecars; a real Prometheus answers every query of every panel; a page made of Grafana's
own components (npm @grafana/ui, see tools/pictures) draws the answers in headless Chromium. `--again` draws what the last
run has kept in target/pictures, without playing anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import venv
from tools.dashboards import build, data
from tools.dashboards.data import Answer, Window, legend
from tools.dashboards.macros import Json, events, expand, panels
from tools.dashboards.story import NAMESPACE, Played, Story, played
from tools.servers import REPOSITORY

venv.activate()

from PIL import Image  # noqa: E402  (from the environment that the line above makes importable)

PICTURES = REPOSITORY / "docs" / "pictures"
SOURCE = REPOSITORY / "tools" / "pictures"
WORK = REPOSITORY / "target" / "pictures"
"""Where npm installs, the page is built, and answers are kept."""
WIDTH = 1600
"""Pixels; the height follows from the panels."""
HEAD, LINE = 92, 38
"""Pixels of the head of the page, and of a line of the grid with its gap, as in tools/pictures/src/page.tsx."""
SPEED = 12.0
"""By what the times in the rules are divided: ten minutes stand for two hours."""
LARGEST = 500_000
"""Bytes that a picture may have."""
COLORS = {"red": "#f2495c", "orange": "#ff9830", "purple": "#b877d9", "blue": "#5794f2"}
"""The colours of marks as Grafana's dark theme shows them."""
CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb", "--virtual-time-budget=20000",
]


def page() -> Path:
    """The folder with the built page; installs and builds it if its source has changed."""
    sources = [SOURCE / "package.json", SOURCE / "package-lock.json", *sorted((SOURCE / "src").iterdir())]
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    locked = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    folder = WORK / "page"
    folder.mkdir(parents=True, exist_ok=True)
    if not stamped(folder / "built", wanted):
        for file in sources[:2]:
            shutil.copy(file, folder)
        shutil.copytree(SOURCE / "src", folder / "src", dirs_exist_ok=True)
        if not stamped(folder / "installed", locked):
            subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)
            (folder / "installed").write_text(locked)
        subprocess.run(["npm", "run", "--silent", "build"], cwd=folder, check=True)
        (folder / "built").write_text(wanted)
    return folder


def stamped(file: Path, text: str) -> bool:
    """Whether a file says this."""
    return file.is_file() and file.read_text() == text


def marks(dashboard: Json, story: Played, window: Window) -> Iterator[Json]:
    """The events of the annotations: points in time, or spans where the points are at most two steps apart."""
    for annotation in events(dashboard):
        color = COLORS[annotation["iconColor"]]
        for series in story.prometheus.query_range(expand(annotation["expr"], window.values), window.start, window.end, window.step):
            at_value = annotation["useValueForTime"]
            times = sorted({value if at_value else at * 1000 for at, value in series.points if value > 0})
            spans: list[list[float]] = []
            for at in times:
                if spans and at - spans[-1][1] <= 2_000 * window.step and not at_value:
                    spans[-1][1] = at
                else:
                    spans.append([at, at])
            label = legend(annotation["titleFormat"], series) if annotation["name"] == "Alerts" else annotation["name"]
            yield from ({"name": annotation["name"], "text": label, "color": color, "start": a, "end": b} for a, b in spans)


def answered(answer: Answer) -> Json:
    """One answer, as the page wants it."""
    return {
        "refId": answer.target["refId"],
        "series": [
            {"name": name, "labels": dict(series.labels), "points": [[at * 1000, value] for at, value in series.points]}
            for name, series in zip(answer.names(), answer.series, strict=True)
        ],
    }


def picture(dashboard: Json, story: Played, window: Window) -> Json:
    """All that the page needs for one dashboard."""
    answers = {
        panel["id"]: [answered(data.ask(story.prometheus, target, window)) for target in panel["targets"]]
        for panel in panels(dashboard)
    }
    chosen = {"Data source": "Prometheus", "Namespace": NAMESPACE, "Job": "All", "Instance": "All"}
    return {
        "dashboard": dashboard, "answers": answers, "marks": list(marks(dashboard, story, window)), "width": WIDTH,
        "variables": [{"label": label, "value": value} for label, value in chosen.items()],
        "from": window.start * 1000, "to": window.end * 1000, "step": window.step * 1000,
    }


def height_of(dashboard: Json) -> int:
    """How high its picture is, in pixels."""
    lines: int = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    return HEAD + LINE * lines + 8


def draw(found: Json, target: Path) -> None:
    """Draws one picture in a browser of its own."""
    folder = page()
    height = height_of(found["dashboard"])
    html = WORK / f"{target.stem}.html"
    answers = json.dumps(found).replace("</", "<\\/")
    html.write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="{(folder / "page.css").as_uri()}"><div id="root"></div>'
        f'<script>window.picture = {answers}</script><script src="{(folder / "page.js").as_uri()}"></script>'
    )
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="sessgate-chromium-", ignore_cleanup_errors=True) as profile:
        subprocess.run(
            [*CHROMIUM, f"--user-data-dir={profile}", f"--window-size={WIDTH},{height}", f"--screenshot={target}", html.as_uri()],
            check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
    with Image.open(target) as drawn:
        smaller(drawn.convert("RGB")).save(target, optimize=True)
    if (size := target.stat().st_size) > LARGEST:
        print(f"{target.name} has {size} bytes, more than {LARGEST}", file=sys.stderr)


def smaller(drawn: Image.Image) -> Image.Image:
    """The picture with 256 colours: the 64 most frequent ones as they are, and those that stand best for all others.

    Pillow's own choice goes by area: it gives the ground many shades and thin lines a wrong colour.
    """
    colors: Any = drawn.getcolors(drawn.width * drawn.height)
    counted: list[tuple[int, tuple[int, int, int]]] = sorted(colors, reverse=True)
    rest = [color for count, color in counted[64:] for _ in range(1 + int(math.log2(count)))]
    sample = Image.new("RGB", (max(1, len(rest)), 1))
    sample.putdata(rest)
    found = sample.quantize(192, Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, color in counted[:64] for part in color] + found[: 3 * 192])
    return drawn.quantize(palette=palette, dither=Image.Dither.NONE)


def kept(name: str) -> Path:
    """Where the answers for a picture are kept."""
    return WORK / f"{name}.json"


def take(seconds: float) -> list[str]:
    """Plays a story, keeps the answers for each dashboard, and returns what is wrong with their data."""
    story = Story(length=seconds, speed=SPEED, scale=2.0, scrape=2.0)
    wrong: list[str] = []
    with played(story) as over:
        print("\n".join(map(str, over.reports)), flush=True)
        window = Window(over.start, over.end, step=max(2.0, seconds / 200), scrape=story.scrape)
        for name, dashboard in wanted().items():
            wrong += [f"{name}: {text}" for text in data.check(dashboard, over.prometheus, window)]
            kept(name).write_text(json.dumps(picture(dashboard, over, window)))
    return wrong


def wanted() -> dict[str, Json]:
    """The dashboards as they are described now."""
    return {name: json.loads(build.dashboard_text(dashboard)) for name, dashboard in build.DASHBOARDS.items()}


def main(given: list[str]) -> int:
    """Exit code 1 if a panel had no data."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.dashboards.pictures", description="Draws docs/pictures.")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the story (default: 600)")
    parser.add_argument("--again", action="store_true", help="draw the answers of the last run once more")
    arguments = parser.parse_args(given)
    page()
    wrong = [] if arguments.again else take(arguments.seconds)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, dashboard in wanted().items():
        found: dict[str, Any] = json.loads(kept(name).read_text())
        draw({**found, "dashboard": dashboard}, PICTURES / f"{name}.png")
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
