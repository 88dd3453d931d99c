"""What the servers have in common: a directory, a process in it, start, readiness, stop."""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tools.processes import Process, ServerError

ANSWER_DEADLINE = 30.0
"""Seconds that one HTTP request of these helpers may take."""


def http_text(url: str, data: bytes | None = None, method: str | None = None, deadline: float = ANSWER_DEADLINE) -> str:
    """The body of an answer with a status below 400; raises `OSError` otherwise. `data` is JSON."""
    headers = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=deadline) as answer:
        body: bytes = answer.read()
    return body.decode()


def answers(url: str) -> bool:
    """Whether a GET is answered with a status below 400 now."""
    try:
        http_text(url, deadline=2.0)
    except OSError:
        return False
    return True


class Server:
    """What the servers have in common: a directory, a process in it, start and stop."""

    name = "server"

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix=f"sessgate-{self.name}-", ignore_cleanup_errors=True)
        self.directory = Path(self._temporary.name)
        self.process: Process | None = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> Mapping[str, str]:
        return {}

    def _await_ready(self, process: Process) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Starts it, and returns when it is ready; does nothing while it runs."""
        if self.process is not None:
            return
        process = Process(self._command(), self.directory, self._environment())
        try:
            self._await_ready(process)
        except BaseException:
            process.stop()
            raise
        self.process = process

    @property
    def running(self) -> Process:
        """Its process; `ServerError` while it is stopped."""
        if self.process is None:
            raise ServerError(f"the {self.name} is not running")
        return self.process

    def stop(self) -> int | None:
        """Stops it and keeps its directory: `start` starts it again. Its exit code, if it ran."""
        process, self.process = self.process, None
        return None if process is None else process.stop()

    def kill(self) -> None:
        """Ends it without a chance to save anything; `start` starts it again."""
        self.running.kill()
        self.process = None

    def close(self) -> None:
        """Stops it and removes its directory."""
        try:
            self.stop()
        finally:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
