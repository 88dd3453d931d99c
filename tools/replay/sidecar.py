"""A sidecar as its metrics show it, minute by minute: what it does with the sessions that people want.

Written after the program's own rules (src/gateway): a creation meets the limits in their order; storage makes room from
expired and stale sessions before it refuses; above 90 % of the byte cap it is cleaned down to 85 %; sessions end at
sweeps; memory keeps the most recently used. Sessions are counted, not kept one by one.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace

from tools.replay.traffic import binomial, poisson

HIGH_WATER, LOW_WATER = 0.90, 0.85      # gateway/limits/storage_cap.rs
STALE_AFTER = 25                        # lifetimes.stale_after, minutes
BURST, PER_MINUTE = 10.0, 10 / 60       # limits.creation_per_ip: so many at once, then evenly
SLOW_FROM_STORAGE = 0.004               # share of reads from the embedded store that take more than 5 ms
SLOW_FROM_MEMORY = 0.00002
# Upper bounds of sessgate_evicted_idle_seconds, docs/METRICS.md: those around which a rule or a shape turns.
IDLE_BOUNDS = (60, 300, 3600)
LOGOUT_IDLE = 20.0                      # seconds between a last use and the log-out after it


@dataclass(frozen=True)
class Setup:
    """How a sidecar is configured, and how its app uses sessions."""

    close_after: int            # minutes unused until a sweep ends a session
    closes_stale: bool          # on_stale: close; else the idle timeout ends it
    active_minutes: float       # mean time a session is in use
    logout_share: float         # sessions that are ended by their user when no longer in use
    memory_sessions: int
    stored_sessions: int | None
    stored_bytes: int
    session_bytes: int
    lookups: float = 2.0        # look-ups a minute of a session in use
    sweep_every: int = 5        # minutes
    user_sessions: int | None = 10

    def sized(self, most: float, close_after: int, source: random.Random) -> Setup:
        """With caps for an installation that usually holds so many sessions at most.

        They fill 30 to 60 % of storage. Memory has room for all in seven of ten installations; the number of stored
        sessions is limited in every other one.
        """
        return replace(
            self, close_after=close_after,
            memory_sessions=round(most / source.uniform(0.4, 0.75)) if source.random() < 0.7 else round(most * 0.6),
            stored_sessions=round(most / source.uniform(0.3, 0.6)) if source.random() < 0.5 else None,
            stored_bytes=round(most * self.session_bytes / source.uniform(0.3, 0.6)))

    @property
    def capacity(self) -> int:
        """Sessions that fit, by number or by size."""
        by_size = self.stored_bytes // self.session_bytes
        return min(by_size, self.stored_sessions or by_size)


@dataclass(frozen=True)
class Minute:
    """What the world does in one minute beside plain traffic."""

    factor: float = 1.0         # on plain traffic
    held: float = 0.0           # creations a minute of sessions that are kept in use for ever
    hoarded: float = 0.0        # the same by one user
    flooded: float = 0.0        # attempts a minute from one address
    never_closed: bool = False  # the app neither ends sessions nor lets them rest
    sweep_frozen: bool = False
    memory_share: float = 1.0   # of limits.memory_sessions: somebody lowered it
    down: bool = False          # not running
    starts: bool = False        # started in this minute


PLAIN = Minute()


@dataclass
class Sidecar:
    """The state, and one `step` a minute."""

    setup: Setup
    source: random.Random
    active: int = 0
    held: int = 0
    hoarded: int = 0
    fresh: deque[list[int]] = field(default_factory=deque)  # unused, not yet stale: [minute of last use, sessions]
    old: deque[list[int]] = field(default_factory=deque)    # stale
    in_fresh: int = 0
    stale: int = 0
    memory: float = 0.0
    started: int = 0            # minute
    last_sweep: float = 0.0     # seconds
    cleaning: bool = False
    allowance: float = BURST    # of the flooding address
    counters: Counter[str] = field(default_factory=Counter)
    cap_hit: list[int] = field(default_factory=list)    # minutes in which somebody was refused or displaced

    @property
    def in_use(self) -> int:
        """Sessions that are being used."""
        return self.active + self.held + self.hoarded

    @property
    def stored(self) -> int:
        """Sessions in storage."""
        return self.in_use + self.in_fresh + self.stale

    @property
    def bytes(self) -> int:
        """Bytes in storage."""
        return self.stored * self.setup.session_bytes

    def oldest_stale(self, now: int) -> int:
        """Seconds since the last use of the longest unused stale session; 0 without one."""
        return (now - self.old[0][0]) * 60 if self.old else 0

    def busiest_user(self) -> int:
        """Sessions of the user who has the most."""
        return max(min(self.setup.user_sessions or 10, self.stored, 10), self.hoarded)

    def step(self, now: int, wanted: float, world: Minute) -> None:
        """One minute passes, in which `wanted` sessions are wanted by plain traffic."""
        if world.starts:
            self.started, self.memory, self.last_sweep = now, 0.0, now * 60.0 + 1
            self.counters.clear()
        if world.down:
            self._fall_out_of_use(now, logging_out=0.0, never_closed=False)
            return
        created = sum(
            self._create(now, pool, poisson(rate, self.source))
            for pool, rate in (("active", wanted * world.factor), ("held", world.held), ("hoarded", world.hoarded))
        )
        created += self._flood(now, world.flooded)
        left = self._fall_out_of_use(now, self.setup.logout_share, world.never_closed)
        swept = self._sweep(now) if now % self.setup.sweep_every == 0 and not world.sweep_frozen else 0
        swept += self._clean(now)
        self._remember(now, created, left, swept, max(1, round(self.setup.memory_sessions * world.memory_share)))

    def _create(self, now: int, pool: str, number: int) -> int:
        room = self.setup.capacity - self.stored
        if number > room:
            room += self._displace(now, number - room)
            refused = max(0, number - max(room, 0))
            if refused:
                self.counters["creation.storage_full"] += refused
                self.cap_hit.append(now)
            number -= refused
        setattr(self, pool, getattr(self, pool) + number)
        self.counters["creation.created"] += number
        return number

    def _flood(self, now: int, attempts: float) -> int:
        tries = poisson(attempts, self.source)
        self.allowance = min(BURST, self.allowance + PER_MINUTE)
        admitted = min(tries, int(self.allowance))
        self.allowance -= admitted
        # Even in plain traffic a few addresses are shared by many people.
        shared = binomial(self.active, 0.0005, self.source)
        self.counters["creation.creation_rate"] += tries - admitted + shared
        return self._create(now, "active", admitted)

    def _displace(self, now: int, most: int) -> int:
        """Ends expired and stale sessions, the longest unused first, for want of room."""
        freed = self._take_old(now, most)
        if freed:
            self._ended("storage_cap", freed)
            self.cap_hit.append(now)
        return freed

    def _take_old(self, last_use_until: int, most: int) -> int:
        taken = 0
        while self.old and self.old[0][0] <= last_use_until and taken < most:
            part = min(self.old[0][1], most - taken)
            self.old[0][1] -= part
            taken += part
            if self.old[0][1] == 0:
                self.old.popleft()
        self.stale -= taken
        return taken

    def _fall_out_of_use(self, now: int, logging_out: float, never_closed: bool) -> int:
        """Sessions are used no longer; some users log out. How many did."""
        while self.fresh and now - self.fresh[0][0] >= STALE_AFTER:
            batch = self.fresh.popleft()
            self.in_fresh -= batch[1]
            self.stale += batch[1]
            self.old.append(batch)
        done = binomial(self.active, 1 - math.exp(-1 / self.setup.active_minutes), self.source)
        self.active -= done
        if never_closed:
            self.held += done
            return 0
        left = binomial(done, logging_out, self.source) if logging_out < 0.5 else round(done * logging_out)
        self._ended("revoked", left)
        if done > left:
            self.fresh.append([now, done - left])
            self.in_fresh += done - left
        return left

    def _sweep(self, now: int) -> int:
        due = self._take_old(now - self.setup.close_after, self.stale)
        self._ended("stale" if self.setup.closes_stale else "idle", due)
        self.last_sweep = now * 60.0 + 0.5
        self.counters["sweeps"] += 1
        return due

    def _clean(self, now: int) -> int:
        cap = self.setup.stored_bytes
        self.cleaning = self.bytes > HIGH_WATER * cap or (self.cleaning and self.bytes > LOW_WATER * cap)
        if not self.cleaning:
            return 0
        return self._displace(now, math.ceil((self.bytes - LOW_WATER * cap) / self.setup.session_bytes))

    def _remember(self, now: int, created: int, left: int, swept: int, cap: int) -> None:
        """The memory tier: newcomers and what is read again enter, the least recently used leave."""
        lookups = self.setup.lookups * self.in_use
        absent = max(0.0, self.in_use - min(self.memory, cap))
        misses = lookups * absent / self.in_use if self.in_use else 0.0
        if self.in_use <= cap:
            misses = min(misses, absent)    # read once, it stays
        not_held = max(0.0, self.stored + swept - self.memory)
        gone = round(min(self.memory, left + max(0.0, swept - not_held)))
        self._left_memory("ended", gone, LOGOUT_IDLE if left > swept else self.setup.close_after * 60)
        self.memory += created + misses - gone
        over = round(max(0.0, self.memory - cap))
        if over:
            self._left_memory("lru", over, self._tail_idle(now, cap, created + misses))
        self.memory = min(self.memory - over, float(self.stored))
        self._looked_up("storage", round(misses), SLOW_FROM_STORAGE)
        self._looked_up("memory", round(lookups - misses), SLOW_FROM_MEMORY)

    def _tail_idle(self, now: int, cap: int, entering: float) -> float:
        """Seconds since the last use of what leaves memory for want of room."""
        if self.in_use >= cap:
            return min(60 / self.setup.lookups, 60 * cap / max(entering, 1.0))
        room = cap - self.in_use - self.in_fresh
        if room <= 0:
            return max(60.0, STALE_AFTER * 60 * (1 + room / max(self.in_fresh, 1)))
        # As if the stale were spread evenly over their time.
        return 60 * (STALE_AFTER + (self.setup.close_after - STALE_AFTER) * room / max(self.stale, room))

    def _ended(self, reason: str, number: int) -> None:
        self.counters[f"ended.{reason}"] += number
        self.counters["hooks.ok"] += number

    def _left_memory(self, reason: str, number: int, idle: float) -> None:
        self.counters[f"memory.{reason}"] += number
        for bound in IDLE_BOUNDS:
            if number and idle <= bound:
                self.counters[f"idle.{bound}"] += number
        self.counters["idle.+Inf"] += number

    def _looked_up(self, tier: str, number: int, slow: float) -> None:
        self.counters[f"lookup.{tier}"] += number
        self.counters[f"lookup.{tier}.fast"] += number - binomial(number, slow, self.source)
