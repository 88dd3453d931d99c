"""Child processes that are always stopped, and the one way to wait for something."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

START_DEADLINE = 60.0
"""Seconds in which a server must be up; a start takes well under one on an idle machine."""
STOP_DEADLINE = 20.0
"""Seconds that a process has to end after SIGTERM before it is killed."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a program to stop."""
KEPT_LINES = 5_000
"""Log lines kept of one process."""

Found = TypeVar("Found")


class ServerError(RuntimeError):
    """A server did not start, did not answer, or ended too early."""


def wait_until(
    what: str, check: Callable[[], Found | None], deadline: float = START_DEADLINE, pause: float = 0.05
) -> Found:
    """Asks `check` until it gives something true, and returns that; raises `ServerError` after `deadline` seconds."""
    until = time.monotonic() + deadline
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() >= until:
            raise ServerError(f"waited {deadline:g} s in vain: {what}")
        time.sleep(pause)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within it, the first of SIGINT, SIGTERM and SIGHUP raises `KeyboardInterrupt`, so that everything is cleaned up.

    Those after it do nothing: one could otherwise come when the cleaning has not quite begun, and there be none. SIGINT
    counts in a background job, too, for which shells ignore it.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class CleanExit(ExitStack):
    """An `ExitStack` that an impatient Ctrl-C does not keep from cleaning up."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if threading.current_thread() is not threading.main_thread():
            return bool(super().__exit__(kind, error, trace))
        before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
        try:
            return bool(super().__exit__(kind, error, trace))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Process:
    """A child process whose log is followed. Use it as a context manager, or call `stop` on every way out.

    It runs in a session of its own: Ctrl-C in a terminal reaches only the parent, which stops its children in order.
    """

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._gone = 0
        self._ended = False
        self._news = threading.Condition()
        self._child = subprocess.Popen(
            self.command,
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._follow, name=f"log of {self.pid}", daemon=True)
        self._reader.start()

    def _follow(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as log:
            for line in log:
                with self._news:
                    self._gone += len(self._lines) == KEPT_LINES
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        self._child.wait()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, `None` while it runs."""
        return self._child.poll()

    def log(self) -> str:
        """What it has logged, the last `KEPT_LINES` lines of it."""
        with self._news:
            return "\n".join(self._lines)

    def wait_line(self, pattern: str, deadline: float = START_DEADLINE) -> re.Match[str]:
        """The first line in the log that matches; `ServerError` if the process ends or takes too long."""
        wanted, seen, until = re.compile(pattern), 0, time.monotonic() + deadline
        with self._news:
            while True:
                for line in list(self._lines)[max(0, seen - self._gone) :]:
                    if match := wanted.search(line):
                        return match
                seen = self._gone + len(self._lines)
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._news.wait(left)
        raise ServerError(
            f"{self.command[0]} logged no {pattern!r} (exit code {self.exit_code}):\n{self.log()[-4_000:]}"
        )

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal; nothing if it has ended."""
        if self._child.poll() is None:
            self._child.send_signal(number)

    def wait(self, deadline: float = STOP_DEADLINE) -> int:
        """Waits until it ends by itself, and returns its exit code."""
        try:
            code = self._child.wait(deadline)
        except subprocess.TimeoutExpired:
            raise ServerError(f"{self.command[0]} did not end within {deadline:g} s") from None
        self._reader.join(STOP_DEADLINE)
        return code

    def stop(self) -> int:
        """Asks it to end, insists after `STOP_DEADLINE`, and returns its exit code. May be called again."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            code = self._child.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._reader.join(STOP_DEADLINE)
        return code

    def kill(self) -> int:
        """Ends it at once, as a crash does."""
        self._child.kill()
        code = self._child.wait()
        self._reader.join(STOP_DEADLINE)
        return code

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
