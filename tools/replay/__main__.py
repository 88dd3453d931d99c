"""Replays weeks of traffic through the alert rules and writes alerts/REPLAY.md.

    python3 -m tools.replay                                        all shapes and the shipped trace, 20 seeds
    python3 -m tools.replay --shapes ramp,plain --seeds 3          some
    python3 -m tools.replay --trace FILE.csv --labels FILE.json    another trace; prints, and leaves REPLAY.md alone

A trace is a CSV of `timestamp,value` in equal steps; labels are a JSON list of [first, last] timestamps, or an object
that has one under the CSV's name. What is done is kept under target/replay, so a run that was stopped goes on.
Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.replay import report, store
from tools.replay.engine import RULES, replay
from tools.replay.shapes import SHAPES, Played, play, play_trace
from tools.replay.traffic import Trace

TRACES = Path(__file__).parent / "traces"
SHIPPED = (TRACES / "elb_request_count.csv", TRACES / "labels.json")
REPORT = RULES.parent / "REPLAY.md"
MEANS = (10, 20, 40, 80, 160, 320)    # sessions a minute that a trace is scaled to, by seed


@dataclass(frozen=True)
class Task:
    """One scenario to play: a shape, or a trace."""

    shape: str
    seed: int
    trace: tuple[Path, Path | None] | None = None

    @property
    def name(self) -> str:
        """Under which its outcome is kept."""
        return f"{self.shape}-{self.seed}"

    def play(self) -> Played:
        """Plays it."""
        if self.trace is None:
            return play(self.shape, self.seed)
        return play_trace(Trace.read(*self.trace, mean=MEANS[self.seed % len(MEANS)]), self.seed)


def work(tasks: list[Task], place: Path) -> None:
    """Plays scenarios, replays them together, and keeps their outcomes in `place`."""
    played = [task.play() for task in tasks]
    fired = replay([one.recorder for one in played])
    for task, one in zip(tasks, played, strict=True):
        store.save(place, task.name, store.outcome(one, fired))


def batches(tasks: list[Task], jobs: int) -> Iterator[list[Task]]:
    """Tasks of one shape together, for they are about as long, up to so many jobs; a month counts double.

    An evaluation costs as much for its rules as for ten jobs' series, so a large batch is quick. One of 20 jobs of nine
    days takes 500 MB of memory.
    """
    for shape in dict.fromkeys(task.shape for task in tasks):
        mine = [task for task in tasks if task.shape == shape]
        size = max(1, jobs // 2) if shape == "plain" else jobs
        yield from (mine[at:at + size] for at in range(0, len(mine), size))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="", help=f"of {', '.join(SHAPES)}, trace; all")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--trace", type=Path, help="a CSV of timestamp,value")
    parser.add_argument("--labels", type=Path, help="a JSON of labelled windows")
    parser.add_argument("--workers", type=int, default=2, help="promtools at a time")
    parser.add_argument("--batch", type=int, default=20, help="jobs that one promtool evaluates together")
    parser.add_argument("--report", type=Path, help="where to write it; alerts/REPLAY.md for a whole run")
    return parser.parse_args()


def tasks_of(given: argparse.Namespace) -> list[Task]:
    """What is to be played.

    # Errors: `SystemExit` on a shape that does not exist.
    """
    seeds = range(given.first, given.first + given.seeds)
    if given.trace:
        return [Task(f"trace {given.trace.name}", seed, (given.trace, given.labels)) for seed in seeds]
    names = [name for name in given.shapes.split(",") if name] or [*SHAPES, "trace"]
    if unknown := [name for name in names if name not in SHAPES and name != "trace"]:
        raise SystemExit(f"no such shape: {', '.join(unknown)}")
    return [Task(name if name != "trace" else f"trace {SHIPPED[0].name}", seed, SHIPPED if name == "trace" else None)
            for name in names for seed in seeds]


def main() -> int:
    """Runs; the exit code."""
    given = arguments()
    tasks, place = tasks_of(given), store.folder()
    # A trace from elsewhere may change under its name.
    todo = [task for task in tasks if given.trace or store.load(place, task.name) is None]
    began = time.monotonic()
    planned = list(batches(todo, given.batch))
    with ProcessPoolExecutor(max_workers=given.workers) as pool:
        for batch, _ in zip(planned, pool.map(partial(work, place=place), planned), strict=True):
            passed, seeds = time.monotonic() - began, f"{batch[0].seed} to {batch[-1].seed}"
            print(f"{passed:6.0f} s  {batch[0].shape}: seeds {seeds}", flush=True)
    outcomes = [found for task in tasks if (found := store.load(place, task.name))]
    text = report.render(outcomes, "make replay")
    target = given.report or (None if given.trace or given.shapes else REPORT)
    if target:
        target.write_text(text)
    else:
        print(text)
    missed = [verdict for verdict in report.verdicts(outcomes) if not verdict.met]
    for verdict in missed:
        print(f"missed: {verdict.bar}: {verdict.figure}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
