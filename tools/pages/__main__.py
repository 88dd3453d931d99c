"""Command line of the end-to-end run."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence

from tools.pages.incidents import PAGES, WARNINGS
from tools.pages.run import FACTOR, run, table
from tools.processes import stopped_by_signals


def main(given: Sequence[str] | None = None) -> int:
    """Exit code: 0 all as it should be, 1 not, 130 interrupted."""
    known = {incident.name: incident for incident in (*PAGES, *WARNINGS)}
    made = argparse.ArgumentParser(
        prog="python3 -m tools.pages",
        description="Provokes each critical alert, and checks that it arrives as one page with cause, number and "
        "runbook, is resolved when the cause goes, and mutes what follows from it. Prints the time from cause to page.",
    )
    made.add_argument(
        "names", nargs="*", metavar="INCIDENT", help=f"which (default: those that page): {', '.join(known)}"
    )
    made.add_argument("--all", action="store_true", help="the warnings too, which must page nobody")
    made.add_argument("--seed", type=int, default=None, help="same seed, same traffic (default: a random one, printed)")
    made.add_argument(
        "--factor",
        type=float,
        default=FACTOR,
        help=f"how much faster than the rules (default: {FACTOR:g}; 1 is real time)",
    )
    arguments = made.parse_args(given)
    if unknown := set(arguments.names) - set(known):
        made.error(f"no such incident: {', '.join(sorted(unknown))}")
    if not 1 <= arguments.factor <= 60:
        made.error("a factor between 1 and 60")
    chosen = [known[name] for name in arguments.names] or list(known.values() if arguments.all else PAGES)
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    began = time.monotonic()
    with stopped_by_signals():
        try:
            courses = run(chosen, seed=seed, factor=arguments.factor, tell=lambda what: print(what, flush=True))
        except KeyboardInterrupt:
            return 130
    print(table(courses, arguments.factor))
    wrong = sum(bool(course.problems) for course in courses)
    print(f"{len(courses)} incidents in {time.monotonic() - began:.0f} s, {wrong} not as they should be; seed {seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
