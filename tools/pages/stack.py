"""One Prometheus, one Alertmanager, one pager, and a sidecar for each incident, all in fast motion."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tools.pages import shorten
from tools.pages.incidents import Incident
from tools.processes import CleanExit
from tools.scenarios import SCENARIOS
from tools.scenarios.faults import DiskFull, Fault
from tools.scenarios.place import small_disk
from tools.servers import REPOSITORY, Alertmanager, Prometheus, ScrapeJob, Sidecar, WebhookReceiver

RULES = REPOSITORY / "alerts/sessgate.rules.yml"
EXAMPLE = REPOSITORY / "alerts/alertmanager.example.yml"
NAMESPACE = "shop"
"""The namespace label of every job: rules and inhibitions must keep it."""
LOOKBACK_MINUTES = 5
"""How long Prometheus takes an old sample for a current one, by default."""


@dataclass
class Stack:
    """What runs, and the jobs that Prometheus is to scrape."""

    sidecars: Mapping[str, Sidecar]
    prometheus: Prometheus
    alertmanager: Alertmanager
    pager: WebhookReceiver
    factor: float
    _gone: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_scraped(self, name: str, scraped: bool) -> None:
        """Puts a job into Prometheus's configuration, or takes it out."""
        with self._lock:
            self._gone.discard(name) if scraped else self._gone.add(name)
            self.prometheus.scrape(
                [job_of(other, car) for other, car in self.sidecars.items() if other not in self._gone]
            )


def job_of(name: str, sidecar: Sidecar) -> ScrapeJob:
    """The scrape job of an incident's sidecar."""
    return ScrapeJob(name, [sidecar.target], {"namespace": NAMESPACE})


class Vanished(Fault):
    """The job disappears from Prometheus, as with a broken service discovery; the sidecar runs on."""

    def __init__(self, stack: Stack, name: str) -> None:
        super().__init__(stack.sidecars[name])
        self._stack, self._name = stack, name

    def begin(self) -> None:
        self._stack.set_scraped(self._name, False)

    def end(self) -> None:
        self._stack.set_scraped(self._name, True)


def short_rules(directory: Path, factor: float) -> Path:
    """The rule file in fast motion, written into a directory."""
    file = directory / "sessgate.rules.yml"
    file.write_text(yaml.safe_dump(shorten.rules(shorten.load(RULES), factor), sort_keys=False, width=1_000))
    return file


@contextlib.contextmanager
def running(incidents: Sequence[Incident], factor: float) -> Iterator[Stack]:
    """Starts everything, and stops it whatever happens."""
    with CleanExit() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sessgate-pages-")))
        sidecars = {}
        for incident in incidents:
            needs_disk = bool(incident.scenario) and SCENARIOS[incident.scenario].fault is DiskFull
            disk = stack.enter_context(small_disk()) / "store" if needs_disk else None
            sidecars[incident.name] = Sidecar(_config(incident, factor), store=disk)
            stack.callback(sidecars[incident.name].close)
        with ThreadPoolExecutor(4) as starters:
            list(starters.map(Sidecar.start, sidecars.values()))
        pager = stack.enter_context(WebhookReceiver())
        settings = shorten.alertmanager(shorten.load(EXAMPLE), factor, pager.url)
        alertmanager = stack.enter_context(Alertmanager(settings))
        minute, lookback = shorten.shorter("1m", factor), shorten.shorter(f"{LOOKBACK_MINUTES}m", factor)
        prometheus = stack.enter_context(
            Prometheus(
                [job_of(name, sidecar) for name, sidecar in sidecars.items()],
                [short_rules(directory, factor)],
                scrape_interval=minute,
                alertmanagers=[alertmanager.target],
                flags=[f"--query.lookback-delta={lookback}", f"--rules.alert.resend-delay={minute}"],
            )
        )
        yield Stack(sidecars, prometheus, alertmanager, pager, factor)


def _config(incident: Incident, factor: float) -> dict[str, object]:
    return {"lifetimes": {"sweep_interval": shorten.shorter(f"{incident.sweep_minutes:g}m", factor)}}
