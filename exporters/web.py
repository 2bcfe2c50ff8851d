"""The bridge's pages: /metrics, /-/healthy, /-/ready, /-/reload."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from exporters.exposition import CONTENT_TYPE
from exporters.listener import address_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from typing_extensions import Buffer

PATIENCE_SECONDS: Final = 30.0
"""How long a peer may say nothing, or take to read a page, before its connection is closed."""

_TEXT: Final = "text/plain; charset=utf-8"
_INDEX: Final = '<!doctype html><title>Windsock StatsD bridge</title><a href="/metrics">Metrics</a>\n'


class SharedPage:
    """A page that is rendered by one thread at a time, and once for all who asked before it was begun."""

    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render
        self._lock = threading.Lock()
        self._begun = 0
        self._page = b""

    def __call__(self) -> bytes:
        begun_before_me = self._begun
        with self._lock:
            if self._begun == begun_before_me:
                self._begun += 1
                self._page = b""  # the old page goes before the new one takes its room
                self._page = self._render().encode()
            return self._page


@dataclass(frozen=True)
class Pages:
    """What the pages say and do."""

    metrics: Callable[[], bytes]
    ready: Callable[[], bool]
    reload: Callable[[], str]
    """Loads the mapping anew; returns an empty string, or what is wrong with it."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, content_type, body = self._answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        payload = body if isinstance(body, bytes) else body.encode()
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(payload)))])
        return [payload]

    def _answer(self, method: str, path: str) -> tuple[str, str, str | bytes]:
        match method, path:
            case "GET" | "HEAD", "/metrics":
                return "200 OK", CONTENT_TYPE, self.metrics()
            case "GET" | "HEAD", "/-/healthy":
                return "200 OK", _TEXT, "The StatsD bridge is healthy.\n"
            case "GET" | "HEAD", "/-/ready":
                return self._readiness()
            case "POST" | "PUT", "/-/reload":
                return self._reloaded()
            case _, "/-/reload":
                return "405 Method Not Allowed", _TEXT, "Reload with POST or PUT.\n"
            case "GET" | "HEAD", "/":
                return "200 OK", "text/html; charset=utf-8", _INDEX
            case _:
                return "404 Not Found", _TEXT, "Here are /metrics, /-/healthy, /-/ready and /-/reload.\n"

    def _readiness(self) -> tuple[str, str, str]:
        if self.ready():
            return "200 OK", _TEXT, "The StatsD bridge is ready.\n"
        return "503 Service Unavailable", _TEXT, "The StatsD bridge is not taking lines.\n"

    def _reloaded(self) -> tuple[str, str, str]:
        fault = self.reload()
        if fault:
            return "500 Internal Server Error", _TEXT, f"The old mapping stays: {fault}\n"
        return "200 OK", _TEXT, "The mapping is reloaded.\n"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A second server on the port would take half of the scrapes; only a port in TIME_WAIT may be reused.
    allow_reuse_address = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """As the base class does, but without asking the name service who we are: that may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Writer(io.BufferedIOBase):
    """Sends to a peer. One that does not read for long counts as gone: of such wsgiref makes no fuss."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        try:
            self._connection.sendall(data)
        except TimeoutError as error:
            raise BrokenPipeError("the peer does not read") from error
        return memoryview(data).nbytes


class _QuietHandler(WSGIRequestHandler):
    timeout = PATIENCE_SECONDS

    def setup(self) -> None:
        super().setup()
        self.wfile = _Writer(self.connection)

    def handle(self) -> None:
        """As the base class does; a peer that says nothing for long, or goes, gets no traceback."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes every few seconds are no news."""


class WebServer:
    """Serves the pages from a thread of its own."""

    def __init__(self, host: str, port: int, pages: WSGIApplication) -> None:
        """Bind; raises AddressError."""
        try:
            self._server = make_server(host, port, pages, _Server, _QuietHandler)
        except OSError as error:
            raise address_error("metrics", host, port, error) from error
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
