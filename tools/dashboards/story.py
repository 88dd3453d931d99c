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
from tools.scenarios import Frame, Report, Scenario, Timing, play
from tools.scenarios.faults import BadReload, Hang, HookDown, StoreDown
from tools.scenarios.place import overlaid
from tools.scenarios.plan import Act, Call, address, evenly, merged
from tools.scenarios.shapes import LOGINS, daily, visits
from tools.servers import REPOSITORY, Prometheus, ScrapeJob, Sidecar, http_text

RULES = REPOSITORY / "alerts" / "sessgate.rules.yml"
JOB, NAMESPACE = "sessgate", "shop"
MISSED_SCRAPES = 3.0
"""Scrapes that fail for certain while a sidecar hangs: the first may be under way, and each is given up after an interval."""
STORE_DEADLINE = 11.0
"""Seconds that a store must be held for calls to fail: each waits for 5, in its turn."""


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
        for sidecar in (first, second):
            sidecar.configure(overlaid(story.settings(), hook.settings()))
            sidecar.start()
        scrape = f"{int(story.scrape * 1000)}ms"
        job = ScrapeJob(JOB, [first.target, second.target], {"namespace": NAMESPACE})
        prometheus = Prometheus([job], [quick_rules(first.directory, story)], scrape_interval=scrape)
        stack.callback(prometheus.close)
        remember(prometheus, story, start)
        prometheus.start()
        reports = asyncio.run(_play(story, first, second, hook))
        yield Played(prometheus, start, time.time(), reports)


async def _play(story: Story, first: Sidecar, second: Sidecar, hook: HookDown) -> tuple[Report, ...]:
    """Traffic on both, and what breaks."""
    frame = Frame(story.seed, Timing.of(story.length), story.scale)
    calm_frame = Frame(story.seed + 1, Timing.of(story.length), story.scale / 2)
    night = Scenario("night", "Everything in one night.", story.trouble, "all panels move")
    calm = Scenario("calm", "The other sidecar.", story.hoard, "a heavy user")
    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(play(night, frame, place=first)), tasks.create_task(play(calm, calm_frame, place=second))]
        tasks.create_task(_operate(story, first, second, hook))
    return tuple(task.result() for task in playing)


async def _operate(story: Story, first: Sidecar, second: Sidecar, hook: HookDown) -> None:
    """What operators do, and what happens to machines: at the shares of the length that stand here."""
    begun = time.monotonic()
    mistake, hang, store = BadReload(first), Hang(second), StoreDown(second)
    limits = {"limits": {"leases": {"per_user": 2}}}

    def lease() -> None:
        for _ in range(2):
            http_text(f"{first.api}/v1/users/ada/leases", data=b"{}")

    def reload() -> None:
        for sidecar in (first, second):
            sidecar.configure(overlaid(sidecar.config, limits))

    awake = 0.56 + max(0.04, MISSED_SCRAPES * story.scrape / story.length)
    store_back = awake + 0.02 + max(0.02, STORE_DEADLINE / story.length)
    acts = [
        (0.2, lease), (0.37, hook.begin), (0.45, reload), (0.5, hook.end), (0.56, hang.begin), (awake, hang.end),
        (awake + 0.02, store.begin), (store_back, store.end), (max(0.8, store_back), mistake.begin),
    ]
    try:
        for share, act in acts:
            await asyncio.sleep(max(0.0, begun + story.at(share) - time.monotonic()))
            await asyncio.to_thread(act)
    finally:
        hang.end()
        store.close()
