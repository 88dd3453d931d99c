"""The whole chain on one machine, for a person to look at: `make demo`, or `python3 -m tools.demo`.

Sidecar, Prometheus with the rules, Alertmanager with the example's routing, a pager that prints what it gets, and an
ordinary day's traffic. Runs until Ctrl-C, then stops everything and leaves nothing behind. Ports are the usual ones if
they are free, so that addresses stay the same; else free ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.pages import shorten
from tools.pages.stack import EXAMPLE, NAMESPACE, short_rules
from tools.processes import CleanExit, ServerError, stopped_by_signals
from tools.scenarios import SCENARIOS, Frame, Timing, play
from tools.servers import REPOSITORY, Alertmanager, Page, Prometheus, ScrapeJob, Sidecar, WebhookReceiver

PORTS = {"api": 8480, "admin": 9480, "prometheus": 9090, "alertmanager": 9093}
"""Where things are if nothing else is there."""
JOB = "sessgate"
FACTOR = 12.0
"""How much faster than in earnest the rules run: five minutes take 25 s."""
DAY_SECONDS = 600.0
"""An ordinary day in the demo; another follows it."""


def listen_at(port: int) -> str:
    """This loopback port if it is free now, any free one otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return "127.0.0.1:0"
    return f"127.0.0.1:{port}"


@dataclass
class Demo:
    """What runs."""

    sidecar: Sidecar
    prometheus: Prometheus
    alertmanager: Alertmanager
    factor: float

    def addresses(self) -> str:
        """Where to look and what to try, as text."""
        place = self.sidecar.directory
        dashboards = REPOSITORY / "dashboards"
        grafana = f"\n  Grafana         import {dashboards}/*.json over that Prometheus" if dashboards.is_dir() else ""
        return f"""
Look at
  status page     {self.sidecar.admin}/
  metrics         {self.sidecar.admin}/metrics
  alerts          {self.prometheus.url}/alerts        every time of the rules divided by {self.factor:g}
  graphs          {self.prometheus.url}/graph?g0.expr=job%3Asessgate_sessions%3Asum&g0.tab=0&g0.range_input=10m
  Alertmanager    {self.alertmanager.url}/#/alerts     pages and messages are printed below{grafana}

Try, in another terminal (python3 -m tools.scenarios --list tells what each provokes)
  python3 -m tools.scenarios flood --place {place}
  python3 -m tools.scenarios rush --place {place}
  python3 -m tools.scenarios store-down --place {place}
  python3 -m tools.scenarios bad-reload --place {place}
  curl -s --json '{{"user": "ada", "ip": "192.0.2.7"}}' {self.sidecar.api}/v1/sessions
  $EDITOR {self.sidecar.config_path}        in force within a second

Ctrl-C stops everything.
"""


@contextlib.contextmanager
def running(ports: Mapping[str, int], factor: float) -> Iterator[Demo]:
    """Starts everything but the traffic, and stops it whatever happens."""
    with CleanExit() as stack:
        listen = {door: listen_at(ports[door]) for door in ("api", "admin")}
        interval = shorten.shorter("5m", factor)
        sidecar = stack.enter_context(Sidecar({"listen": listen, "lifetimes": {"sweep_interval": interval}}))
        pager = stack.enter_context(WebhookReceiver(lambda page: print(told(page), flush=True)))
        routing = shorten.alertmanager(shorten.load(EXAMPLE), factor, pager.url)
        alertmanager = stack.enter_context(Alertmanager(routing, listen=listen_at(ports["alertmanager"])))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sessgate-demo-")))
        minute = shorten.shorter("1m", factor)
        prometheus = stack.enter_context(
            Prometheus(
                [ScrapeJob(JOB, [sidecar.target], {"namespace": NAMESPACE})],
                [short_rules(directory, factor)],
                scrape_interval=shorten.shorter("15s", factor),
                evaluation_interval=minute,
                alertmanagers=[alertmanager.target],
                flags=[f"--rules.alert.resend-delay={minute}"],
                listen=listen_at(ports["prometheus"]),
            )
        )
        yield Demo(sidecar, prometheus, alertmanager, factor)


def told(page: Page) -> str:
    """A notification as text."""
    lines = []
    for alert in page.payload["alerts"]:
        notes, labels = alert["annotations"], alert["labels"]
        head = f"[{page.payload['receiver']}] {alert['status']}: {labels['alertname']} ({labels.get('severity')})"
        more = [notes.get("summary", ""), notes.get("description", ""), notes.get("runbook_url", "")]
        lines += [head, *(f"    {line}" for line in more if line and alert["status"] == "firing")]
    return "\n".join(lines)


async def traffic(sidecar: Sidecar, seed: int, scale: float) -> None:
    """One ordinary day after the other."""
    while True:
        frame = Frame(seed, Timing(0.0, DAY_SECONDS, 0.0), scale)
        await play(SCENARIOS["normal-day"], frame, api=sidecar.api)
        seed += 1


def show(ports: Mapping[str, int], factor: float, seed: int, scale: float) -> None:
    """Runs until it is interrupted."""
    with running(ports, factor) as demo:
        try:
            print(demo.addresses(), flush=True)
            asyncio.run(traffic(demo.sidecar, seed, scale))
        finally:
            print("stopping", flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """Exit code: 0 stopped by Ctrl-C or SIGTERM, 1 something did not start."""
    made = argparse.ArgumentParser(prog="python3 -m tools.demo", description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--free-ports", action="store_true", help="take free ports, not the usual ones")
    made.add_argument(
        "--factor", type=float, default=FACTOR, help=f"how much faster the rules run (default: {FACTOR:g})"
    )
    made.add_argument("--scale", type=float, default=1.0, help="factor on the traffic (default: 1)")
    made.add_argument("--seed", type=int, default=None, help="of the traffic (default: a random one)")
    arguments = made.parse_args(given)
    if not 1 <= arguments.factor <= 60 or not 0 < arguments.scale <= 20:
        made.error("a factor between 1 and 60, a scale above 0 and up to 20")
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    ports = {name: 0 for name in PORTS} if arguments.free_ports else PORTS
    with stopped_by_signals():
        try:
            show(ports, arguments.factor, seed, arguments.scale)
        except KeyboardInterrupt:
            print("stopped; nothing is left", flush=True)
        except (ServerError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
