from __future__ import annotations

from engine.web import throttle
from engine.web.throttle import FREE_TRIES, FREE_TRIES_PER_ADDRESS, LONGEST_WAIT_SECONDS, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_few_tries_are_free_then_each_waits_twice_as_long() -> None:
    clock = Clock()
    gate = Throttle(clock)
    assert [gate.charge("admin", "a") for _ in range(FREE_TRIES)] == [0.0] * FREE_TRIES
    waits = []
    for _ in range(4):
        waits.append(gate.charge("admin", "a"))
        clock.now += waits[-1]
        assert gate.charge("admin", "a") == 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_the_wait_has_an_upper_bound() -> None:
    clock = Clock()
    gate = Throttle(clock)
    for _ in range(60):
        clock.now += gate.charge("admin", "a")
    assert gate.charge("admin", "a") <= LONGEST_WAIT_SECONDS


def test_others_are_not_made_to_wait() -> None:
    gate = Throttle(Clock())
    for _ in range(FREE_TRIES + 1):
        gate.charge("admin", "a")
    assert gate.charge("admin", "b") == 0.0
    assert gate.charge("eve", "a") == 0.0


def test_one_address_cannot_try_every_name() -> None:
    gate = Throttle(Clock())
    for number in range(FREE_TRIES_PER_ADDRESS):
        assert gate.charge(f"user{number}", "a") == 0.0
    assert gate.charge("another", "a") > 0


def test_the_right_password_forgives() -> None:
    gate = Throttle(Clock())
    for _ in range(FREE_TRIES):
        gate.charge("admin", "a")
    gate.forgive("admin", "a")
    assert gate.charge("admin", "a") == 0.0


def test_old_tries_are_forgotten() -> None:
    clock = Clock()
    gate = Throttle(clock)
    for _ in range(FREE_TRIES + 1):
        gate.charge("admin", "a")
    clock.now += LONGEST_WAIT_SECONDS * 2 + 1
    assert [gate.charge("admin", "a") for _ in range(FREE_TRIES)] == [0.0] * FREE_TRIES


def test_memory_is_bounded() -> None:
    gate = Throttle(Clock())
    for number in range(throttle._REMEMBERED + 50):
        gate.charge(f"user{number}", f"address{number}")
    assert len(gate._records) == throttle._REMEMBERED
