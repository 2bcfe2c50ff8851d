"""A zygote that is there only while there is something to do, for real."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.running.resting import RestingZygote
from engine.running.zygote import Event, Exited, ZygoteDied
from tests.servers.processes import wait_until

Make = Callable[[float], RestingZygote]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[RestingZygote] = []

    def begin(rest_after_seconds: float) -> RestingZygote:
        made.append(RestingZygote("tests.integration.running.handlers:sleep", rest_after_seconds))
        return made[-1]

    yield begin
    for zygote in made:
        zygote.close()


def until_exited(zygote: RestingZygote) -> Exited:
    """Wait for the one child's end."""
    heard: list[Event] = []

    def has_exited() -> bool:
        heard.extend(zygote.read_events())
        return any(isinstance(event, Exited) for event in heard)

    wait_until(has_exited, "the child's end")
    return next(event for event in heard if isinstance(event, Exited))


def pid_of(zygote: RestingZygote) -> int:
    assert zygote.pid is not None
    return zygote.pid


def test_nothing_runs_before_the_first_job(make: Make) -> None:
    zygote = make(1000)
    zygote.rest()
    assert (zygote.pid, zygote.filenos(), zygote.read_events()) == (None, [], [])
    zygote.fork(1, b"0")
    assert until_exited(zygote).exit_code == 0
    assert len(zygote.filenos()) == 1


def test_it_goes_when_it_has_rested_for_long_enough_and_the_next_job_brings_another(make: Make) -> None:
    zygote = make(0)
    zygote.fork(1, b"0")
    until_exited(zygote)
    first = pid_of(zygote)
    zygote.rest()
    assert zygote.pid is None
    assert not Path(f"/proc/{first}").exists()
    zygote.fork(1, b"0")
    assert until_exited(zygote).exit_code == 0
    assert pid_of(zygote) != first


def test_it_stays_for_as_long_as_the_owner_said(make: Make) -> None:
    zygote = make(1000)
    zygote.fork(1, b"0")
    until_exited(zygote)
    first = pid_of(zygote)
    zygote.rest()
    assert zygote.pid == first


def test_a_child_that_runs_keeps_it(make: Make) -> None:
    zygote = make(0)
    zygote.fork(1, b"60")
    zygote.fork(2, b"0")
    assert until_exited(zygote).job_id == 2
    zygote.rest()
    zygote.kill(1, signal.SIGKILL)
    assert until_exited(zygote).signal == signal.SIGKILL


def test_its_death_is_told_once_and_the_next_job_brings_another(make: Make) -> None:
    zygote = make(1000)
    zygote.fork(1, b"60")
    wait_until(lambda: bool(zygote.read_events()), "the child")
    os.kill(pid_of(zygote), signal.SIGKILL)
    with pytest.raises(ZygoteDied):
        until_exited(zygote)
    assert (zygote.pid, zygote.read_events()) == (None, [])
    zygote.fork(1, b"0")
    assert until_exited(zygote).exit_code == 0
