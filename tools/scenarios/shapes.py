"""Traffic shapes: how people, robots and broken apps use sessions. Rates are calls a second at scale 1."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from tools.scenarios.plan import Act, Call, Frame, Rate, address, arrivals, evenly, merged, ordered

Shape = Callable[[Frame], Iterator[Call]]

LOGINS = 4.0
"""Logins a second on average at scale 1, with some eight look-ups each: about 40 requests a second."""
USERS = 20_000
"""Accounts of the app. The first ones are the busier ones."""
LOOK_UPS = 8
"""Look-ups of a visit, on average."""
VISIT_SECONDS = 20.0
"""How long a visit lasts, on average: compressed, since a test has no minutes to wait."""
LOGS_OUT = 0.7
"""Part of the visitors who log out. The others' sessions wait for their end."""
FLOOD_RATE = 120.0
"""Session creations a second of one client in a flood."""
RUSH_RATE = 150.0
"""Session creations a second of all bots in a rush."""
LEAK_RATE = 12.0
"""Sessions a second that a leaking app leaves behind."""
LARGE_STATE = 24_000
"""Bytes in each session of an app that keeps too much there."""
OLD_RATE = 100.0
"""Sessions a second that such an app creates before the trouble, to fill its storage up to where it was."""
MEMBERS = 200
"""Members who log in at the start at scale 1, and come back later."""
HOARD = 300
"""Sessions that an account has hoarded before trouble starts."""


def daily(length: float) -> Rate:
    """The hours of a day on `length` seconds: from 0.3 at 4 a.m. to 1.7 at 4 p.m., 1 on average."""
    return lambda at: 1.0 - 0.7 * math.cos(2 * math.pi * (at / length - 4 / 24))


def visits(
    frame: Frame, stream: str, start: float, end: float, rate: Rate, peak: float, *, logs_out: float = LOGS_OUT
) -> Iterator[Call]:
    """People who log in, look around, and mostly log out."""
    rng = frame.rng(stream)
    times = arrivals(rng, start, end, rate, peak)
    people = (_visit(rng, f"{stream}-{number}", at, end, logs_out) for number, at in enumerate(times))
    return ordered(people)


def _visit(rng: random.Random, visitor: str, at: float, end: float, logs_out: float) -> list[Call]:
    user = f"user-{int(USERS * rng.random() ** 2)}"
    ip = address(rng.randrange(1 << 24))
    calls = [Call(at, Act.CREATE, visitor, user, ip, rng.choice((120, 400, 1_500)))]
    looks = 1 + int(rng.expovariate(1 / LOOK_UPS))
    length = rng.expovariate(1 / VISIT_SECONDS)
    for moment in sorted(rng.random() for _ in range(looks)):
        act = rng.choices((Act.LOOK_UP, Act.UPDATE, Act.ROTATE, Act.LEASE), (90, 6, 2, 2))[0]
        calls.append(Call(at + moment * length, act, visitor, user, data_bytes=600))
    if rng.random() < logs_out:
        calls.append(Call(at + length, Act.END, visitor))
    return [call for call in calls if call.at < end]


def background(frame: Frame) -> Iterator[Call]:
    """Ordinary traffic from start to end."""
    mean = LOGINS * frame.scale
    return visits(frame, "people", 0.0, frame.timing.end, lambda _: mean, mean)


def normal_day(frame: Frame) -> Iterator[Call]:
    """A day and its hours, compressed into the whole duration."""
    mean, day = LOGINS * frame.scale, daily(frame.timing.end)
    return visits(frame, "people", 0.0, frame.timing.end, lambda at: mean * day(at), mean * 1.7)


def flash_crowd(frame: Frame) -> Iterator[Call]:
    """Eight times the people, in good faith: a sale, a goal, an outage next door."""
    mean, timing = 7 * LOGINS * frame.scale, frame.timing
    crowd = visits(frame, "crowd", timing.onset, timing.relief, lambda _: mean, mean)
    return merged(background(frame), crowd)


def flood(frame: Frame) -> Iterator[Call]:
    """One client that creates anonymous sessions as fast as it can."""
    timing = frame.timing
    times = evenly(timing.onset, timing.relief, FLOOD_RATE * frame.scale)
    robot = (Call(at, Act.CREATE, f"flood-{number}", ip="192.0.2.66") for number, at in enumerate(times))
    return merged(background(frame), robot)


def many_ips(frame: Frame) -> Iterator[Call]:
    """A botnet: each address stays just under ten an hour, each account has one session."""
    return _bots(frame, 50)


def rush(frame: Frame) -> Iterator[Call]:
    """The same, faster."""
    return _bots(frame, RUSH_RATE)


def _bots(frame: Frame, rate: float) -> Iterator[Call]:
    rng, timing = frame.rng("bots"), frame.timing
    first = rng.randrange(1 << 23)
    times = evenly(timing.onset, timing.relief, rate * frame.scale)
    bots = (
        Call(at, Act.CREATE, f"bot-{number}", f"bot-{number}", address(first + number // 9), 300)
        for number, at in enumerate(times)
    )
    return merged(background(frame), bots)


def hoarder(frame: Frame) -> Iterator[Call]:
    """One account that logs in again and again, from everywhere, and never out."""
    rng, timing = frame.rng("hoarder"), frame.timing
    times = evenly(timing.onset, timing.relief, 5 * frame.scale)
    one = (
        Call(at, Act.CREATE, f"hoarder-{number}", "mallory", address(rng.randrange(1 << 24)), 300)
        for number, at in enumerate(times)
    )
    return merged(background(frame), one)


def hoard(frame: Frame) -> Iterator[Call]:
    """People, and one account that has hoarded before anything happens."""
    rng = frame.rng("hoard")
    hoarded = (
        Call(2 + number * 0.01, Act.CREATE, f"hoard-{number}", "mallory", address(rng.randrange(1 << 24)), 300)
        for number in range(HOARD)
    )
    return merged(background(frame), hoarded)


def leak(frame: Frame) -> Iterator[Call]:
    """An app that logs a job in for every task and closes no session. Each task is a user of its own."""
    return merged(background(frame), _tasks(frame, LEAK_RATE * frame.scale, 200))


def leak_bytes(frame: Frame) -> Iterator[Call]:
    """The same with a large state in each session, on a storage that is 45 % full of such sessions: 70 % in the end."""
    rng, timing = frame.rng("old"), frame.timing
    growth = OLD_RATE * frame.scale * timing.before * 0.8 * 0.25 / 0.45 / timing.during
    old = (
        Call(at, Act.CREATE, f"old-{number}", f"old-{number}", address(rng.randrange(1 << 24)), LARGE_STATE)
        for number, at in enumerate(evenly(0.0, timing.before * 0.8, OLD_RATE * frame.scale))
    )
    return merged(background(frame), old, _tasks(frame, growth, LARGE_STATE))


def _tasks(frame: Frame, rate: float, data_bytes: int) -> Iterator[Call]:
    rng, timing = frame.rng("leak"), frame.timing
    return (
        Call(at, Act.CREATE, f"task-{number}", f"task-{number}", address(rng.randrange(1 << 24)), data_bytes)
        for number, at in enumerate(evenly(timing.onset, timing.relief, rate))
    )


def thrash(frame: Frame) -> Iterator[Call]:
    """Everybody comes round again, just after the sidecar has dropped them from memory."""
    rng, timing = frame.rng("round"), frame.timing
    members = max(10, int(400 * frame.scale))
    moments = evenly(0.0, timing.before * 0.9, members / (timing.before * 0.9)) if timing.before else iter(())
    logins = (
        Call(at, Act.CREATE, f"member-{number}", f"member-{number}", address(rng.randrange(1 << 24)), 200)
        for number, at in enumerate(moments)
    )
    rounds = (
        Call(at, Act.LOOK_UP, f"member-{number % members}")
        for number, at in enumerate(evenly(timing.onset, timing.relief, 150 * frame.scale))
    )
    return merged(background(frame), logins, rounds)


def members(frame: Frame) -> Iterator[Call]:
    """People all the time, and members from the start who come back in trouble: memory has forgotten them."""
    count = max(10, int(MEMBERS * frame.scale))
    rng, timing = frame.rng("members"), frame.timing
    logins = (
        Call(
            1 + number * 0.01, Act.CREATE, f"member-{number}", f"member-{number}", address(rng.randrange(1 << 24)), 200
        )
        for number in range(count)
    )
    looks = (
        Call(at, Act.LOOK_UP, f"member-{rng.randrange(count)}")
        for at in evenly(max(timing.onset, 1 + count * 0.01), timing.relief, 40 * frame.scale)
    )
    return merged(background(frame), logins, looks)


def short_lived(frame: Frame) -> Iterator[Call]:
    """People, and sessions that end by themselves a second after their creation: work for the sweep."""
    times = evenly(0.0, frame.timing.end, 2 * frame.scale)
    rng = frame.rng("short")
    short = (
        Call(at, Act.CREATE, f"short-{number}", f"short-{number}", address(rng.randrange(1 << 24)), idle_timeout="1s")
        for number, at in enumerate(times)
    )
    return merged(background(frame), short)


def many_endings(frame: Frame) -> Iterator[Call]:
    """People who all log out: a notice for each."""
    mean = 2 * LOGINS * frame.scale
    return visits(frame, "people", 0.0, frame.timing.end, lambda _: mean, mean, logs_out=1.0)
