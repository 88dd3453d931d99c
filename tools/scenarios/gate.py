"""A client of the session API: HTTP/1.1 over a bounded pool of keep-alive connections, on asyncio."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONNECTIONS = 32
"""Connections at once; also the most requests that are under way."""
ANSWER_DEADLINE = 15.0
"""Seconds for one answer: a store that is locked is given up by the sidecar after 5 s, once or twice."""
BROKEN = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)
"""What a connection fails with when the sidecar is gone, hangs, or answers no HTTP."""


@dataclass(frozen=True)
class Answer:
    """Status (0: none came) and body of an answer."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def outcome(self) -> str:
        """The status, and the problem's code if it is one: `201`, `429 creation_rate`, `no answer`."""
        if self.status == 0:
            return "no answer"
        if self.status < 400:
            return str(self.status)
        try:
            return f"{self.status} {json.loads(self.body)['code']}"
        except (ValueError, KeyError, TypeError):
            return str(self.status)


NO_ANSWER = Answer(0, b"")


class _Connection:
    """One connection, opened at its first request and anew after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(head[0].split(" ")[1]), body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Gate:
    """The session API at a URL. `tally` counts what was answered, as (call, outcome)."""

    def __init__(self, api: str, *, connections: int = CONNECTIONS) -> None:
        url = urllib.parse.urlsplit(api)
        if url.scheme != "http" or url.hostname is None:
            raise ValueError(f"{api}: the driver speaks http to host:port")
        port = url.port or 80
        self._authority = f"{url.hostname}:{port}"
        self._free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        self._all = [_Connection(url.hostname, port) for _ in range(connections)]
        for connection in self._all:
            self._free.put_nowait(connection)
        self.tally: Counter[tuple[str, str]] = Counter()

    async def call(
        self, name: str, method: str, path: str, *, token: str | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """Sends a request and counts its answer under `name`. A request without an answer is `NO_ANSWER`."""
        connection = await self._free.get()
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                answer = await connection.exchange(self._request(method, path, token, body))
        except BROKEN:
            connection.close()
            answer = NO_ANSWER
        except BaseException:
            connection.close()
            raise
        finally:
            self._free.put_nowait(connection)
        self.tally[name, answer.outcome] += 1
        return answer

    def _request(self, method: str, path: str, token: str | None, body: Mapping[str, Any] | None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._authority}"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + content

    def close(self) -> None:
        """Closes every connection."""
        for connection in self._all:
            connection.close()
