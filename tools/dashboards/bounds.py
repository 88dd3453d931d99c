"""The bounds that colour panels are those of the alerts: each names the alert, and the words of its expression.

A test looks the words up in alerts/sessgate.rules.yml, so that a bound that moves there must move here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """A part of an alert's expression: a comparison with a number or a product of numbers, or the bound of a bucket."""

    alert: str
    words: str

    @property
    def value(self) -> float:
        """The number after the comparison, or in the name of the bucket."""
        numbers = re.split(r"[<>]=?|==", self.words)[-1]
        return math.prod(float(factor) for factor in re.findall(r"\d+(?:\.\d+)?", numbers))


NEAR_CAP = Bound("SessgateNearCap", "job:sessgate_sessions:utilisation_ratio > 0.8")
NEAR_CAP_BYTES = Bound("SessgateNearCap", "job:sessgate_storage_bytes:utilisation_ratio > 0.8")
CAP_REACHED = Bound("SessgateCapReached", 'job:sessgate_sessions:utilisation_ratio{tier="storage"} > 0.98')
CAP_REACHED_BYTES = Bound("SessgateCapReached", "job:sessgate_storage_bytes:utilisation_ratio > 0.98")
CAP_IMMINENT = Bound("SessgateCapImminent", "job:sessgate_sessions:time_to_cap_seconds < 3600")
STORAGE_FULL_SOON = Bound("SessgateStorageFullSoon", "job:sessgate_storage_bytes:time_to_cap_seconds < 4 * 3600")
DISPLACED = Bound("SessgateSessionsDisplaced", "job:sessgate_session_evictions_storage_cap:rate15m > 0.02")
CREATION_ANOMALOUS = Bound("SessgateCreationAnomalous", "job:sessgate_session_creations:zscore > 5")
CREATION_MUCH_MORE = Bound("SessgateCreationAnomalous", "job:sessgate_session_creations:rate5m > 1.5")
CREATION_FLOOD = Bound("SessgateCreationFlood", "> 0.2")
HOARDING = Bound("SessgateUserHoarding", "max by (namespace, job) (sessgate_user_sessions_max) > 50")
HOARDING_SHARE = Bound("SessgateUserHoarding", "> 0.1")
THRASH = Bound("SessgateEvictionThrash", 'sessgate_evicted_idle_seconds_bucket{tier="memory",le="60"}')
SWEEP_STUCK = Bound("SessgateSweepStuck", "> 3")
HOOK_FAILURES = Bound("SessgateHookFailures", "> 0.05")
BURN_FAST = Bound("SessgateLookupBurn", "job:sessgate_lookups_bad:ratio_rate1h > 14.4 * 0.001")
BURN_MEDIUM = Bound("SessgateLookupBurn", "job:sessgate_lookups_bad:ratio_rate6h > 6 * 0.001")
BURN_SLOW = Bound("SessgateLookupBurn", "job:sessgate_lookups_bad:ratio_rate1d > 3 * 0.001")

BOUNDS: tuple[Bound, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Bound))
"""Every bound above."""
