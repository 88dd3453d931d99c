"""A sidecar that a scenario may do things to: its configuration file, its store's directory, its process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

NOTE = "place.json"
"""The file in a sidecar's directory that says what runs there."""


@contextlib.contextmanager
def small_disk(mebibytes: int = 64) -> Iterator[Path]:
    """A file system of its own that is soon full (root only)."""
    with tempfile.TemporaryDirectory(prefix="sessgate-disk-") as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


class Place(Protocol):
    """What the scenarios need of a sidecar besides its API; `tools.servers.Sidecar` is one."""

    @property
    def api(self) -> str: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def store_path(self) -> Path: ...
    def configure(self, config: Mapping[str, Any]) -> None: ...
    def write_config(self, text: str) -> None: ...
    def signal(self, number: signal.Signals) -> None: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class NotOurs(RuntimeError):
    """The scenario needs a sidecar that it may start and stop."""


class FoundPlace:
    """A sidecar that another program runs, by the note in its directory. It cannot be killed and started from here."""

    def __init__(self, directory: Path) -> None:
        note = json.loads((directory / NOTE).read_text())
        self.api: str = note["api"]
        self.store_path = Path(note["store"])
        self._pid = int(note["pid"])
        self._config_path = Path(note["config"])
        self.config: dict[str, Any] = yaml.safe_load(self._config_path.read_text()) or {}

    def configure(self, config: Mapping[str, Any]) -> None:
        """Puts a new configuration file in place of the old one. Listeners and store stay."""
        whole = {key: value for key, value in self.config.items() if key in ("listen", "store")}
        self.config = {**config, **whole}
        self.write_config(yaml.safe_dump(self.config, sort_keys=False))

    def write_config(self, text: str) -> None:
        """Puts any text in place of the configuration file at once."""
        fresh = self._config_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._config_path)

    def signal(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        os.kill(self._pid, number)

    def kill(self) -> None:
        """Refuses."""
        raise NotOurs("this scenario kills and starts the sidecar: let it run one of its own, without --place")

    start = kill


def overlaid(config: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some keys replaced, sections merged."""
    result = dict(config)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = overlaid(below, value) if both else value  # type: ignore[arg-type]
    return result
