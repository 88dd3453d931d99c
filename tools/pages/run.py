"""Plays incidents side by side, follows what the pager gets, and judges it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tools.pages.incidents import CRITICAL, QUIET, Incident
from tools.pages.stack import NAMESPACE, Stack, Vanished, running
from tools.scenarios import SCENARIOS, Frame, Report, Timing, play
from tools.servers import REPOSITORY, Page, ServerError, wait_until

RUNBOOK = REPOSITORY / "alerts/runbook.md"
FACTOR = 60.0
"""A minute of the rules takes a second."""
RESOLVE_MINUTES = 70.0
"""Minutes of the rules in which a page must be resolved after its cause has gone: the longest window is an hour."""
LEAST_WAIT = 20.0
"""Real seconds of patience at any factor: a store that is locked answers for a last time after 5 or 10 s."""
WATCH_PAUSE = 0.5
"""Seconds between two looks at what Alertmanager inhibits."""


@dataclass
class Course:
    """What happened in one incident. Times are Unix seconds."""

    incident: Incident
    report: Report | None = None
    told: list[tuple[float, str, str]] = field(default_factory=list)
    """(when, receiver, alert) for each alert that began to fire in a notification."""
    beside: set[tuple[str, str]] = field(default_factory=set)
    """(alert, other) for each alert that began to fire, or went on to, in a notification in which the other did as well.
    One that is muted from now on may stand in the notification of what mutes it, not in the next."""
    calls: int = 0
    """How often the phone rang: a group that told the pager of nothing began to tell of something."""
    is_open: bool = False
    """Whether the pager still has something that fires."""
    resolved: dict[str, float] = field(default_factory=dict)
    muted: set[str] = field(default_factory=set)
    annotations: Mapping[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def onset(self) -> float:
        """When the trouble started."""
        return self.report.onset if self.report else 0.0

    @property
    def to_page(self) -> float | None:
        """Seconds from the cause to the notification."""
        return next((at - self.onset for at, _, alert in self.told if alert == self.incident.alert), None)

    @property
    def to_resolved(self) -> float | None:
        """Seconds from the end of the cause to the notification that it is over."""
        at = self.resolved.get(self.incident.alert)
        return at - self.report.relief if at and self.report else None


@dataclass
class Notifications:
    """What a job's notifications say. Fields as in a course; `annotations` are the last ones of each alert.

    Pagers keep one incident for each group of Alertmanager's, by its key: they ring when it opens. A notification that
    names another alert while something still fires changes its text, and rings nobody.
    """

    told: list[tuple[float, str, str]] = field(default_factory=list)
    beside: set[tuple[str, str]] = field(default_factory=set)
    calls: int = 0
    resolved: dict[str, float] = field(default_factory=dict)
    annotations: dict[str, Mapping[str, str]] = field(default_factory=dict)
    firing: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """What fires now, by receiver and key of the group."""

    @property
    def is_open(self) -> bool:
        """Whether the pager has something that fires."""
        return any(names for (receiver, _), names in self.firing.items() if receiver == "page")

    def add(self, page: Page) -> None:
        """Takes in the next one."""
        receiver, key = page.payload["receiver"], page.payload["groupKey"]
        before, now = self.firing.get((receiver, key), set()), {alert["labels"]["alertname"] for alert in page.firing}
        self.calls += receiver == "page" and bool(now) and not before
        self.told += [(page.at, receiver, name) for name in sorted(now - before)]
        self.beside |= {(name, other) for name in now - before for other in now - {name}}
        self.beside |= {(name, other) for name in now & before for other in now & before - {name}}
        self.resolved.update({name: page.at for name in before - now})
        self.annotations.update({alert["labels"]["alertname"]: alert["annotations"] for alert in page.firing})
        self.firing[receiver, key] = now


def notifications(pages: Sequence[Page], job: str) -> Notifications:
    """Those of a job, read in their order."""
    read = Notifications()
    for page in pages:
        if page.payload.get("groupLabels", {}).get("job") == job:
            read.add(page)
    return read


def timing_of(incident: Incident, factor: float) -> Timing:
    """An incident's seconds of calm and trouble; what follows is waited for, not timed."""
    return Timing(incident.before * 60 / factor, max(incident.least, incident.during * 60 / factor), 1.0)


async def _live(stack: Stack, incident: Incident, seed: int) -> Course:
    course = Course(incident)
    frame = Frame(seed, timing_of(incident, stack.factor), incident.people)
    fault = Vanished(stack, incident.name) if incident.vanishes else None
    course.report = await play(SCENARIOS[incident.scenario], frame, place=stack.sidecars[incident.name], fault=fault)
    if incident.alert:
        await asyncio.to_thread(_await_resolved, stack, incident)
    return course


def _await_resolved(stack: Stack, incident: Incident) -> None:
    """Returns when the alert is resolved and nothing pages, or when it should have been: the verdict is passed later."""
    patience = max(LEAST_WAIT, RESOLVE_MINUTES * 60 / stack.factor)

    def is_over(page: Page) -> bool:
        if page.payload.get("groupLabels", {}).get("job") != incident.name:
            return False
        read = notifications(stack.pager.pages(), incident.name)
        return incident.alert in read.resolved and not read.is_open

    try:
        stack.pager.await_page(is_over, patience)
    except ServerError:
        return


async def _watch(stack: Stack, muted: dict[str, set[str]]) -> None:
    """Notes which alerts Alertmanager inhibits, by job, until it is cancelled."""
    while True:
        for alert in await asyncio.to_thread(stack.alertmanager.alerts):
            if alert["status"]["inhibitedBy"]:
                muted.setdefault(alert["labels"]["job"], set()).add(alert["labels"]["alertname"])
        await asyncio.sleep(WATCH_PAUSE)


async def _live_all(
    stack: Stack, incidents: Sequence[Incident], seed: int, tell: Callable[[str], None]
) -> list[Course]:
    muted: dict[str, set[str]] = {}
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * len(incidents) + 2))
    watcher = asyncio.create_task(_watch(stack, muted))
    try:
        tell(f"{len(incidents)} incidents, seed {seed}, {stack.factor:g} times as fast: {stack.prometheus.url}/alerts")
        courses = list(await asyncio.gather(*(_live(stack, incident, seed) for incident in incidents)))
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
    if not watcher.cancelled() and (error := watcher.exception()):
        raise error
    for course in courses:
        name = course.incident.name
        read = notifications(stack.pager.pages(), name)
        course.told, course.resolved, course.beside = read.told, read.resolved, read.beside
        course.calls, course.is_open = read.calls, read.is_open
        course.muted = muted.get(name, set())
        course.annotations = read.annotations.get(course.incident.alert, {})
        course.problems = judge(course)
    return courses


def judge(course: Course) -> list[str]:
    """What is wrong with a course; empty if everything is right."""
    incident = course.incident
    if not incident.alert:
        return [f"{alert} was told to {receiver}" for _, receiver, alert in course.told]
    problems = judge_pages(course)
    receiver = "page" if incident.severity == CRITICAL else "team"
    times = sum(alert == incident.alert and to == receiver for _, to, alert in course.told)
    if times != 1:
        problems.append(f"{incident.alert} came {times} times to {receiver}")
    early = [alert for at, to, alert in course.told if at < course.onset and (to == "page" or alert == incident.alert)]
    if early:
        problems.append(f"before the cause: {early}")
    if incident.alert not in course.resolved:
        problems.append(f"{incident.alert} was not resolved")
    told = {alert for at, _, alert in course.told}
    for alert in incident.muted:
        if alert in told - {*incident.lesser}:
            problems.append(f"{alert} was told, but is to be muted")
        elif alert not in course.muted:
            problems.append(f"{alert} was not seen muted")
    if times:
        problems += judge_text(incident, course.annotations)
    return problems


def judge_pages(course: Course) -> list[str]:
    """Whether the pager was told of what it should be, in one incident, and never of one cause by two names at once."""
    incident, problems = course.incident, []
    wanted = [*incident.also, incident.alert] if incident.severity == CRITICAL else []
    pages = [alert for _, receiver, alert in course.told if receiver == "page" and alert not in incident.lesser]
    if pages != wanted:
        problems.append(f"pages: {pages or 'none'}, wanted {wanted or 'none'}")
    if course.calls > len(wanted) or (wanted and not course.calls):
        problems.append(f"the phone rang {course.calls} times")
    problems += [
        f"{one} was told beside {other}"
        for one, other in sorted(course.beside)
        if one in incident.lesser and other == incident.alert
    ]
    if course.is_open:
        problems.append("the pager was not told that all is over")
    return problems


def judge_text(incident: Incident, annotations: Mapping[str, str]) -> list[str]:
    """Whether a page names the job, shows its number, and links to a runbook's anchor that exists."""
    problems = []
    description, link = annotations.get("description", ""), annotations.get("runbook_url", "")
    if incident.name not in description and incident.name not in annotations.get("summary", ""):
        problems.append(f"the page does not name the job: {description}")
    if not re.search(incident.number, description):
        problems.append(f"no {incident.number} in: {description}")
    anchor = incident.alert.lower()
    if not link.endswith(f"/alerts/runbook.md#{anchor}"):
        problems.append(f"no link to the runbook: {link!r}")
    elif anchor not in anchors():
        problems.append(f"the runbook has no #{anchor}")
    return problems


def anchors() -> set[str]:
    """The anchors of the runbook's headings, as GitHub makes them; none if there is no runbook."""
    text = RUNBOOK.read_text() if RUNBOOK.exists() else ""
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def run(
    incidents: Sequence[Incident], *, seed: int, factor: float = FACTOR, tell: Callable[[str], None] = lambda _: None
) -> list[Course]:
    """Plays incidents, and an ordinary day beside them, and judges each."""
    everything = [*incidents, QUIET]
    with running(everything, factor) as stack:
        up = f'count(up{{namespace="{NAMESPACE}"}} == 1) == {len(everything)}'
        wait_until("every sidecar is scraped", lambda: stack.prometheus.query(up), 60, pause=0.2)
        return asyncio.run(_live_all(stack, everything, seed, tell))


def table(courses: Sequence[Course], factor: float) -> str:
    """Time from cause to page by incident, as measured and in the time of the rules."""
    lines = [f"{'incident':13} {'alert':30} {'cause to page':>22} {'end to resolved':>22}  muted"]
    for course in courses:
        muted = ", ".join(sorted(name.removeprefix("Sessgate") for name in course.muted)) or "-"
        alert = course.incident.alert or "none may come"
        page, over = _both(course.to_page, factor, course.incident.fixed), _both(course.to_resolved, factor)
        lines.append(f"{course.incident.name:13} {alert:30} {page:>22} {over:>22}  {muted}")
        others = [
            f"{name} to {to} after {at - course.onset:.1f} s"
            for at, to, name in course.told
            if name != course.incident.alert
        ]
        lines += [f"{'':13} also: {', '.join(others)}"] if others else []
        lines += [f"{'':13} WRONG: {problem}" for problem in course.problems]
    return "\n".join(lines)


def _both(value: float | None, factor: float, fixed: float = 0.0) -> str:
    """Seconds as measured, and minutes in the time of the rules; what is fixed does not grow with the factor."""
    if value is None:
        return "-"
    fixed = min(value, fixed)
    return f"{value:.1f} s = {((value - fixed) * factor + fixed) / 60:.1f} min"
