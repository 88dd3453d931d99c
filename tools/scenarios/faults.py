"""What breaks besides traffic, done to the real program from outside, as a host, a disk or an operator does it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from tools.scenarios.place import Place, overlaid

SHM_LOCKS = range(120, 128)
"""The bytes of SQLite's `-shm` file that its locks are on: write, checkpoint, recover, and five read marks
(https://www.sqlite.org/walformat.html, "Locks on the wal-index")."""
PULSE = 0.06
"""Seconds for which a slow store is locked: 12 times what a look-up may take."""
PAUSE = 0.09
"""Seconds for which it is free in between."""
SMALL_DISK = 512 << 20
"""The largest file system in bytes that `DiskFull` fills: nobody's real disk."""
LEFT_OVER = 64 << 10
"""Bytes that are left on a full disk."""


class Fault:
    """Something that breaks at `begin` and is whole again after `end`. `end` and `close` may be called at any time."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def settings(self) -> Mapping[str, Any]:
        """Keys of the configuration that this needs, beyond the scenario's."""
        return {}

    def begin(self) -> None:
        """Breaks it."""
        raise NotImplementedError

    def end(self) -> None:
        """Mends it."""

    def close(self) -> None:
        """Lets go of what was held for it."""


class Crash(Fault):
    """The process is killed; at the end it is started again."""

    def begin(self) -> None:
        self.place.kill()

    def end(self) -> None:
        self.place.start()


class Hang(Fault):
    """The process stands still, as on a host that swaps or is suspended: it accepts connections and answers nothing."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._stopped = False

    def begin(self) -> None:
        self._stopped = True
        self.place.signal(signal.SIGSTOP)

    def end(self) -> None:
        if self._stopped:
            self._stopped = False
            self.place.signal(signal.SIGCONT)


class StoreDown(Fault):
    """Another process holds the whole database, as a stuck backup does: each call to the store fails after 5 s."""

    LOCKS = SHM_LOCKS

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._held: IO[bytes] | None = None

    def begin(self) -> None:
        self._held = (self.place.store_path / "sessgate.db-shm").open("r+b")
        for byte in self.LOCKS:
            fcntl.lockf(self._held, fcntl.LOCK_EX, 1, byte)

    def end(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    close = end


class StoreReadOnly(StoreDown):
    """Another process writes and does not end: what is read is answered, what is written fails after 5 s."""

    LOCKS = SHM_LOCKS[:1]


class StoreSlow(Fault):
    """Another process holds the database for a moment, again and again: nothing fails, and much is slow."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._pulse, name="slow store")
        self._thread.start()

    def _pulse(self) -> None:
        with open(self.place.store_path / "sessgate.db-shm", "r+b") as file:
            while not self._over.wait(PAUSE):
                for byte in SHM_LOCKS:
                    fcntl.lockf(file, fcntl.LOCK_EX, 1, byte)
                self._over.wait(PULSE)
                fcntl.lockf(file, fcntl.LOCK_UN, len(SHM_LOCKS), SHM_LOCKS.start)

    def end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    close = end


class DiskFull(Fault):
    """Others fill the small file system that the store is on."""

    def begin(self) -> None:
        directory = self.place.store_path
        disk = os.statvfs(directory)
        if disk.f_blocks * disk.f_frsize > SMALL_DISK:
            raise RuntimeError(
                f"{directory} is on a disk of more than {SMALL_DISK >> 20} MiB, which is not ours to fill"
            )
        with self._foreign().open("wb") as file:
            while (free := os.statvfs(directory).f_bavail * disk.f_frsize) > LEFT_OVER:
                file.write(bytes(min(free - LEFT_OVER + disk.f_frsize, 1 << 20)))
                file.flush()

    def _foreign(self) -> Path:
        return self.place.store_path.parent / "foreign"

    def end(self) -> None:
        self._foreign().unlink(missing_ok=True)


class FrozenSweep(Fault):
    """Something forbids the sweep to remove the sessions that are due; all else works.

    A trigger stands for whatever does that in earnest, such as one damaged row: the sweep takes what is due together,
    so one refusal fails it, again at each run.
    """

    TRIGGER = "sessgate_scenario_frozen_sweep"

    def _execute(self, statement: str) -> None:
        path = self.place.store_path / "sessgate.db"
        with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as database:
            database.execute(statement)

    def begin(self) -> None:
        self._execute(
            f"CREATE TRIGGER {self.TRIGGER} BEFORE DELETE ON sessions WHEN OLD.user LIKE 'short-%' "
            "BEGIN SELECT RAISE(ABORT, 'frozen by a scenario'); END"
        )

    def end(self) -> None:
        self._execute(f"DROP TRIGGER IF EXISTS {self.TRIGGER}")


class BadReload(Fault):
    """An operator mistypes a key; at the end the file is as it was."""

    def begin(self) -> None:
        self.place.write_config("limits:\n  per_user: { sesions: 3 }\n")

    def end(self) -> None:
        self.place.configure(self.place.config)


class LoweredCap(Fault):
    """An operator sets limits.stored_sessions far too low; at the end it is as it was."""

    CAP = 250

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._before: Mapping[str, Any] | None = None

    def begin(self) -> None:
        self._before = dict(self.place.config)
        self.place.configure(overlaid(self._before, {"limits": {"stored_sessions": self.CAP}}))

    def end(self) -> None:
        if self._before is not None:
            self.place.configure(self._before)
            self._before = None


class HookDown(Fault):
    """The app's hook endpoint, which answers, refuses connections for a while, and answers again."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.received = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0
        self._open()

    def settings(self) -> Mapping[str, Any]:
        return {"hooks": {"session_closed": {"url": f"http://127.0.0.1:{self._port}/closed"}}}

    def _open(self) -> None:
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _answering(self._count))
            self._server.daemon_threads = True
            self._port = self._server.server_address[1]
            self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
            self._thread.start()

    def _count(self) -> None:
        self.received += 1

    def begin(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def end(self) -> None:
        self._open()

    def close(self) -> None:
        self.begin()


def _answering(count: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            count()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: it is counted."""

    return Handler
