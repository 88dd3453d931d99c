"""The incidents that must arrive as a page: which scenario provokes what, and what must and must not be told.

Times are minutes of the rules: the run divides them by its factor, as it does with the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

CRITICAL = "critical"
WARNING = "warning"


@dataclass(frozen=True)
class Incident:
    """One incident, which happens to a job of its own, named after it.

    `muted`: alerts that must fire and be inhibited. `number`: what the description must show, as a pattern.
    `also`: what pages before it, in this order. `lesser`: other names of the same cause, each of which the page may have
    before it is this alert or after it was, but never beside it, and without another call. `before`, `during`: minutes of calm and of trouble, in the rules' time.
    `least`: real seconds of trouble that it takes at any factor. `fixed`: real seconds until it can be seen at any
    factor: 5 s of service discovery, or a locked store, which is given up after 5 s, twice. `people`: factor on the traffic.
    `sweep_minutes`: the interval of the sweep. `vanishes`: the job is taken out of Prometheus.
    """

    name: str
    alert: str
    scenario: str
    severity: str = CRITICAL
    number: str = r"\d"
    muted: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    lesser: tuple[str, ...] = ()
    before: float = 20
    during: float = 15
    least: float = 0
    fixed: float = 0
    people: float = 0.4
    sweep_minutes: float = 5
    vanishes: bool = False


PERCENT = r"\b\d+(\.\d+)?%"
DURATION = r"\b\d+(\.\d+)?(ms|s|m|h|d)\b"
RATE = r"\b\d+(\.\d+)?(m|k|µ)? sessions a second"

ROOM = ("SessgateCapImminent", "SessgateSessionsDisplaced")
"""What may be true a little before a cap is reached, if it takes longer, and after: of sessions ended for want of room the
last quarter of an hour is told, whereas a cap that was raised is not reached any more at once."""

PAGES = (
    Incident("down", "SessgateDown", "crash", number=r"127\.0\.0\.1:\d+"),
    Incident("hung", "SessgateDown", "hang", number=r"127\.0\.0\.1:\d+"),
    Incident("absent", "SessgateAbsent", "normal-day", number=r"Job absent", fixed=5, vanishes=True),
    Incident(
        "cap-reached",
        "SessgateCapReached",
        "rush",
        number=PERCENT,
        during=30,
        muted=("SessgateCapImminent", "SessgateNearCap"),
        lesser=ROOM,
    ),
    Incident("cap-imminent", "SessgateCapImminent", "leak", number=DURATION, during=60),
    Incident(
        "displaced", "SessgateSessionsDisplaced", "lowered-cap", number=RATE, during=25, muted=("SessgateNearCap",)
    ),
    # That nearly half the storage fills up in the minutes before is imminent by itself, and over in time.
    Incident(
        "storage-full",
        "SessgateStorageFullSoon",
        "leak-bytes",
        number=DURATION,
        before=10,
        during=78,
        also=("SessgateCapImminent",),
    ),
    Incident(
        "store-down",
        "SessgateStoreDown",
        "store-down",
        number="embedded store",
        during=52,
        least=52,
        fixed=10,
        sweep_minutes=15,
        muted=("SessgateSweepStuck",),
    ),
    Incident("disk-full", "SessgateCannotStore", "disk-full", number=PERCENT, before=10, during=20),
    Incident("look-ups", "SessgateLookupBurn", "store-slow", number=PERCENT, during=20, least=10, people=1.0),
)
"""Every critical alert."""

WARNINGS = (
    Incident("flood", "SessgateCreationFlood", "flood", WARNING, number=r"refuses \d"),
    Incident(
        "many-ips",
        "SessgateCapReached",
        "many-ips",
        number=PERCENT,
        during=40,
        muted=("SessgateNearCap",),
        also=("SessgateCapImminent",),
        lesser=ROOM[1:],
    ),
    Incident(
        "store-cold",
        "SessgateStoreDown",
        "store-down-cold",
        number="embedded store",
        during=52,
        least=52,
        fixed=10,
        people=1.0,
        sweep_minutes=15,
        muted=("SessgateSweepStuck",),
    ),
    Incident("hoarder", "SessgateUserHoarding", "hoarder", WARNING, number=r"holds \d+", during=60),
    Incident("thrash", "SessgateEvictionThrash", "thrash", WARNING, number=r"\d", before=5, during=60, people=0.08),
    Incident("sweep", "SessgateSweepStuck", "frozen-sweep", WARNING, number=DURATION, before=40, during=60),
    Incident("reload", "SessgateConfigReloadFailed", "bad-reload", WARNING, number="sessgate check", during=30),
    Incident("hooks", "SessgateHookFailures", "hook-down", WARNING, number=PERCENT, during=60, people=1.0),
    Incident(
        "crowd", "SessgateCreationSpikeNoHistory", "flash-crowd", WARNING, number=RATE, before=70, during=20, people=0.2
    ),
)
"""Warnings, which must reach the team and page nobody; and longer courses of what pages."""

QUIET = Incident("quiet", "", "normal-day", during=60)
"""Ordinary traffic all the time: nobody must be told anything."""
