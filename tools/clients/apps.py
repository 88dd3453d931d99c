"""Runs the apps of tests/apps: each in a copy of its own, against a door of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.servers import REPOSITORY, Sidecar

APPS = ("express-connect-redis", "koa-session", "django-rediscache", "php-session-locking")
SOURCE = REPOSITORY / "tests" / "apps"
COPIES = REPOSITORY / "target" / "apps"
DEADLINE = 600
"""Seconds that an app may take, the installation of its libraries included."""


@dataclass(frozen=True)
class Door:
    """Where an app finds its sessions, and how a user is logged out everywhere; `None`: it cannot be done."""

    url: str
    revoke: str | None


@dataclass(frozen=True)
class Outcome:
    """What an app's driver said."""

    app: str
    code: int
    output: str

    @property
    def failed(self) -> list[str]:
        """The checks that failed, or the whole output if the driver came to no end."""
        failed = [line for line in self.output.splitlines() if line.startswith("FAIL")]
        return failed or ([] if self.code == 0 else [f"exit code {self.code}: {self.output[-2_000:]}"])

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return sum(line.startswith("PASS") for line in self.output.splitlines())


def copy(app: str) -> Path:
    """The app's copy, brought up to date; the libraries that are installed there stay."""
    place = COPIES / app
    shutil.copytree(SOURCE / app, place, dirs_exist_ok=True)
    shutil.copy2(SOURCE / "driver.py", place)
    return place


@contextlib.contextmanager
def sidecar(app: str, password: str | None = None, database: int = 0) -> Iterator[Door]:
    """A sidecar with a Redis door, as an operator sets it up for one of these apps."""
    # Browsers of the driver come from one address, and one user logs in more often than ten times.
    listen: dict[str, str] = {"redis": "127.0.0.1:0"}
    limits = {"per_user": {"sessions": 50}, "creation_per_ip": None}
    with Sidecar({"limits": limits, "listen": listen}) as running:
        if password is not None:
            running.stop()
            secret = running.directory / "redis.password"
            secret.write_text(password)
            secret.chmod(0o600)
            running.configure({**running.config, "listen": {**listen, "redis_password_file": str(secret)}})
            running.start()
        access = f"app:{password}@" if password is not None else ""
        suffix = f"/{database}" if database else ""
        command = [sys.executable, "-m", "tools.clients.revoke", running.api, app]
        revoke = f"cd {shlex.quote(str(REPOSITORY))} && {shlex.join(command)}"
        yield Door(f"redis://{access}{running.redis_target}{suffix}", revoke)


def run(app: str, door: Door) -> Outcome:
    """Lets the app's driver try everything."""
    environment = {**os.environ, "REDIS_URL": door.url}
    if door.revoke is not None:
        environment |= {"REVOKE_CMD": door.revoke, "REVOKE_STICKY": "1"}
    command = ["timeout", str(DEADLINE), "./run.sh"]
    done = subprocess.run(
        command, cwd=copy(app), env=environment, text=True, capture_output=True, errors="replace", check=False
    )
    return Outcome(app, done.returncode, done.stdout + done.stderr)


def run_all(open_door: Callable[[str], contextlib.AbstractContextManager[Door]] = sidecar) -> list[Outcome]:
    """All apps at once, since most of their time is waiting."""

    def one(app: str) -> Outcome:
        with open_door(app) as door:
            return run(app, door)

    with ThreadPoolExecutor(len(APPS)) as pool:
        return list(pool.map(one, APPS))
