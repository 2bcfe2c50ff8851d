"""A zygote and its children, for real."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.running import file_limit
from engine.running.zygote import Event, Exited, Forked, Refused, ZygoteClient
from tests.servers.processes import wait_until

Start = Callable[[str], ZygoteClient]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[ZygoteClient] = []

    def begin(handler: str) -> ZygoteClient:
        started.append(ZygoteClient.start(f"tests.integration.running.handlers:{handler}"))
        return started[-1]

    yield begin
    for client in started:
        client.close()


def hear(client: ZygoteClient, enough: Callable[[list[Event]], bool]) -> list[Event]:
    events: list[Event] = []

    def more() -> bool:
        client.flush()
        events.extend(client.read_events())
        return enough(events)

    wait_until(more, "the zygote's word")
    return events


def ends(events: list[Event]) -> list[Exited]:
    return [event for event in events if isinstance(event, Exited)]


def test_a_term_that_follows_the_fork_at_once_is_not_lost(start: Start) -> None:
    client = start("sleep")
    for job in range(40):
        client.fork(job, b"60")
        client.kill(job, signal.SIGTERM)
    events = hear(client, lambda events: len(ends(events)) == 40)
    assert {end.signal for end in ends(events)} == {signal.SIGTERM}


def test_a_child_begins_with_the_usual_limit_of_files_and_no_signal_blocked(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_limit, "_usual", 345)
    reader, writer = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        client = start("describe")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    client.fork(1, b"", [writer])
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        assert told.read() == b"345 []"
    hear(client, lambda events: bool(ends(events)))


def test_a_zygote_without_room_for_files_refuses_and_serves_on(start: Start) -> None:
    client = start("sleep")
    client.fork(0, b"60")
    hear(client, bool)
    assert client.pid
    resource.prlimit(client.pid, resource.RLIMIT_NOFILE, (20, 20))
    with Path(os.devnull).open("rb") as null:
        for job in range(1, 31):
            client.fork(job, b"60", [null.fileno()] * 3)
        events = hear(client, lambda events: len(events) == 30)
        refused = {event.error for event in events if isinstance(event, Refused)}
        assert refused == {"Too many open files"}
        forked = [event.job_id for event in events if isinstance(event, Forked)]
        assert forked
        for job in [0, *forked]:
            client.kill(job, signal.SIGKILL)
        hear(client, lambda events: len(ends(events)) == len(forked) + 1)
        client.fork(31, b"0", [null.fileno()] * 3)
        assert [end.exit_code for end in ends(hear(client, lambda events: bool(ends(events))))] == [0]
