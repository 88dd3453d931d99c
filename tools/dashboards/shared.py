"""Expressions that stand on more than one dashboard."""

from __future__ import annotations

from tools.dashboards.promql import RATE, finite, ratio, recorded, series, tiered, total

STORED_SESSIONS = tiered("sessgate_sessions", 'tier="storage"')
MEMORY_SESSIONS = tiered("sessgate_sessions", 'tier="memory"')
STORED_LIMIT = tiered("sessgate_sessions_limit", 'tier="storage"')
MEMORY_LIMIT = tiered("sessgate_sessions_limit", 'tier="memory"')
STORED_BYTES = tiered("sessgate_storage_bytes")
BYTES_LIMIT = tiered("sessgate_storage_limit_bytes")


def fullest(name: str, limit: str, matchers: str = "") -> str:
    """How full the fullest sidecar is, from 0 to 1: each refuses newcomers when it is full itself."""
    return f"max({series(name, matchers)} / ({finite(series(limit, matchers))}))"


MEMORY_FULL = fullest("sessgate_sessions", "sessgate_sessions_limit", 'tier="memory"')
STORED_FULL = fullest("sessgate_sessions", "sessgate_sessions_limit", 'tier="storage"')
BYTES_FULL = fullest("sessgate_storage_bytes", "sessgate_storage_limit_bytes")

A_MONTH = 30 * 86_400
"""Seconds; what is farther away is not shown as a time."""


def time_to_cap(name: str, limit: str, window: str, matchers: str = "") -> str:
    """Seconds until the first sidecar is full if its growth in `window` goes on; nothing if that is over a month."""
    left = f"clamp_min({series(limit, matchers)} - {series(name, matchers)}, 0)"
    return f"min({left} / (deriv({series(name, matchers)}[{window}]) > 0)) < {A_MONTH}"


SESSIONS_TIME_TO_CAP = time_to_cap("sessgate_sessions", "sessgate_sessions_limit", "15m", 'tier="storage"')
BYTES_TIME_TO_CAP = time_to_cap("sessgate_storage_bytes", "sessgate_storage_limit_bytes", "1h")

CREATED = recorded("job:sessgate_session_creations:rate5m")
EXPECTED = recorded("job:sessgate_session_creations:expected")

SWEEPS_AGO = (
    f"max((time() - ({series('sessgate_sweep_last_success_timestamp_seconds')} > {series('process_start_time_seconds')}"
    f" or {series('process_start_time_seconds')})) / {series('sessgate_sweep_interval_seconds')})"
)
"""The time since the last good sweep, or since the start, in intervals between sweeps: the longest of the sidecars."""

GOOD = 'le="0.005", result!="error"'
"""The buckets of look-ups that are good: answered, and in at most 5 ms."""
LOOKUPS = total(f"rate({series('sessgate_lookup_duration_seconds_count')}[{RATE}])")
GOOD_LOOKUPS = total(f"rate({series('sessgate_lookup_duration_seconds_bucket', GOOD)}[{RATE}])")
BAD_SHARE = f"1 - {ratio(GOOD_LOOKUPS, LOOKUPS)}"
"""The share of look-ups that failed or took more than 5 ms."""

ENDED_DELIVERIES = series("sessgate_hook_deliveries_total", 'result=~"ok|dropped"')
DROPPED_DELIVERIES = series("sessgate_hook_deliveries_total", 'result="dropped"')
DROPPED_SHARE = ratio(total(f"rate({DROPPED_DELIVERIES}[{RATE}])"), total(f"rate({ENDED_DELIVERIES}[{RATE}])"))
"""The share of notices that were given up."""
