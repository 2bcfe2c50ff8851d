"""The engine's StatsD emitter."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import pytest

from engine import config
from engine.metrics import KEEP_SECONDS, Metrics, Sink
from tests.servers.processes import free_port


def test_a_value_that_cannot_be_sent_is_counted_and_ends_no_measuring(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        environ = {
            "WINDSOCK_HOME": str(tmp_path),
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(receiver.getsockname()[1]),
        }
        metrics = Metrics(config.load(environ).metrics)
        metrics.gauge("dagbag_size", math.nan)
        received = ""
        while "statsd.lines_dropped,reason=unsendable:1|c" not in received:
            received += receiver.recv(65_536).decode()
        metrics.gauge("dagbag_size", 7)
        while "dagbag_size:7|g" not in received:
            received += receiver.recv(65_536).decode()
        metrics.close()


def test_what_could_not_be_sent_goes_out_later_though_nothing_else_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, failures = socket.getaddrinfo, [OSError("no such host")]

    def resolve_the_second_time(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return resolve(*arguments, **options)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        environ = {
            "WINDSOCK_HOME": str(tmp_path),
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(receiver.getsockname()[1]),
        }
        monkeypatch.setattr("engine.metrics.socket.getaddrinfo", resolve_the_second_time)
        metrics = Metrics(config.load(environ).metrics)
        metrics.incr("job_start")
        assert "job_start:1|c" in receiver.recv(65_536).decode()
        metrics.close()


class Clock:
    """Seconds that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def port() -> int:
    return free_port()


def listening_on(port: int) -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", port))
    receiver.settimeout(30)
    return receiver


def received(receiver: socket.socket) -> list[str]:
    """What has come by now; on this machine that is whatever was sent."""
    receiver.setblocking(False)
    lines: list[str] = []
    while True:
        try:
            lines += receiver.recv(65_536).decode().split("\n")
        except BlockingIOError:
            return lines


def test_what_is_sent_before_the_exporter_listens_arrives_when_it_does(port: int, clock: Clock) -> None:
    sink = Sink("127.0.0.1", port, "", clock)
    for number in range(3):
        sink.incr("early", number)
        assert sink.send() == {}
    with listening_on(port) as receiver:
        sink.incr("late", 7)
        assert sink.send() == {}
        assert received(receiver) == ["early:0|c", "early:1|c", "early:2|c", "late:7|c"]
    sink.close()


def test_an_exporter_that_starts_anew_loses_nothing_and_doubles_nothing(port: int, clock: Clock) -> None:
    sink = Sink("127.0.0.1", port, "", clock)
    with listening_on(port) as receiver:
        sink.incr("first")
        assert sink.send() == {}
        assert received(receiver) == ["first:1|c"]
    sink.incr("between")
    assert sink.send() == {}
    with listening_on(port) as receiver:
        assert sink.send() == {}
        assert received(receiver) == ["between:1|c"]
    sink.close()


def test_what_is_refused_for_too_long_is_given_up_and_counted(port: int, clock: Clock) -> None:
    sink = Sink("127.0.0.1", port, "", clock)
    sink.incr("old")
    sink.incr("old")
    assert sink.send() == {}
    clock.now = KEEP_SECONDS - 1
    sink.incr("young")
    assert sink.send() == {}
    clock.now = KEEP_SECONDS
    assert sink.send() == {"refused": 2}
    with listening_on(port) as receiver:
        assert sink.send() == {}
        assert received(receiver) == ["young:1|c"]
    sink.close()


def test_what_has_piled_up_goes_out_in_parts_and_in_order(port: int, clock: Clock) -> None:
    sink = Sink("127.0.0.1", port, "", clock)
    lines = 120
    for number in range(lines):
        sink.gauge("g" * 1400, number)  # a packet each
    assert sink.send() == {}
    clock.now = 1.0
    seen: list[str] = []
    with listening_on(port) as receiver:
        flushes = 0
        while len(seen) < lines:
            assert sink.send() == {}
            part = received(receiver)
            assert 0 < len(part) <= 50
            seen += part
            flushes += 1
    assert flushes == 3
    assert [line.rpartition(":")[2] for line in seen] == [f"{number}|g" for number in range(lines)]
    sink.close()


def test_a_host_without_an_address_keeps_the_lines_as_long(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink("nowhere.invalid", 9125, "", clock)
    sink.incr("kept")
    assert sink.send() == {}
    clock.now = KEEP_SECONDS
    assert sink.send() == {"unresolved": 1}
    assert "'nowhere.invalid' does not resolve" in caplog.text
    assert "metrics that wait for longer than 15 s are dropped" in caplog.text
    sink.close()


def test_a_line_that_fits_into_no_datagram_is_counted_and_holds_nothing_up(port: int, clock: Clock) -> None:
    sink = Sink("127.0.0.1", port, "", clock)
    with listening_on(port) as receiver:
        sink.incr("x" * 70_000)
        sink.incr("next")
        assert sink.send() == {"too_long": 1}
        assert received(receiver) == ["next:1|c"]
    sink.close()
