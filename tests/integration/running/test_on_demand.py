"""A zygote that is there only while there is something to do, for real."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from engine.linux import start_mark
from engine.running.on_demand import ZygoteOnDemand
from engine.running.zygote import Event, Exited, ZygoteDied
from tests.servers.processes import wait_until

Make = Callable[[], ZygoteOnDemand]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ZygoteOnDemand] = []

    def begin() -> ZygoteOnDemand:
        made.append(ZygoteOnDemand("tests.integration.running.handlers:sleep"))
        return made[-1]

    yield begin
    for zygote in made:
        zygote.close()


def until_exited(zygote: ZygoteOnDemand) -> Exited:
    """Wait for the one child's end."""
    heard: list[Event] = []

    def has_exited() -> bool:
        heard.extend(zygote.read_events())
        return any(isinstance(event, Exited) for event in heard)

    wait_until(has_exited, "the child's end")
    return next(event for event in heard if isinstance(event, Exited))


def pid_of(zygote: ZygoteOnDemand) -> int:
    assert zygote.pid is not None
    return zygote.pid


def test_nothing_runs_before_the_first_job(make: Make) -> None:
    zygote = make()
    assert (zygote.pid, zygote.filenos(), zygote.read_events()) == (None, [], [])
    zygote.fork(1, b"0")
    assert until_exited(zygote).exit_code == 0
    assert len(zygote.filenos()) == 1


def test_it_can_be_there_before_the_first_job(make: Make) -> None:
    zygote = make()
    zygote.wake()
    expected = pid_of(zygote)
    zygote.fork(1, b"0")
    assert until_exited(zygote).exit_code == 0
    assert pid_of(zygote) == expected


def test_its_death_is_told_once_and_the_next_job_brings_another(make: Make) -> None:
    zygote = make()
    zygote.fork(1, b"60")
    wait_until(lambda: bool(zygote.read_events()), "the child")
    os.kill(pid_of(zygote), signal.SIGKILL)
    with pytest.raises(ZygoteDied):
        until_exited(zygote)
    assert (zygote.pid, zygote.read_events()) == (None, [])
    zygote.fork(1, b"0")
    assert until_exited(zygote).exit_code == 0


def test_it_is_let_go_when_nobody_has_needed_it_and_a_later_job_wakes_another() -> None:
    zygote = ZygoteOnDemand("tests.integration.running.handlers:sleep", rest_after=0)
    zygote.fork(1, b"0")
    first = pid_of(zygote)
    assert not zygote.rest(busy=True)
    until_exited(zygote)
    assert zygote.rest(busy=False)
    assert (zygote.pid, zygote.filenos(), start_mark(first)) == (None, [], None)
    assert not zygote.rest(busy=False)
    zygote.fork(2, b"0")
    assert until_exited(zygote).exit_code == 0
    zygote.close()


def test_it_stays_while_it_may_still_be_needed(make: Make) -> None:
    zygote = make()
    zygote.wake()
    assert not zygote.rest(busy=False)
    assert start_mark(pid_of(zygote))
