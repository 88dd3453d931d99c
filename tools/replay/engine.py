"""The time machine: promtool evaluates the shipped rules over simulated days, minute by minute, in one go.

`promtool test rules` runs the real rule manager on a real TSDB. A test that asks for the firing alerts of a minute, and
expects none, fails exactly when there are some and prints them: from that the firing minutes are read. Nothing is
re-implemented.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.replay.series import Recorder

RULES = Path(__file__).parents[2] / "alerts" / "sessgate.rules.yml"
GROUPS = ("sessgate-records", "sessgate-alerts")
_FIRING = 'max by (job, alertname, severity) (ALERTS{alertstate="firing"})'
_AT = re.compile(r"time: (\S+),$")
_ALERT = re.compile(r'\{alertname="(\w+)", job="([^"]+)", severity="(\w+)"\}')
_UNITS = {"d": 1440, "h": 60, "m": 1, "w": 7 * 1440}


class EngineError(RuntimeError):
    """promtool did not do its work: the rules or the series are at fault."""


@dataclass(frozen=True)
class Fired:
    """One alert of one job fired in one minute."""

    job: str
    alert: str
    severity: str
    minute: int


def replay(recorders: Iterable[Recorder], rules: Path = RULES, seconds: float = 6 * 3600) -> list[Fired]:
    """Every minute in which an alert fired, for jobs that all begin at minute 0.

    # Errors: `EngineError` if promtool says anything else, or needs longer than `seconds`.
    """
    with tempfile.TemporaryDirectory(prefix="sessgate-replay-") as directory:
        test = Path(directory, "test.yml")
        _write(test, list(recorders), rules)
        try:
            done = subprocess.run(
                ["promtool", "test", "rules", str(test)], capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as late:
            raise EngineError(f"promtool took more than {seconds} s") from late
    return _read(done)


def _write(test: Path, recorders: list[Recorder], rules: Path) -> None:
    minutes = max(len(values) for recorder in recorders for values in recorder.values.values())
    with test.open("w") as file:
        file.write(f"rule_files: ['{rules.resolve()}']\nevaluation_interval: 1m\ngroup_eval_order: {list(GROUPS)}\n")
        file.write("tests:\n- interval: 1m\n  input_series:\n")
        for recorder in recorders:
            for name, values in recorder.input_series():
                file.write(f"  - series: '{name}'\n    values: '{values}'\n")
        file.write("  promql_expr_test:\n")
        for minute in range(minutes):
            file.write(f"  - {{expr: '{_FIRING}', eval_time: {minute}m}}\n")


def _read(done: subprocess.CompletedProcess[str]) -> list[Fired]:
    output = done.stdout + done.stderr
    if done.returncode == 0 and "SUCCESS" in output:
        return []
    if "FAILED" not in output or "error" in output.lower().replace("error_", ""):
        raise EngineError(f"promtool ended with {done.returncode}: {output[:2000]}")
    fired, minute = [], None
    for line in output.splitlines():
        if at := _AT.search(line):
            minute = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([wdhm])", at[1]))
        elif minute is not None and "got:" in line:
            found = _ALERT.findall(line)
            if not found:
                raise EngineError(f"not understood: {line[:500]}")
            fired.extend(Fired(job, alert, severity, minute) for alert, job, severity in found)
    if not fired:
        raise EngineError(f"not understood: {output[:2000]}")
    return fired
