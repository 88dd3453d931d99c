"""Stands for the pager: receives what Alertmanager sends to a webhook."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tools.processes import ServerError


def webhook_config(
    url: str, *, group_by: Sequence[str] = ("alertname",), group_wait: str = "0s", group_interval: str = "1s"
) -> dict[str, Any]:
    """The least configuration of an Alertmanager: everything goes to one webhook, at once."""
    route = {
        "receiver": "webhook",
        "group_by": list(group_by),
        "group_wait": group_wait,
        "group_interval": group_interval,
    }
    return {
        "route": route,
        "receivers": [{"name": "webhook", "webhook_configs": [{"url": url, "send_resolved": True}]}],
    }


@dataclass(frozen=True)
class Page:
    """One notification, as it was received: when (Unix and monotonic seconds), at which path, and its payload."""

    at: float
    mark: float
    path: str
    payload: Mapping[str, Any]

    @property
    def firing(self) -> list[Mapping[str, Any]]:
        """Its alerts that fire."""
        return [alert for alert in self.payload.get("alerts", []) if alert["status"] == "firing"]

    @property
    def resolved(self) -> list[Mapping[str, Any]]:
        """Its alerts that are over."""
        return [alert for alert in self.payload.get("alerts", []) if alert["status"] == "resolved"]


class WebhookReceiver:
    """Stands for the pager: records what Alertmanager posts, at any path, and wakes who waits for it.

    `on_page` is called with each page, in the thread that received it.
    """

    def __init__(self, on_page: Callable[[Page], None] = lambda _: None) -> None:
        self._on_page = on_page
        self._pages: list[Page] = []
        self._news = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        """Where to post to; a path may be added."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver._record(self.path, json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: what comes is recorded."""

        return Handler

    def _record(self, path: str, payload: Mapping[str, Any]) -> None:
        page = Page(time.time(), time.monotonic(), path, payload)
        with self._news:
            self._pages.append(page)
            self._news.notify_all()
        self._on_page(page)

    def pages(self) -> list[Page]:
        """All that has come so far, in order."""
        with self._news:
            return list(self._pages)

    def await_page(self, predicate: Callable[[Page], bool], deadline: float, what: str = "page") -> Page:
        """The first page, from the start on, that is as wanted; `ServerError` if none comes in `deadline` seconds."""
        until, seen = time.monotonic() + deadline, 0
        with self._news:
            while True:
                for page in self._pages[seen:]:
                    if predicate(page):
                        return page
                seen = len(self._pages)
                left = until - time.monotonic()
                if (left <= 0 or not self._news.wait(left)) and len(self._pages) == seen:
                    raise ServerError(f"no {what} within {deadline:g} s; {seen} pages came")

    def __enter__(self) -> WebhookReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
