"""How many messages may go within a window, when the clock behaves and when it does not: on every database."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine

from alerting import throttle
from alerting.routing import Limit
from tests.contract.alerting.conftest import MINUTE, NOW

RATE = Limit(2, MINUTE)


def sent(engine: Engine, now: datetime) -> timedelta | None:
    """None where one more message went through; else how long it has to wait."""
    with engine.begin() as connection:
        pause = throttle.pause(connection, now, "room", RATE)
        if pause is None:
            throttle.count(connection, now, "room", RATE)
        return pause


def taken_back(engine: Engine, counted_at: datetime) -> None:
    with engine.begin() as connection:
        throttle.take_back(connection, counted_at, "room")


def held_until(engine: Engine, now: datetime) -> datetime | None:
    with engine.begin() as connection:
        return throttle.held_until(connection, now, "room", RATE)


def test_a_channel_takes_so_many_in_its_window_and_then_waits_for_the_next(engine: Engine) -> None:
    assert held_until(engine, NOW) is None
    assert [sent(engine, NOW), sent(engine, NOW + MINUTE / 4)] == [None, None]
    assert [sent(engine, NOW + MINUTE / 2) for _ in range(2)] == [MINUTE / 2] * 2
    assert held_until(engine, NOW + MINUTE / 2) == NOW + MINUTE
    assert held_until(engine, NOW + MINUTE) is None
    assert sent(engine, NOW + MINUTE) is None


def test_what_is_asked_and_not_sent_is_not_counted(engine: Engine) -> None:
    with engine.begin() as connection:
        assert [throttle.pause(connection, NOW, "room", RATE) for _ in range(3)] == [None] * 3


def test_what_is_taken_back_leaves_room_for_another_one_in_its_window(engine: Engine) -> None:
    assert [sent(engine, NOW), sent(engine, NOW)] == [None, None]
    taken_back(engine, NOW)
    assert [sent(engine, NOW + MINUTE / 2) for _ in range(2)] == [None, MINUTE / 2]


def test_what_is_taken_back_after_its_window_leaves_no_room_in_the_next(engine: Engine) -> None:
    sent(engine, NOW)
    assert [sent(engine, NOW + MINUTE) for _ in range(2)] == [None, None]
    taken_back(engine, NOW)
    assert sent(engine, NOW + MINUTE) == MINUTE


def test_a_clock_that_was_set_back_holds_a_channel_for_no_longer_than_a_window(engine: Engine) -> None:
    future = NOW + timedelta(days=30)
    assert [sent(engine, future) for _ in range(3)] == [None, None, MINUTE]
    assert held_until(engine, NOW) == NOW + MINUTE
    assert sent(engine, NOW) == MINUTE
    assert sent(engine, NOW + MINUTE / 4) == MINUTE * 3 / 4
    assert sent(engine, NOW + MINUTE) is None


def test_a_clock_that_was_set_back_keeps_a_receivers_limit_for_no_longer_than_a_window(engine: Engine) -> None:
    with engine.begin() as connection:
        once = Limit(1, MINUTE)
        asked = (NOW + timedelta(days=30), NOW, NOW + MINUTE)
        assert [throttle.take_one(connection, now, "ops", once) for now in asked] == [True, False, True]
