"""What a Prometheus that scrapes a simulated sidecar every minute would have stored, in promtool's notation."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import inf, isnan, nan

from tools.replay.sidecar import IDLE_BOUNDS, Minute, Sidecar

# Counters of the simulation, by the series they are.
_COUNTERS = {
    **{f'sessgate_session_creations_total{{outcome="{outcome}"}}': f"creation.{outcome}" for outcome in (
        "created", "user_limit", "creation_rate", "storage_full", "too_large", "store_error")},
    **{f'sessgate_session_evictions_total{{tier="storage",reason="{reason}"}}': f"ended.{reason}" for reason in (
        "idle", "absolute", "stale", "user_limit", "storage_cap", "revoked", "admin")},
    **{f'sessgate_session_evictions_total{{tier="memory",reason="{reason}"}}': f"memory.{reason}" for reason in (
        "lru", "memory_idle", "ended")},
    **{f'sessgate_evicted_idle_seconds_bucket{{tier="memory",le="{bound}"}}': f"idle.{bound}" for bound in IDLE_BOUNDS},
    'sessgate_evicted_idle_seconds_count{tier="memory"}': "idle.+Inf",
    **{f'sessgate_lookup_duration_seconds_bucket{{tier="{tier}",result="hit",le="0.005"}}': f"lookup.{tier}.fast"
       for tier in ("memory", "storage")},
    **{f'sessgate_lookup_duration_seconds_count{{tier="{tier}",result="hit"}}': f"lookup.{tier}"
       for tier in ("memory", "storage")},
    **{f'sessgate_hook_deliveries_total{{result="{result}"}}': f"hooks.{result}" for result in (
        "ok", "retried", "dropped")},
}


@dataclass
class Recorder:
    """The series of one job, a value a minute; NaN where a scrape failed."""

    job: str
    values: dict[str, array[float]] = field(default_factory=dict)

    def scrape(self, now: int, sidecar: Sidecar, world: Minute) -> None:
        """Writes down what the sidecar shows at the end of minute `now`."""
        self._put("up", 0.0 if world.down else 1.0)
        shown = _gauges(now, sidecar, world) | {
            name: float(sidecar.counters[counter]) for name, counter in _COUNTERS.items()}
        for name, value in shown.items():
            self._put(name, nan if world.down else value)

    def _put(self, name: str, value: float) -> None:
        self.values.setdefault(name, array("d")).append(value)

    def input_series(self) -> list[tuple[str, str]]:
        """Names with the labels of a scrape, and values as promtool reads them."""
        return [(_labelled(name, self.job), notation(values)) for name, values in self.values.items()]


def _gauges(now: int, sidecar: Sidecar, world: Minute) -> dict[str, float]:
    setup = sidecar.setup
    return {
        'sessgate_build_info{version="0",store="embedded"}': 1.0,
        "process_start_time_seconds": sidecar.started * 60.0,
        'sessgate_sessions{tier="memory",scope="local"}': float(int(sidecar.memory)),
        'sessgate_sessions{tier="storage",scope="local"}': float(sidecar.stored),
        'sessgate_sessions_limit{tier="memory",scope="local"}': max(1.0, round(setup.memory_sessions * world.memory_share)),
        'sessgate_sessions_limit{tier="storage",scope="local"}': float(setup.stored_sessions or inf),
        'sessgate_sessions_stale{tier="storage",scope="local"}': float(sidecar.stale),
        "sessgate_stale_oldest_age_seconds": float(sidecar.oldest_stale(now)),
        'sessgate_storage_bytes{scope="local"}': float(sidecar.bytes),
        'sessgate_storage_limit_bytes{scope="local"}': float(setup.stored_bytes),
        "sessgate_user_sessions_max": float(sidecar.busiest_user()),
        'sessgate_store_up{store="embedded"}': 1.0,
        "sessgate_sweep_last_success_timestamp_seconds": sidecar.last_sweep,
        "sessgate_sweep_interval_seconds": setup.sweep_every * 60.0,
        "sessgate_config_last_reload_successful": 1.0,
        "sessgate_config_hash": 1.0,
    }


def _labelled(name: str, job: str) -> str:
    where = f'namespace="replay",job="{job}",instance="{job}:9480"'
    return name.replace("{", "{" + where + ",", 1) if "{" in name else f"{name}{{{where}}}"


def notation(values: array[float]) -> str:
    """Values as promtool reads them: runs of equal ones as `a+0xN`, missing ones as `_`."""
    parts: list[str] = []
    start = 0
    for at in range(1, len(values) + 1):
        same = at < len(values) and (values[at] == values[start] or (isnan(values[at]) and isnan(values[start])))
        if not same:
            parts.append(_run(values[start], at - start))
            start = at
    return " ".join(parts)


def _run(value: float, times: int) -> str:
    if isnan(value):
        # The first missing sample is a staleness marker, as a failed scrape leaves one.
        return "stale" if times == 1 else f"stale _x{times - 1}"
    text = "Inf" if value == inf else str(int(value)) if value == int(value) else repr(value)
    return text if times == 1 else f"{text}+0x{times - 1}" if value != inf else " ".join(["Inf"] * times)
