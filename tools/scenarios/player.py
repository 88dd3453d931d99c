"""Plays a scenario: sends its calls at their time, breaks what it breaks, and reports what was answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tools.scenarios.catalogue import Scenario
from tools.scenarios.faults import Fault
from tools.scenarios.gate import Gate
from tools.scenarios.place import Place, overlaid
from tools.scenarios.plan import Act, Call, Frame

MOST_WAITING = 500
"""Calls that may wait for a connection: what comes then is left out and counted, so that a slow sidecar does not make
the driver grow."""
MOST_TOKENS = 200_000
"""Sessions that the driver remembers; the oldest are forgotten first."""


@dataclass
class Report:
    """What came of it. `onset` and `relief` are Unix times, 0 before they have come."""

    scenario: str
    seed: int
    seconds: float = 0.0
    sent: int = 0
    left_out: int = 0
    onset: float = 0.0
    relief: float = 0.0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, call: str, outcome: str = "") -> int:
        """Answers to one kind of call, all or those with an outcome that starts so."""
        return sum(number for (name, got), number in self.answers.items() if name == call and got.startswith(outcome))

    def __str__(self) -> str:
        rate = self.sent / self.seconds if self.seconds else 0.0
        lines = [f"{self.scenario}: {self.sent} calls in {self.seconds:.1f} s ({rate:.0f}/s), seed {self.seed}"]
        if self.left_out:
            lines.append(f"  {self.left_out} left out: more were waiting than may")
        lines += [f"  {name:8} {outcome:24} {number:8}" for (name, outcome), number in sorted(self.answers.items())]
        return "\n".join(lines)


class _Visitors:
    """Sends calls, and remembers each visitor's token."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tokens: dict[str, str] = {}

    def is_sendable(self, call: Call) -> bool:
        return call.act is Act.CREATE or call.act is Act.LEASE or call.visitor in self._tokens

    async def send(self, call: Call) -> None:
        token = self._tokens.get(call.visitor)
        match call.act:
            case Act.CREATE:
                await self._create(call)
            case Act.LOOK_UP:
                await self._gate.call("look up", "GET", "/v1/session", token=token)
            case Act.UPDATE:
                await self._gate.call("update", "PUT", "/v1/session", token=token, body={"data": "x" * call.data_bytes})
            case Act.ROTATE:
                answer = await self._gate.call("rotate", "POST", "/v1/session/rotate", token=token)
                if answer.status == 200:
                    self._tokens[call.visitor] = answer.json()["token"]
            case Act.END:
                self._tokens.pop(call.visitor, None)
                await self._gate.call("end", "DELETE", "/v1/session", token=token)
            case Act.LEASE:
                await self._lease(call.user or call.visitor)

    async def _create(self, call: Call) -> None:
        given = {"user": call.user, "ip": call.ip, "idle_timeout": call.idle_timeout}
        body = {key: value for key, value in given.items() if value is not None}
        answer = await self._gate.call("create", "POST", "/v1/sessions", body={**body, "data": "x" * call.data_bytes})
        if answer.status == 201:
            self._tokens[call.visitor] = answer.json()["token"]
            if len(self._tokens) > MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]

    async def _lease(self, user: str) -> None:
        answer = await self._gate.call("lease", "POST", f"/v1/users/{quote(user, safe='')}/leases")
        if answer.status == 201:
            await self._gate.call("release", "DELETE", f"/v1/leases/{answer.json()['lease']}")


async def play(
    scenario: Scenario,
    frame: Frame,
    *,
    place: Place | None = None,
    api: str | None = None,
    fault: Fault | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Plays it against a sidecar that it may do things to, or against an API alone.

    With a place, the scenario's settings are put into force first and taken back at the end, or at the end of the
    trouble if they are the knob to turn. `fault` breaks instead of what the scenario breaks.
    """
    url = place.api if place is not None else api
    if url is None:
        raise ValueError("neither a place nor an API")
    fault = fault or scenario.make_fault(place)
    settings = _Settings(place, overlaid(scenario.settings(frame), fault.settings() if fault else {}))
    gate = Gate(url)
    report = Report(scenario.name, frame.seed, answers=gate.tally)
    start = time.monotonic()
    try:
        settings.apply()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_traffic(scenario.shape(frame), _Visitors(gate), start, report, frame))
            tasks.create_task(_trouble(fault, settings if scenario.knob else None, frame, start, report, tell))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        gate.close()
        if fault is not None:
            await asyncio.to_thread(fault.close)
        settings.take_back()
        report.seconds = time.monotonic() - start
    return report


class _Settings:
    """What a scenario needs in the configuration of its place, put into force and taken back."""

    def __init__(self, place: Place | None, wanted: Mapping[str, Any]) -> None:
        self._place, self._wanted = place, wanted
        self._before: Mapping[str, Any] | None = None

    def apply(self) -> None:
        if self._place is not None and self._wanted:
            self._before = dict(self._place.config)
            self._place.configure(overlaid(self._before, self._wanted))

    def take_back(self) -> None:
        if self._place is not None and self._before is not None:
            self._place.configure(self._before)
            self._before = None


async def _traffic(calls: Iterator[Call], visitors: _Visitors, start: float, report: Report, frame: Frame) -> None:
    waiting: set[asyncio.Task[None]] = set()
    try:
        for call in calls:
            pause = start + call.at - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            elif report.sent % 50 == 0:
                await asyncio.sleep(0)
            if len(waiting) >= MOST_WAITING:
                report.left_out += 1
                await asyncio.sleep(0)
            elif visitors.is_sendable(call):
                report.sent += 1
                task = asyncio.create_task(visitors.send(call))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
        await asyncio.sleep(max(0.0, start + frame.timing.end - time.monotonic()))
        if waiting:
            await asyncio.wait(waiting)
    finally:
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)


async def _trouble(
    fault: Fault | None,
    knob: _Settings | None,
    frame: Frame,
    start: float,
    report: Report,
    tell: Callable[[str], None],
) -> None:
    await asyncio.sleep(max(0.0, start + frame.timing.onset - time.monotonic()))
    report.onset = time.time()
    tell("the trouble starts")
    try:
        if fault is not None:
            await asyncio.to_thread(fault.begin)
        await asyncio.sleep(max(0.0, start + frame.timing.relief - time.monotonic()))
    finally:
        if fault is not None:
            await asyncio.to_thread(fault.end)
        if knob is not None:
            knob.take_back()
        report.relief = time.time()
        tell("the trouble is over")
