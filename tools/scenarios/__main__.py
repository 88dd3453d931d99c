"""Command line of the scenario driver."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.processes import CleanExit, ServerError, stopped_by_signals
from tools.scenarios import SCENARIOS, FoundPlace, Frame, Place, Report, Scenario, Timing, play
from tools.scenarios.faults import DiskFull
from tools.scenarios.place import NotOurs, small_disk
from tools.servers import Sidecar

MOST_SCALE = 20.0
"""The largest factor: some 800 requests a second of people, 2,400 creations a second of a flood."""
MOST_SECONDS = 86_400.0
"""The longest run, a day."""


def listing() -> str:
    """What there is: each scenario, what it provokes, and the alerts to expect."""
    lines = ["scenarios:"]
    for scenario in SCENARIOS.values():
        needs = "" if scenario.may_be_played_by_api else "  [own sidecar or --place]"
        lines.append(f"  {scenario.name:13} {scenario.story}{needs}")
        lines += textwrap.wrap(
            f"provokes: {scenario.provokes}", 100, initial_indent=" " * 16, subsequent_indent=" " * 18
        )
        alerts = ", ".join(scenario.alerts) or "none"
        lines += textwrap.wrap(f"alerts:   {alerts}", 100, initial_indent=" " * 16, subsequent_indent=" " * 18)
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python3 -m tools.scenarios",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=listing(),
        description="Plays a scenario against a sidecar. A sixth of the time is calm, then four sixths of "
        "trouble, then a sixth of calm.\nWithout --api and --place it starts a sidecar of its own with the settings "
        "that the scenario needs.",
    )
    made.add_argument("name", nargs="?", choices=list(SCENARIOS), metavar="NAME", help="which; see below")
    made.add_argument("--list", action="store_true", help="show the scenarios and what they provoke")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--api", metavar="URL", help="play traffic against this API, as it is configured")
    where.add_argument(
        "--place",
        metavar="DIR",
        type=Path,
        help="the directory of a sidecar that the demo or another tool runs: "
        "its live settings are changed for the scenario, and put back",
    )
    made.add_argument("--duration", metavar="SECONDS", type=float, default=120.0, help="of everything (default: 120)")
    made.add_argument("--seed", type=int, default=None, help="same seed, same calls (default: a random one, printed)")
    made.add_argument(
        "--scale", type=float, default=1.0, help=f"factor on the rates, at most {MOST_SCALE:g} (default: 1)"
    )
    return made


@contextlib.contextmanager
def place_for(scenario: Scenario, arguments: argparse.Namespace) -> Iterator[Place | None]:
    """The sidecar to play with: the one at --place, none with --api, or a new one."""
    if arguments.api:
        yield None
    elif arguments.place:
        yield FoundPlace(arguments.place)
    else:
        with CleanExit() as stack:
            disk = stack.enter_context(small_disk()) / "store" if scenario.fault is DiskFull else None
            sidecar = stack.enter_context(Sidecar(store=disk))
            print(
                f"sidecar: API {sidecar.api}, metrics {sidecar.admin}/metrics, directory {sidecar.directory}",
                flush=True,
            )
            yield sidecar


def run(arguments: argparse.Namespace) -> Report:
    """Plays what the arguments ask for."""
    scenario = SCENARIOS[arguments.name]
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    frame = Frame(seed, Timing.of(arguments.duration), arguments.scale)
    print(f"{scenario.name}: {scenario.story}\nprovokes: {scenario.provokes}\nseed {seed}", flush=True)
    if arguments.api and (settings := scenario.settings(frame)):
        print(f"assumes these settings: {settings}", flush=True)
    with place_for(scenario, arguments) as place:
        return asyncio.run(
            play(scenario, frame, place=place, api=arguments.api, tell=lambda what: print(what, flush=True))
        )


def main(given: Sequence[str] | None = None) -> int:
    """Exit code: 0 played, 1 could not be played, 64 usage, 130 interrupted."""
    made = parser()
    try:
        arguments = made.parse_args(given)
        if arguments.list:
            print(listing())
            return 0
        if arguments.name is None:
            made.error("which scenario? --list shows them")
        if not 0 < arguments.duration <= MOST_SECONDS or not 0 < arguments.scale <= MOST_SCALE:
            made.error(f"at most {MOST_SECONDS:g} seconds at a scale of at most {MOST_SCALE:g}, both above 0")
    except SystemExit as stop:
        return 64 if stop.code else 0
    with stopped_by_signals():
        try:
            print(run(arguments))
        except KeyboardInterrupt:
            return 130
        except (OSError, ValueError, ServerError, NotOurs, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
