"""The real servers, on free loopback ports and in temporary directories, always stopped.

    with Sidecar(config) as sidecar, WebhookReceiver() as pager, \\
         Alertmanager(webhook_config(pager.url)) as alertmanager, \\
         Prometheus([ScrapeJob("sessgate", [sidecar.target])], alertmanagers=[alertmanager.target]) as prometheus:
        prometheus.wait_for("sessgate_sessions", deadline=10)

Every server binds port 0 and logs where it listens, so no two of them ever meet.
"""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.base_server import Server, answers, http_text
from tools.processes import START_DEADLINE, Process, ServerError, wait_until
from tools.webhook import Page, WebhookReceiver, webhook_config

__all__ = [
    "Alertmanager",
    "Page",
    "Prometheus",
    "Sample",
    "ScrapeJob",
    "ServerError",
    "Sidecar",
    "WebhookReceiver",
    "http_text",
    "reload_by_signal",
    "sidecar_program",
    "wait_until",
    "webhook_config",
]

REPOSITORY = Path(__file__).resolve().parent.parent
"""The root of the source tree."""


def sidecar_program() -> Path:
    """The sidecar's binary: `SESSGATE_PROGRAM` if it is set, else the debug build."""
    program = Path(os.environ.get("SESSGATE_PROGRAM") or REPOSITORY / "target/debug/sessgate").resolve()
    if not program.is_file():
        raise ServerError(f"there is no {program}: run `cargo build`, or set SESSGATE_PROGRAM")
    return program


class Sidecar(Server):
    """The sidecar, with a configuration of its own. Its ports survive `stop` and `start`.

    `config` has the keys of config.yaml; `listen` and `store` are filled in, the store at `store` or in the
    temporary directory.
    """

    name = "sidecar"

    def __init__(self, config: Mapping[str, Any] | None = None, *, store: Path | None = None) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(config or {})
        self.store_path = store or self.directory / "data"
        self.api_target = self.target = "127.0.0.1:0"
        self.redis_target: str | None = None
        """Where the Redis door is, if `listen.redis` asks for one."""
        self._bound = (self.api_target, self.target)
        self.config_path = self.directory / "config.yaml"
        self.configure(self.config)

    @property
    def api(self) -> str:
        """The URL of the session API."""
        return f"http://{self.api_target}"

    @property
    def admin(self) -> str:
        """The URL of the admin door; `target` is its host:port, as a scrape configuration wants it."""
        return f"http://{self.target}"

    def complete(self, config: Mapping[str, Any]) -> str:
        """The text of a configuration file with listeners and store filled in."""
        listen = {"api": self._bound[0], "admin": self._bound[1], **config.get("listen", {})}
        whole = {"store": {"embedded": {"path": str(self.store_path)}}, **config, "listen": listen}
        return yaml.safe_dump(whole, sort_keys=False)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Puts a new configuration file in place of the old one; a running sidecar takes it within a second."""
        self.config = dict(config)
        self.write_config(self.complete(config))

    def write_config(self, text: str) -> None:
        """Puts any text in place of the configuration file at once, as a careful editor does."""
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config_path)

    def metrics(self) -> str:
        """What a scrape gets now."""
        return http_text(self.admin + "/metrics")

    def metric(self, series: str) -> float:
        """The value of one series, written as it is exposed: `sessgate_sweep_runs_total{result="ok"}`."""
        for line in self.metrics().splitlines():
            if line.startswith(series + " "):
                return float(line.rsplit(" ", 1)[1])
        raise ServerError(f"there is no series {series}")

    def _command(self) -> list[str]:
        return [str(sidecar_program()), "run", "--config", str(self.config_path)]

    def _await_ready(self, process: Process) -> None:
        line = process.wait_line(r"serving api=(\S+) admin=(\S+)")
        self.api_target, self.target = line[1], line[2]
        if door := re.search(r"serving the Redis protocol redis=(\S+)", process.log()):
            self.redis_target = door[1]
        wait_until("the sidecar is ready", lambda: answers(self.admin + "/readyz"))
        note = {"api": self.api, "admin": self.admin, "pid": process.pid}
        paths = {"config": str(self.config_path), "store": str(self.store_path)}
        (self.directory / "place.json").write_text(json.dumps({**note, **paths}))

    def signal(self, number: signal.Signals) -> None:
        """Sends its process a signal."""
        self.running.signal(number)

    def stop(self) -> int | None:
        """Stops it; the configuration then names the ports it had, so that it comes back where it was."""
        code = super().stop()
        self._keep_ports()
        return code

    def kill(self) -> None:
        super().kill()
        self._keep_ports()

    def _keep_ports(self) -> None:
        self._bound = (self.api_target, self.target)
        self.configure(self.config)


@dataclass(frozen=True)
class ScrapeJob:
    """One job of a Prometheus: its targets (host:port), and labels that each of their series gets."""

    name: str
    targets: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One series of an answer, with its points (Unix seconds, value)."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        """The last value."""
        return self.points[-1][1]


class Prometheus(Server):
    """A Prometheus with these jobs and rule files. Intervals are durations such as `1s`."""

    name = "prometheus"

    def __init__(
        self,
        jobs: Sequence[ScrapeJob],
        rule_files: Iterable[Path] = (),
        *,
        scrape_interval: str = "1s",
        evaluation_interval: str | None = None,
        alertmanagers: Sequence[str] = (),
        external_labels: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
        listen: str = "127.0.0.1:0",
    ) -> None:
        super().__init__()
        self.jobs = list(jobs)
        self._rule_files = [str(Path(file).resolve()) for file in rule_files]
        self._global = {
            "scrape_interval": scrape_interval,
            "scrape_timeout": scrape_interval,
            "evaluation_interval": evaluation_interval or scrape_interval,
            "external_labels": dict(external_labels or {}),
        }
        self._alertmanagers, self._flags, self._listen = list(alertmanagers), list(flags), listen
        self.target = listen
        self._known: list[str] = []
        self._write()

    @property
    def url(self) -> str:
        """Where its pages and its API are."""
        return f"http://{self.target}"

    def _write(self) -> None:
        self._known += [job.name for job in self.jobs if job.name not in self._known]
        now = {job.name: [{"targets": list(job.targets), "labels": dict(job.labels)}] for job in self.jobs}
        for number, name in enumerate(self._known):
            file = self.directory / f"targets-{number}.json"
            file.with_suffix(".new").write_text(json.dumps(now.get(name, [])))
            file.with_suffix(".new").replace(file)
        scrape = [
            {"job_name": name, "file_sd_configs": [{"files": [f"targets-{number}.json"], "refresh_interval": "5s"}]}
            for number, name in enumerate(self._known)
        ]
        config = {
            "global": self._global,
            "rule_files": self._rule_files,
            "scrape_configs": scrape,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": self._alertmanagers}]}]},
        }
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))

    def scrape(self, jobs: Sequence[ScrapeJob]) -> None:
        """Scrapes these jobs instead. Prometheus takes up to 5 s to notice, as with any service discovery.

        Only a job it has never had makes it read its configuration again.
        """
        known = list(self._known)
        self.jobs = list(jobs)
        self._write()
        if self._known != known:
            http_text(self.url + "/-/reload", method="POST")

    def _command(self) -> list[str]:
        return [
            "prometheus",
            "--config.file=prometheus.yml",
            f"--web.listen-address={self._listen}",
            "--storage.tsdb.path=data",
            "--web.enable-lifecycle",
            *self._flags,
        ]

    def _await_ready(self, process: Process) -> None:
        self.target = process.wait_line(r'msg="Listening on" address=(\S+)')[1]
        wait_until("Prometheus is ready", lambda: answers(self.url + "/-/ready"))

    def api(self, path: str, **parameters: Any) -> Any:
        """The `data` of an answer of its HTTP API; `ServerError` with its message if it refuses."""
        form = urllib.parse.urlencode({name: value for name, value in parameters.items() if value is not None})
        try:
            answer = json.loads(http_text(f"{self.url}/api/v1/{path}?{form}"))
        except urllib.error.HTTPError as error:
            raise ServerError(f"{path} {parameters}: {error.read().decode(errors='replace')}") from error
        return answer["data"]

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """The series of an instant query (a vector or a scalar), now or at a Unix time."""
        data = self.api("query", query=expression, time=at)
        if data["resultType"] == "scalar":
            return [Sample({}, [_point(data["result"])])]
        return [Sample(series["metric"], [_point(series["value"])]) for series in data["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Sample]:
        """The series of a range query; times in Unix seconds, `step` in seconds."""
        data = self.api("query_range", query=expression, start=start, end=end, step=step)
        return [Sample(series["metric"], [_point(point) for point in series["values"]]) for series in data["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Its active alerts, as its API shows them."""
        alerts: list[dict[str, Any]] = self.api("alerts")["alerts"]
        return alerts

    def wait_for(self, expression: str, deadline: float = START_DEADLINE) -> list[Sample]:
        """Waits until a query gives at least one series, and returns its answer."""
        return wait_until(f"{expression} gives a series", lambda: self.query(expression), deadline, pause=0.2)


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


class Alertmanager(Server):
    """An Alertmanager with this configuration, a mapping or the text of its file."""

    name = "alertmanager"

    def __init__(self, config: Mapping[str, Any] | str, *, listen: str = "127.0.0.1:0") -> None:
        super().__init__()
        self.target, self._listen = listen, listen
        text = config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
        (self.directory / "alertmanager.yml").write_text(text)

    @property
    def url(self) -> str:
        """Where its pages and its API are."""
        return f"http://{self.target}"

    def _command(self) -> list[str]:
        return [
            "prometheus-alertmanager",
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            f"--web.listen-address={self._listen}",
            "--cluster.listen-address=",
        ]

    def _await_ready(self, process: Process) -> None:
        self.target = process.wait_line(r'msg="Listening on" address=(\S+)')[1]
        wait_until("Alertmanager is ready", lambda: answers(self.url + "/-/ready"))

    def alerts(self) -> list[dict[str, Any]]:
        """Its active alerts; `status.state` is `suppressed` for those that are inhibited or silenced."""
        alerts: list[dict[str, Any]] = json.loads(http_text(self.url + "/api/v2/alerts"))
        return alerts


def reload_by_signal(sidecar: Sidecar) -> None:
    """Has a sidecar read its configuration file again, as an operator does with `kill -HUP`."""
    sidecar.running.signal(signal.SIGHUP)
