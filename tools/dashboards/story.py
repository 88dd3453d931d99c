"""A night with everything in it, played against two real sidecars under a real Prometheus with the real rules.

People come and go. A flood comes from one address; one account hoards; the app's hook endpoint is down for a while; the
configuration is changed, and later mistyped; one sidecar hangs for a moment; at last an app leaks sessions until storage
is full. All times are shares of the length, so that a test plays it in half a minute and the pictures in minutes.

The rules are in fast motion, too. What Prometheus remembers of yesterday and of a week ago is made up: the rate at which
sessions were created, as recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.pages import shorten
from tools.processes import wait_until
from tools.scenarios import Frame, Report, Scenario, Timing, play
from tools.scenarios.faults import BadReload, Hang, HookDown, StoreDown
from tools.scenarios.gate import Gate
from tools.scenarios.place import overlaid
from tools.scenarios.plan import Act, Call, address, evenly, merged
from tools.scenarios.shapes import LOGINS, daily, visits
from tools.servers import REPOSITORY, Prometheus, ScrapeJob, Sidecar, http_text

RULES = REPOSITORY / "alerts" / "sessgate.rules.yml"
JOB, NAMESPACE = "sessgate", "shop"
MISSED_SCRAPES = 3.0
"""Scrapes that fail for certain while a sidecar hangs: the first may be under way, and each is given up after an interval."""
STORE_DEADLINE = 11.0
"""Seconds for which a store is held at least: a change is given up after 5, and tried once more; a look-up after 2."""
STRANGERS = 1.0
"""Look-ups a second with tokens that nobody has, while the store is held: memory answers none of them."""
DROPPED = 'sessgate_hook_deliveries_total{result="dropped"}'
"""Notices that were given up."""
LEGACY = 2.0
"""Sessions a second that an older app saves through the Redis door."""
PATIENCE = 20.0
"""Seconds that trouble lasts at most beyond its time, until it is seen."""


@dataclass(frozen=True)
class Story:
    """How long it is and how often it is scraped, in seconds; how much goes on.

    `speed` is the factor by which all times in the rules are divided; with `waits` off alerts do not wait before they fire.
    """

    length: float
    speed: float
    scale: float = 1.0
    scrape: float = 1.0
    waits: bool = True
    seed: int = 7

    def at(self, share: float) -> float:
        """Seconds from the start at this share of the length."""
        return share * self.length

    def timing(self, start: float, end: float) -> Timing:
        """A window between two shares."""
        return Timing(self.at(start), self.at(end - start), self.at(1 - end))

    @property
    def usual(self) -> float:
        """Sessions a second that were created yesterday: as now on both sidecars, without the trouble."""
        return (1.5 * LOGINS + 1.5) * self.scale

    @property
    def leak_rate(self) -> float:
        """Sessions a second that leak in the last third."""
        return 10 * self.scale

    def settings(self) -> dict[str, Any]:
        """The configuration of both sidecars. Storage is full when half of the leak is through."""
        leaked = self.leak_rate * self.at(0.35)
        return {
            "store": {"embedded": {"path": "./data"}},
            "lifetimes": {
                "idle_timeout": f"{int(self.at(0.5)) + 2}s", "stale_after": f"{int(self.at(0.15)) + 1}s",
                "sweep_interval": f"{max(1, int(self.at(1 / 60)))}s", "memory_idle": f"{int(self.at(0.3)) + 1}s",
            },
            "limits": {
                "memory_sessions": max(20, int(80 * self.scale)), "stored_sessions": int(0.5 * leaked) + int(40 * self.scale),
                "stored_bytes": int(2_000 * leaked) + 400_000,
                "per_user": {"sessions": 5, "overrides": {"mallory": 1_000}},
            },
            "hooks": {"session_closed": {"max_attempts": 2}},
        }

    def people(self, frame: Frame) -> Iterator[Call]:
        """Ordinary visits with the hours of a day."""
        mean, day = LOGINS * frame.scale, daily(self.length)
        return visits(frame, "people", 0.0, self.length, lambda at: mean * day(at), 1.7 * mean)

    def hoard(self, frame: Frame) -> Iterator[Call]:
        """People, and one account that logs in from everywhere and never out."""
        rng = frame.rng("hoard")
        one = (
            Call(at, Act.CREATE, f"hoard-{n}", "mallory", address(rng.randrange(1 << 24)), 300)
            for n, at in enumerate(evenly(self.at(0.4), self.at(0.55), 0.8))
        )
        return merged(self.people(frame), one)

    def trouble(self, frame: Frame) -> Iterator[Call]:
        """People, and most of what goes wrong."""
        rng = frame.rng("trouble")
        flood = (
            Call(at, Act.CREATE, f"flood-{n}", ip="192.0.2.66")
            for n, at in enumerate(evenly(self.at(0.15), self.at(0.35), 12 * frame.scale))
        )
        leak = (
            Call(at, Act.CREATE, f"task-{n}", f"task-{n}", address(rng.randrange(1 << 24)), 900)
            for n, at in enumerate(evenly(self.at(0.65), self.length, self.leak_rate))
        )
        few = max(12, int(30 * frame.scale))
        members = (
            Call(at, Act.CREATE, f"member-{n}", f"member-{n % (few // 6)}", address(n), 200)
            for n, at in enumerate(evenly(0.0, self.at(0.1), few / self.at(0.1)))
        )
        looks = (
            Call(at, Act.LOOK_UP, f"member-{n % few}")
            for n, at in enumerate(evenly(self.at(0.12), self.length, 15 * frame.scale))
        )
        short = (
            Call(at, Act.CREATE, f"short-{n}", f"short-{n}", address(rng.randrange(1 << 24)), idle_timeout="1s")
            for n, at in enumerate(evenly(0.0, self.length, 1.5 * frame.scale))
        )
        large = (Call(at, Act.CREATE, f"large-{n}", data_bytes=70_000) for n, at in enumerate(evenly(0.0, self.length, 0.2)))
        return merged(self.people(frame), flood, leak, members, looks, short, large)


def quick_rules(folder: Path, story: Story) -> Path:
    """The real rules in fast motion, in a file of their own."""
    rules = shorten.rules(shorten.load(RULES), story.speed)
    for group in rules["groups"]:
        group["interval"] = f"{int(story.scrape * 1000)}ms"
        for rule in group["rules"]:
            if not story.waits:
                rule.pop("for", None)
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump(rules, sort_keys=False))
    return path


def remember(prometheus: Prometheus, story: Story, start: float) -> None:
    """Gives a Prometheus that has not started yet the creations of yesterday and of a week ago, in fast motion as well."""
    rng = random.Random(story.seed)
    name, labels = "job:sessgate_session_creations:rate5m", f'{{namespace="{NAMESPACE}",job="{JOB}"}}'
    lines = [f"# TYPE {name} gauge"]
    hour = 3_600 / story.speed
    for hours in (7 * 24, 24):
        begin, end = start - (hours + 2) * hour, min(start, start + story.length - (hours - 2) * hour)
        step = max(1.0, 60 / story.speed)
        for number in range(int((end - begin) / step)):
            lines.append(f"{name}{labels} {story.usual * rng.uniform(0.9, 1.1):.4f} {begin + number * step:.3f}")
    text = prometheus.directory / "history.txt"
    text.write_text("\n".join([*lines, "# EOF\n"]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(prometheus.directory / "data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Played:
    """A story that is over: who remembers it, and its times."""

    prometheus: Prometheus
    start: float
    end: float
    reports: tuple[Report, ...]


@contextlib.contextmanager
def played(story: Story) -> Iterator[Played]:
    """Plays a story, and lets one ask about it while the servers are still up."""
    start = math.floor(time.time()) - 2  # starts of processes are told in whole seconds, a little early
    first, second = Sidecar(story.settings()), Sidecar(story.settings())
    hook = HookDown(first)
    with contextlib.ExitStack() as stack:
        for release in (first.close, second.close, hook.close):
            stack.callback(release)
        redis = {"listen": {"redis": "127.0.0.1:0"}}
        for sidecar, more in ((first, redis), (second, {})):
            sidecar.configure(overlaid(overlaid(story.settings(), hook.settings()), more))
            sidecar.start()
        scrape = f"{int(story.scrape * 1000)}ms"
        job = ScrapeJob(JOB, [first.target, second.target], {"namespace": NAMESPACE})
        prometheus = Prometheus([job], [quick_rules(first.directory, story)], scrape_interval=scrape)
        stack.callback(prometheus.close)
        remember(prometheus, story, start)
        prometheus.start()
        reports = asyncio.run(_play(story, prometheus, first, second, hook))
        yield Played(prometheus, start, time.time(), reports)


async def _play(
    story: Story, prometheus: Prometheus, first: Sidecar, second: Sidecar, hook: HookDown
) -> tuple[Report, ...]:
    """Traffic on both, and what breaks."""
    frame = Frame(story.seed, Timing.of(story.length), story.scale)
    calm_frame = Frame(story.seed + 1, Timing.of(story.length), story.scale / 2)
    night = Scenario("night", "Everything in one night.", story.trouble, "all panels move")
    calm = Scenario("calm", "The other sidecar.", story.hoard, "a heavy user")
    clock = _Clock(story, time.monotonic())
    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(play(night, frame, place=first)), tasks.create_task(play(calm, calm_frame, place=second))]
        tasks.create_task(_operate(clock, first, second))
        tasks.create_task(_deafen(clock, first, hook))
        tasks.create_task(_save_late(story, first))
        breaking = tasks.create_task(_break(clock, prometheus, second))
    return (*(task.result() for task in playing), breaking.result())


@dataclass(frozen=True)
class _Clock:
    """When a story has begun, by the monotonic clock."""

    story: Story
    begun: float

    async def until(self, share: float) -> None:
        """Waits for a share of the length."""
        await asyncio.sleep(max(0.0, self.begun + self.story.at(share) - time.monotonic()))


async def _operate(clock: _Clock, first: Sidecar, second: Sidecar) -> None:
    """What apps and operators do: leases that nobody gives back, a new configuration, and later a mistake in it."""
    limits = {"limits": {"leases": {"per_user": 2}}}
    await clock.until(0.2)
    for _ in range(2):
        await asyncio.to_thread(http_text, f"{first.api}/v1/users/ada/leases", b"{}")
    await clock.until(0.45)
    for sidecar in (first, second):
        sidecar.configure(overlaid(sidecar.config, limits))
    await clock.until(0.8)
    BadReload(first).begin()


async def _save_late(story: Story, first: Sidecar) -> None:
    """An older app, through the Redis door: nobody can read what it saves, and after a log-out it saves once more. It is gone
    before storage is full."""
    assert first.redis_target is not None
    host, port = first.redis_target.split(":")
    one, other = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
    try:
        for number, _ in enumerate(evenly(0.0, story.at(0.6), LEGACY)):
            save = f"SETEX legacy:{number} 60 ~opaque~"
            for (reader, writer), command in ((one, save), (one, f"DEL legacy:{number}"), (other, save)):
                writer.write(f"{command}\r\n".encode())
                answer = await reader.readline()
                if not answer.startswith((b"+OK", b":1")):
                    raise RuntimeError(f"{command}: {answer!r}")
            await asyncio.sleep(1 / LEGACY)
    finally:
        for _, writer in (one, other):
            writer.close()


async def _deafen(clock: _Clock, first: Sidecar, hook: HookDown) -> None:
    """The app's endpoint goes down, for as long as it takes to give up a notice at least."""
    await clock.until(0.37)
    await asyncio.to_thread(hook.begin)
    await clock.until(0.5)
    await asyncio.to_thread(wait_until, "a notice is given up", lambda: first.metric(DROPPED), PATIENCE)
    await asyncio.to_thread(hook.end)


async def _break(clock: _Clock, prometheus: Prometheus, second: Sidecar) -> Report:
    """A sidecar hangs until Prometheus has noticed, and later loses its store: each as long as it takes to be seen."""
    story, hang, store = clock.story, Hang(second), StoreDown(second)
    held = max(story.at(0.02), STORE_DEADLINE)
    try:
        await clock.until(0.56)
        hang.begin()
        await asyncio.sleep(max(story.at(0.04), MISSED_SCRAPES * story.scrape))
        await asyncio.to_thread(prometheus.wait_for, "up == 0", PATIENCE)
        hang.end()
        await asyncio.sleep(story.at(0.02))
        store.begin()
        async with asyncio.TaskGroup() as tasks:
            strange = tasks.create_task(_strangers(story, second.api, held))
            await asyncio.sleep(held)
            store.end()
        return strange.result()
    finally:
        hang.end()
        store.close()


async def _strangers(story: Story, api: str, length: float) -> Report:
    """Look-ups with tokens that nobody has: each must ask the store, whatever memory holds."""
    gate = Gate(api)
    report = Report("strangers", story.seed, seconds=length, answers=gate.tally)
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in evenly(0.0, length, STRANGERS):
                tasks.create_task(gate.call("look up", "GET", "/v1/session", token=f"sg_{report.sent:043}"))
                report.sent += 1
                await asyncio.sleep(1 / STRANGERS)
    finally:
        gate.close()
    return report
