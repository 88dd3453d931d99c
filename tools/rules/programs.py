"""promtool and amtool, as Debian ships them, run to their end with a deadline."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE = 600.0    # seconds; the slowest of these takes one on an idle machine, minutes on a busy one


class ProgramError(RuntimeError):
    """A program found a problem; the message is what it printed."""


def run(*command: str) -> str:
    """What the program prints.

    # Errors: `ProgramError` if it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    output = done.stdout + done.stderr
    if done.returncode != 0:
        raise ProgramError(f"{' '.join(command)} ended with {done.returncode}:\n{output}")
    return done.stdout


def check_rules(rules: Path) -> str:
    """promtool reads the rules as Prometheus would, duplicates being an error."""
    return run("promtool", "check", "rules", "--lint=all", "--lint-fatal", str(rules))


def test_rules(*tests: Path) -> str:
    """promtool plays the tests of the rules."""
    return run("promtool", "test", "rules", *map(str, tests))


def check_prometheus(configuration: Path) -> str:
    """promtool reads the configuration as Prometheus would, but for the files that it names."""
    return run("promtool", "check", "config", "--syntax-only", str(configuration))


def check_alertmanager(configuration: Path) -> str:
    """amtool reads the configuration as Alertmanager would."""
    return run("amtool", "check-config", str(configuration))


def receivers(configuration: Path, labels: Mapping[str, str]) -> Sequence[str]:
    """The receivers that an alert with these labels reaches."""
    pairs = [f"{name}={value}" for name, value in labels.items()]
    return run("amtool", "config", "routes", "test", f"--config.file={configuration}", *pairs).strip().split(",")
