"""What is to be sent and when, decided by a seed alone: the same seed gives the same calls in the same order.

A plan never looks at an answer. A call on a session whose creation was refused is simply not sent.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Act(Enum):
    """What a call does with its visitor's session."""

    CREATE = "create"
    LOOK_UP = "look up"
    UPDATE = "update"
    ROTATE = "rotate"
    END = "end"
    LEASE = "lease"
    """Takes a lease of the user and gives it back."""


@dataclass(frozen=True)
class Call:
    """One call: at so many seconds from the start, for the visitor with this name, who has one session."""

    at: float
    act: Act
    visitor: str
    user: str | None = None
    ip: str | None = None
    data_bytes: int = 0
    idle_timeout: str | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds of calm, of trouble, and of calm again."""

    before: float
    during: float
    after: float

    @property
    def onset(self) -> float:
        """When the trouble starts, in seconds from the start."""
        return self.before

    @property
    def relief(self) -> float:
        """When the trouble is over."""
        return self.before + self.during

    @property
    def end(self) -> float:
        """When everything is over."""
        return self.before + self.during + self.after

    @classmethod
    def of(cls, duration: float) -> Timing:
        """A sixth of calm, four of trouble, a sixth of calm."""
        return cls(duration / 6, duration * 4 / 6, duration / 6)


@dataclass(frozen=True)
class Frame:
    """What a shape gets: the seed, the timing, and a factor on its rates."""

    seed: int
    timing: Timing
    scale: float = 1.0

    def rng(self, stream: str) -> random.Random:
        """A generator of its own for each stream, so that adding one does not change the others."""
        return random.Random(f"{self.seed}/{stream}")


Rate = Callable[[float], float]
"""Arrivals a second at a time."""


def arrivals(rng: random.Random, start: float, end: float, rate: Rate, peak: float) -> Iterator[float]:
    """Times of a Poisson process between `start` and `end`, whose rate is never above `peak` (thinning)."""
    if peak <= 0:
        return
    at = start + rng.expovariate(peak)
    while at < end:
        if rng.random() * peak < rate(at):
            yield at
        at += rng.expovariate(peak)


def evenly(start: float, end: float, rate: float) -> Iterator[float]:
    """Times at an even rate: what a program does, not people."""
    count = int((end - start) * rate)
    return (start + number / rate for number in range(count))


def merged(*streams: Iterable[Call]) -> Iterator[Call]:
    """Several streams as one, in order of time."""
    return heapq.merge(*streams, key=lambda call: call.at)


def ordered(visits: Iterable[list[Call]]) -> Iterator[Call]:
    """The calls of visits, in order of time. The visits come in order of their first call."""
    waiting: list[tuple[float, int, Call]] = []
    number = 0
    for visit in visits:
        while waiting and waiting[0][0] <= visit[0].at:
            yield heapq.heappop(waiting)[2]
        for call in visit:
            number += 1
            heapq.heappush(waiting, (call.at, number, call))
    while waiting:
        yield heapq.heappop(waiting)[2]


def address(number: int) -> str:
    """An IPv4 address for each number below 2^24, in 10/8."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
