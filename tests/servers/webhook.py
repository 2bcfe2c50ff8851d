"""An HTTP server that keeps what it gets: the other end of chat services and webhooks."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.processes import free_port


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to reply."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"


class WebhookServer:
    """Listens on 127.0.0.1:`port`; it can be stopped and started again on the same port.

    `answers` holds replies to the next requests; when it is empty, 200 is sent.
    """

    def __init__(self, port: int | None = None) -> None:
        self.requests: list[Request] = []
        self.answers: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self.port = port or free_port()  # not the kernel's choice, which may be a client's by the time it comes back

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), self)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="webhook server").start()

    def stop(self) -> None:
        """Stop listening; the requests stay. Stopping twice does nothing."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait_for(self, count: int, timeout: float = 30.0) -> list[Request]:
        """The requests, once there are `count` at least."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"waited {timeout:g} s for {count} requests, got {len(self.requests)}")
            return list(self.requests)

    def take(self, request: Request) -> Answer:
        """Keep `request` and say what to reply."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self.answers.popleft() if self.answers else Answer()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], webhook: WebhookServer) -> None:
        self.webhook = webhook
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5

    def _take(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.webhook.take(Request(self.command, self.path, headers, self.rfile.read(length)))
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _take  # noqa: N815 - the names that the base class calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
