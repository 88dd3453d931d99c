"""What can happen to a sidecar: harmful shapes, each with its label and the alerts that should tell, and benign ones.

A scenario starts at minute 0 of a Prometheus without history; harm begins after a day and a
half or later. What is drawn, is drawn from the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tools.replay.series import Recorder
from tools.replay.sidecar import PLAIN, Minute, Setup, Sidecar
from tools.replay.traffic import DAY, WEEK, Trace, Week

HISTORY = 3 * DAY // 2
GROWTH_PAGES = frozenset({"SessgateCapImminent", "SessgateStorageFullSoon"})
ROOM_PAGES = GROWTH_PAGES | {"SessgateCapReached", "SessgateSessionsDisplaced"}
CREATION = frozenset({"SessgateCreationAnomalous", "SessgateCreationSpikeNoHistory"})


@dataclass(frozen=True)
class Label:
    """A span in which something is wrong, and the alerts of which at least one should say so."""

    first: int
    last: int
    expected: frozenset[str]
    pages: bool = False     # the expected ones page before the cap is reached


@dataclass
class Played:
    """A scenario that has been played: its series, its labels, and when the cap was reached."""

    shape: str
    seed: int
    recorder: Recorder
    labels: list[Label]
    minutes: int
    cap_hit: int | None


World = Callable[[int, Sidecar], Minute]


@dataclass(frozen=True)
class Plan:
    """How a scenario goes on from plain traffic."""

    minutes: int
    world: World
    labels: list[Label]
    setup: Setup

    @property
    def stops_at_cap(self) -> bool:
        """Whether it is about what happens before the cap is reached."""
        return any(label.pages for label in self.labels)


def _span(onset: int, last: int, during: Minute) -> World:
    return lambda now, _: during if onset <= now < last else PLAIN


def flood(base: Base, source: random.Random) -> Plan:
    """One address creates sessions as fast as it can; its limit refuses nearly all."""
    onset, length = base.onset(source), source.randint(30, 180)
    rate = max(source.uniform(120, 3000), 0.6 * base.rate_around(onset))
    return base.plan(onset + length + 240, _span(onset, onset + length, Minute(flooded=rate)),
                     Label(onset, onset + length, frozenset({"SessgateCreationFlood"})))


def ramp(base: Base, source: random.Random) -> Plan:
    """Sessions that stay in use are created faster and faster, from many addresses, until the cap is reached."""
    onset, length = base.onset(source), source.randint(40, 180)
    room: list[int] = []

    def world(now: int, sidecar: Sidecar) -> Minute:
        if not onset <= now < onset + length + 20:
            return PLAIN
        if not room:
            room.append(sidecar.setup.capacity - sidecar.stored)
        return Minute(held=2 * room[0] * (now - onset + 0.5) / length**2)

    return base.plan(onset + length + 20, world, Label(onset, onset + length + 20, GROWTH_PAGES, pages=True))


def low_and_slow(base: Base, source: random.Random) -> Plan:
    """For a day or longer, some sessions more than usual."""
    onset, length = base.onset(source), source.randint(18 * 60, 36 * 60)
    return base.plan(onset + length + 240, _span(onset, onset + length, Minute(factor=source.uniform(1.6, 2.2))),
                     Label(onset, onset + length, CREATION | {"SessgateCreationSustained"}))


def hoarder(base: Base, source: random.Random) -> Plan:
    """One user collects between an eighth and a third of all sessions; users have no limit."""
    onset, length = base.onset(source), source.randint(30, 150)
    share, before = source.uniform(0.13, 0.33), []

    def world(now: int, sidecar: Sidecar) -> Minute:
        if not onset <= now < onset + length:
            return PLAIN
        if not before:
            before.append(max(80.0, sidecar.stored * share / (1 - share)))
        return Minute(hoarded=1.2 * before[0] / length)

    plan = base.plan(onset + length + 240, world,
                     Label(onset, onset + length + 240, frozenset({"SessgateUserHoarding"})))
    return replace(plan, setup=replace(plan.setup, user_sessions=None))


def many_ips(base: Base, source: random.Random) -> Plan:
    """Many addresses, each just under its limit, together create several times what is usual."""
    onset, length = base.onset(source), source.randint(60, 360)
    extra = max(source.uniform(2, 8) * base.rate_around(onset), source.randint(60, 400) * 9 / 60)
    factor = 1 + extra / base.rate_around(onset)
    return base.plan(onset + length + 240, _span(onset, onset + length, Minute(factor=factor)),
                     Label(onset, onset + length, CREATION | ROOM_PAGES))


def thrash(base: Base, source: random.Random) -> Plan:
    """Somebody lowers the memory limit far below the sessions in use, at a busy time."""
    onset, length = base.busy_onset(source), source.randint(120, 240)
    in_use = base.rate_around(onset) * base.setup.active_minutes
    share = source.uniform(0.2, 0.6) * in_use / base.setup.memory_sessions
    return base.plan(onset + length + 240, _span(onset, onset + length, Minute(memory_share=share)),
                     Label(onset, onset + length, frozenset({"SessgateEvictionThrash", "SessgateEvictionSpike"})))


def frozen_sweep(base: Base, source: random.Random) -> Plan:
    """No sweep ends any more."""
    onset, length = base.onset(source), source.randint(60, 360)
    return base.plan(onset + length + 240, _span(onset, onset + length, Minute(sweep_frozen=True)),
                     Label(onset, onset + length, frozenset({"SessgateSweepStuck", "SessgateStaleBuildup"})))


def leaking_app(base: Base, source: random.Random) -> Plan:
    """A new version of the app keeps every session in use for ever; traffic is as always."""
    onset = base.onset(source)
    length = 2 * DAY

    def world(now: int, sidecar: Sidecar) -> Minute:
        return Minute(never_closed=True) if now >= onset else PLAIN

    return base.plan(onset + length, world, Label(onset, onset + length, GROWTH_PAGES, pages=True))


def flash_crowd(base: Base, source: random.Random) -> Plan:
    """Something brings two to four times the people for an hour or two; the installation was built for it."""
    onset, length = base.onset(source), source.randint(60, 180)
    top = source.uniform(2, 4)

    def world(now: int, _: Sidecar) -> Minute:
        part = (now - onset) / length
        return Minute(factor=1 + (top - 1) * math.sin(math.pi * part) ** 0.7) if 0 < part < 1 else PLAIN

    return base.roomier(top).plan(onset + length + 360, world)


def deploy(base: Base, source: random.Random) -> Plan:
    """Restarts at all times of the day: counters and memory start anew, one or two scrapes fail."""
    starts: dict[int, bool] = {}
    for _ in range(8):
        at, gap = source.randint(DAY // 2, HISTORY + DAY - 10), source.randint(0, 2)
        starts.update({at + minute: False for minute in range(gap)})
        starts[at + gap] = True
    return base.plan(HISTORY + DAY, lambda now, _: Minute(starts=starts[now], down=not starts[now])
                     if now in starts else PLAIN)


def weekend(base: Base, source: random.Random) -> Plan:
    """Eight days around a weekend that is nothing like the working days."""
    week = replace(base.week, weekend=source.choice([source.uniform(0.1, 0.3), source.uniform(1.6, 2.2)]))
    return replace(base, week=week).plan(8 * DAY, lambda now, _: PLAIN)


def plain(base: Base, source: random.Random) -> Plan:
    """A month in which nothing happens."""
    return base.plan(30 * DAY, lambda now, _: PLAIN)


HARMFUL = {shape.__name__: shape for shape in (
    flood, ramp, low_and_slow, hoarder, many_ips, thrash, frozen_sweep, leaking_app)}
BENIGN = {shape.__name__: shape for shape in (flash_crowd, deploy, weekend, plain)}
SHAPES = HARMFUL | BENIGN


@dataclass(frozen=True)
class Base:
    """An installation with its plain traffic."""

    week: Week
    setup: Setup
    history: int = HISTORY  # minutes before anything happens
    within: int = DAY       # minutes after that in which it begins

    @staticmethod
    def draw(source: random.Random, history: int = HISTORY, within: int = DAY) -> Base:
        """A plausible one. Caps leave room: on a usual day it is between 30 and 60 % full at most."""
        week = Week.draw(source)
        kind = source.choice(["connections", "web", "web", "remembered"])
        close_after = {"connections": 25, "web": source.randint(60, 720), "remembered": source.randint(2, 7) * DAY}[kind]
        active = source.uniform(8, 40)
        setup = Setup(
            close_after=close_after, closes_stale=kind == "connections", active_minutes=active,
            logout_share=source.uniform(0.05, 0.4), memory_sessions=1, stored_sessions=None, stored_bytes=1,
            session_bytes=source.randint(400, 4000)).sized(busiest(week, active, close_after), close_after, source)
        return Base(week, setup, history, within)

    def onset(self, source: random.Random) -> int:
        """Some minute after the history; of a whole day, unless told otherwise."""
        return self.history + source.randint(10, self.within - 10)

    def busy_onset(self, source: random.Random) -> int:
        """The same, when there is at least half of a day's peak traffic for the next hours."""
        return self.history + int(self.week.peak_hour * 60) - source.randint(60, 240)

    def rate_around(self, minute: int) -> float:
        """Plain traffic at that time, without noise."""
        return self.week.curve(minute)

    def roomier(self, times: float) -> Base:
        """One that so many times the people would fill to 70 %."""
        most = busiest(self.week, self.setup.active_minutes, self.setup.close_after) * times / 0.7
        setup = replace(self.setup, stored_sessions=self.setup.stored_sessions and round(most),
                        stored_bytes=round(most * self.setup.session_bytes))
        return replace(self, setup=setup)

    def plan(self, minutes: int, world: World, *labels: Label) -> Plan:
        """A plan on this installation."""
        return Plan(minutes, world, list(labels), self.setup)


def busiest(week: Week, active: float, close_after: int) -> float:
    """Sessions held in the busiest moment of a week without noise."""
    return held_at_most([week.curve(minute) for minute in range(WEEK)], active, close_after)


def held_at_most(rates: list[float], active: float, close_after: int) -> float:
    """The most sessions held under these rates, repeated for ever: arrivals of as long as a session stays.

    With a margin for chance: four standard deviations, and twenty sessions.
    """
    window = max(1, round(active + 0.75 * close_after))
    total = sum(rates[minute % len(rates)] for minute in range(-window, 0))
    most = total
    for minute, rate in enumerate(rates):
        total += rate - rates[(minute - window) % len(rates)]
        most = max(most, total)
    return most + 4 * math.sqrt(most) + 20


def play(shape: str, seed: int, history: int = HISTORY, within: int = DAY) -> Played:
    """Plays one shape with one seed; see `Base` for the times."""
    source = random.Random(f"{shape}/{seed}")
    base = Base.draw(source, history, within)
    plan = SHAPES[shape](base, source)
    ahead = math.ceil((plan.setup.close_after + 300) / WEEK) * WEEK
    rates = base.week.rates(ahead + plan.minutes, source)
    return _run(f"{shape}-{seed}", shape, seed, plan, rates, ahead, source)


def play_trace(trace: Trace, seed: int) -> Played:
    """A recorded trace as the wish for sessions, on a drawn installation with room as in the shapes.

    Its caps are made for what the trace holds outside its labels: nobody plans for an anomaly.
    """
    source = random.Random(f"{trace.name}/{seed}")
    drawn = Base.draw(source).setup
    usual = [rate for minute, rate in enumerate(trace.rates)
             if not any(first <= minute <= last for first, last in trace.labels)]
    close_after = min(drawn.close_after, 2 * DAY)
    setup = drawn.sized(held_at_most(usual, drawn.active_minutes, close_after), close_after, source)
    labels = [Label(first, last, CREATION | ROOM_PAGES | {"SessgateCreationSustained"}) for first, last in trace.labels]
    plan = Plan(len(trace.rates), lambda now, _: PLAIN, labels, setup)
    ahead = close_after + 300
    rates = [usual[minute % len(usual)] for minute in range(-ahead, 0)] + trace.rates
    return _run(f"trace-{seed}", f"trace {trace.name}", seed, plan, rates, ahead, source)


def _run(job: str, shape: str, seed: int, plan: Plan, rates: list[float], ahead: int, source: random.Random) -> Played:
    sidecar, recorder = Sidecar(plan.setup, source), Recorder(job)
    for minute in range(-ahead, 0):
        sidecar.step(minute, rates[minute + ahead], PLAIN)
    sidecar.counters.clear()
    sidecar.cap_hit.clear()
    cap_hit, minute = None, 0
    onset = plan.labels[0].first if plan.labels else 0
    # What comes long after the cap is reached tells nothing about a page that should come before it.
    while minute < plan.minutes and not (plan.stops_at_cap and cap_hit is not None and minute > cap_hit + 60):
        world = plan.world(minute, sidecar)
        sidecar.step(minute, rates[minute + ahead], world)
        recorder.scrape(minute, sidecar, world)
        if cap_hit is None and minute >= onset and sidecar.cap_hit and sidecar.cap_hit[-1] == minute:
            cap_hit = minute
        minute += 1
    return Played(shape, seed, recorder, plan.labels, minute, cap_hit)
