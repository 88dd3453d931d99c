"""The scenarios: what each plays, what it provokes, and which alerts to expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.scenarios import faults, shapes
from tools.scenarios.place import Place
from tools.scenarios.plan import Frame

Settings = Mapping[str, Any]


def _nothing(_: Frame) -> Settings:
    return {}


@dataclass(frozen=True)
class Scenario:
    """One scenario. `settings` are keys of config.yaml that it needs; `fault` is what breaks besides traffic.

    `knob`: the trouble is over when an operator takes the settings back, as the alert says to; else they are taken back
    when all is over.
    """

    name: str
    story: str
    shape: shapes.Shape
    provokes: str
    alerts: tuple[str, ...] = ()
    settings: Callable[[Frame], Settings] = field(default=_nothing)
    fault: type[faults.Fault] | None = None
    knob: bool = False

    @property
    def may_be_played_by_api(self) -> bool:
        """Whether traffic alone does it."""
        return self.fault is None

    def make_fault(self, place: Place | None) -> faults.Fault | None:
        """What breaks, done to this place."""
        if self.fault is None:
            return None
        if place is None:
            raise ValueError(f"{self.name} needs more than traffic: a sidecar of its own (leave out --api), or --place")
        return self.fault(place)


def _room_for(part: float, rate: float) -> Callable[[Frame], Settings]:
    """A cap on stored sessions of which so many a second fill this part until the trouble is over."""

    def settings(frame: Frame) -> Settings:
        filled = (rate + shapes.LOGINS) * frame.scale * frame.timing.during
        return {"limits": {"stored_sessions": max(100, int(filled / part))}}

    return settings


def _storage_nearly_half_full(frame: Frame) -> Settings:
    """A byte cap that is 45 % full when the trouble starts, of what `leak_bytes` creates until then."""
    old = shapes.OLD_RATE * frame.scale * frame.timing.before * 0.8
    return {"limits": {"stored_bytes": max(1 << 20, int(old * (shapes.LARGE_STATE + 400) / 0.45))}}


def _rush_cap(frame: Frame) -> Settings:
    """Room for the people and a second and a half of the rush."""
    people = shapes.LOGINS * frame.timing.before / 2
    return {"limits": {"stored_sessions": max(20, int(frame.scale * (people + 1.5 * shapes.RUSH_RATE)))}}


def _memory_of(members: int, part: float) -> Callable[[Frame], Settings]:
    return lambda frame: {"limits": {"memory_sessions": max(2, int(members * frame.scale * part))}}


def _fixed(settings: Settings) -> Callable[[Frame], Settings]:
    return lambda _: settings


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "normal-day",
            "A day and its hours, compressed: people log in, look around, mostly log out.",
            shapes.normal_day,
            "nothing: every panel moves, no alert fires",
        ),
        Scenario(
            "flash-crowd",
            "Eight times the people at once, in good faith.",
            shapes.flash_crowd,
            "more creations than expected, from many addresses, none refused: a warning at most",
            ("SessgateCreationAnomalous", "SessgateCreationSpikeNoHistory"),
        ),
        Scenario(
            "flood",
            "One address creates anonymous sessions as fast as it can.",
            shapes.flood,
            "refusals by the per-address limit; nobody else notices",
            ("SessgateCreationFlood",),
        ),
        Scenario(
            "many-ips",
            "A botnet, each address just under its limit, one session an account, until the cap.",
            shapes.many_ips,
            "growth towards limits.stored_sessions, then newcomers refused with 507 storage_full",
            ("SessgateCapImminent", "SessgateCapReached", "SessgateNearCap", "SessgateCreationSpikeNoHistory"),
            _room_for(1.8, 50),
            knob=True,
        ),
        Scenario(
            "rush",
            "The same so fast that the cap is reached before a trend shows.",
            shapes.rush,
            "newcomers refused with 507 storage_full, people among them",
            ("SessgateCapReached", "SessgateNearCap"),
            _rush_cap,
            knob=True,
        ),
        Scenario(
            "hoarder",
            "One account logs in from everywhere and never out, with no limit per user.",
            shapes.hoarder,
            "one user with a large part of all sessions",
            ("SessgateUserHoarding",),
            _fixed({"limits": {"per_user": {"sessions": None}}}),
            knob=True,
        ),
        Scenario(
            "leak",
            "An app logs a job in for every task and closes no session.",
            shapes.leak,
            "steady growth to four fifths of limits.stored_sessions",
            ("SessgateCapImminent",),
            _room_for(0.8, 12),
            knob=True,
        ),
        Scenario(
            "leak-bytes",
            "The same with 24 kB in each session, more slowly, on a storage that is 45 % full.",
            shapes.leak_bytes,
            "steady growth to 70 % of limits.stored_bytes",
            ("SessgateStorageFullSoon",),
            _storage_nearly_half_full,
            knob=True,
        ),
        Scenario(
            "lowered-cap",
            "An operator sets limits.stored_sessions below what one hoarding account has stored alone.",
            shapes.hoard,
            "sessions ended to make room, that account's, oldest first",
            ("SessgateSessionsDisplaced", "SessgateNearCap"),
            _fixed({"limits": {"per_user": {"sessions": None}}}),
            faults.LoweredCap,
        ),
        Scenario(
            "thrash",
            "Memory holds a quarter of those who keep coming round.",
            shapes.thrash,
            "sessions leave memory seconds after their use and are read from the store again",
            ("SessgateEvictionThrash", "SessgateEvictionSpike"),
            _memory_of(400, 0.25),
            knob=True,
        ),
        Scenario(
            "hook-down",
            "The app's hook endpoint refuses connections for a while. Two attempts a notice.",
            shapes.many_endings,
            "notices retried, then dropped",
            ("SessgateHookFailures",),
            _fixed({"hooks": {"session_closed": {"max_attempts": 2, "timeout": "1s"}}}),
            faults.HookDown,
        ),
        Scenario(
            "store-down",
            "Another process holds the whole database, as a stuck backup does.",
            shapes.background,
            "store_up 0, creations answered with 503, sessions in memory served on",
            ("SessgateStoreDown",),
            fault=faults.StoreDown,
        ),
        Scenario(
            "store-down-cold",
            "The same while members come back whom memory does not hold.",
            shapes.members,
            "store_up 0, and look-ups that fail as well",
            ("SessgateStoreDown", "SessgateLookupBurn"),
            _memory_of(shapes.MEMBERS, 0.5),
            faults.StoreDown,
        ),
        Scenario(
            "store-read-only",
            "Another process holds the database for writing; members come back whom memory does not hold.",
            shapes.members,
            "creations answered with 503, look-ups served from the store; store_up changes with every call",
            ("SessgateStoreDown",),
            settings=_memory_of(shapes.MEMBERS, 0.5),
            fault=faults.StoreReadOnly,
        ),
        Scenario(
            "store-slow",
            "Another process holds the database for moments, while members come back whom memory does not hold.",
            shapes.members,
            "look-ups slower than 5 ms, none failing",
            ("SessgateLookupBurn",),
            _memory_of(shapes.MEMBERS, 0.5),
            faults.StoreSlow,
        ),
        Scenario(
            "disk-full",
            "Others fill the disk that the store is on (root: on a small disk of its own).",
            shapes.background,
            "creations refused with 507, look-ups and logouts go on",
            ("SessgateCannotStore",),
            fault=faults.DiskFull,
        ),
        Scenario(
            "frozen-sweep",
            "Sessions that are due cannot be removed: each sweep fails.",
            shapes.short_lived,
            "no successful sweep, sessions long past their end still stored",
            ("SessgateSweepStuck", "SessgateStaleBuildup"),
            _fixed({"lifetimes": {"sweep_interval": "2s", "stale_after": "2s", "on_stale": "close"}}),
            faults.FrozenSweep,
        ),
        Scenario(
            "bad-reload",
            "An operator mistypes a key; the last good configuration stays in force.",
            shapes.background,
            "config_last_reload_successful 0",
            ("SessgateConfigReloadFailed",),
            fault=faults.BadReload,
        ),
        Scenario(
            "crash",
            "The sidecar is killed and comes back at the end.",
            shapes.background,
            "failing scrapes",
            ("SessgateDown",),
            fault=faults.Crash,
        ),
        Scenario(
            "hang",
            "The sidecar stands still: it accepts connections and answers nothing.",
            shapes.background,
            "scrapes that time out",
            ("SessgateDown",),
            fault=faults.Hang,
        ),
    )
}
