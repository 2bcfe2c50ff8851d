"""Waiting for an instant, or for whoever says something before it."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest

from engine.scheduling.instants import poll_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def _poller(fd: int) -> select.poll:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return poller


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.0027])
def test_the_instant_is_not_met_early_though_poll_counts_whole_milliseconds(
    pipe: tuple[int, int], seconds: float
) -> None:
    for _ in range(20):
        instant = time.monotonic() + seconds
        assert poll_until(_poller(pipe[0]), instant) == set()
        assert time.monotonic() >= instant


def test_whoever_has_something_to_say_is_heard_before_it(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"!")
    instant = time.monotonic() + 3600
    assert poll_until(_poller(pipe[0]), instant) == {pipe[0]}


def test_what_waits_is_heard_though_the_instant_is_over(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"!")
    assert poll_until(_poller(pipe[0]), time.monotonic() - 1) == {pipe[0]}
