"""Peers of the exporters' pages that hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from exporters import web
from exporters.web import Pages, WebServer
from tests.servers.processes import wait_until

BIG = b"x" * 50_000_000
"""More than the kernel keeps for a peer that does not read."""


@pytest.fixture
def greeted(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a peer has got a thread: one that is soon let go may come and go between two looks at the threads."""
    seen = threading.Event()
    set_up = web._QuietHandler.setup

    def setup(handler: web._QuietHandler) -> None:
        seen.set()
        set_up(handler)

    monkeypatch.setattr(web._QuietHandler, "setup", setup)
    return seen


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(web._QuietHandler, "timeout", 0.3)
    made = WebServer("127.0.0.1", 0, Pages(lambda: BIG, lambda: True, lambda: ""))
    made.start()
    yield made
    made.close()


def handlers() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("said", [b"", b"GET /metr", b"GET /metrics HTTP/1.0\r\n\r\n"])
def test_a_peer_that_does_not_speak_or_read_is_let_go_without_a_traceback(
    server: WebServer, greeted: threading.Event, said: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(said)
        assert greeted.wait(30)
        wait_until(lambda: handlers() == 0, "the end of the peer's thread")
    assert capfd.readouterr().err == ""


def test_a_peer_that_goes_in_the_middle_leaves_no_traceback(
    server: WebServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        peer.recv(10)
    wait_until(lambda: handlers() == 0, "the end of the peer's thread")
    assert capfd.readouterr().err == ""
