"""`python3 -m tools.clients [--peer] [--password WORD] [--database N] [APP …]`: runs the apps and prints what they say."""

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tools.clients import apps
from tools.processes import wait_until


@contextlib.contextmanager
def redis_server(_: str) -> Iterator[apps.Door]:
    """A real one, to compare with."""
    with tempfile.TemporaryDirectory() as directory:
        listens = Path(directory) / "redis.sock"
        port = free_port()
        command = ["redis-server", "--port", str(port), "--save", "", "--unixsocket", str(listens), "--dir", directory]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                wait_until("redis-server listens", listens.exists)
                yield apps.Door(f"redis://127.0.0.1:{port}", None)
            finally:
                server.terminate()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="store_true", help="against a redis-server")
    parser.add_argument("--password")
    parser.add_argument("--database", type=int, default=0)
    parser.add_argument("app", nargs="*", default=apps.APPS)
    asked = parser.parse_args()
    door = redis_server if asked.peer else partial(apps.sidecar, password=asked.password, database=asked.database)
    code = 0
    for app in asked.app:
        with door(app) as open_door:
            outcome = apps.run(app, open_door)
        print(outcome.output)
        code = code or outcome.code
    sys.exit(code)


if __name__ == "__main__":
    main()
