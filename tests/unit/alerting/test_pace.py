from __future__ import annotations

from alerting.pace import FAILURES_TO_OPEN, FIRST_SECONDS, LONGEST_PROBE_SECONDS, LONGEST_SECONDS, Breaker, backoff


def largest(_low: float, high: float) -> float:
    return high


def test_backoff_doubles_from_a_second_to_five_minutes() -> None:
    assert [backoff(n, largest) for n in (1, 2, 3, 9, 10, 1000)] == [1, 2, 4, 256, LONGEST_SECONDS, LONGEST_SECONDS]


def test_backoff_is_spread_over_the_whole_time() -> None:
    waits = [backoff(6) for _ in range(200)]
    assert min(waits) < 8 < 24 < max(waits) <= 32


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failure(now=0.0, after_seconds=5.0)
    return breaker


def test_breaker_lets_all_through_until_it_opens() -> None:
    breaker = Breaker()
    breaker.failure(0.0)
    assert breaker.admit(0.0)
    assert breaker.admit(0.0)


def test_breaker_admits_one_probe_when_its_time_has_come() -> None:
    breaker = opened()
    assert not breaker.admit(4.9)
    assert breaker.delay(4.0) == 1.0
    assert breaker.admit(5.0)
    assert not breaker.admit(5.0)


def test_breaker_closes_after_a_probe_that_was_answered() -> None:
    breaker = opened()
    breaker.admit(5.0)
    breaker.success()
    assert breaker.admit(5.0)
    assert breaker.admit(5.0)


def test_breaker_probes_again_soon_however_long_it_has_been_open() -> None:
    breaker = opened()
    for _ in range(50):
        breaker.failure(10.0)
    assert breaker.delay(10.0) <= LONGEST_PROBE_SECONDS


def test_breaker_lets_the_next_probe_through_when_there_was_nothing_to_try() -> None:
    breaker = opened()
    breaker.admit(5.0)
    breaker.withdraw()
    assert breaker.admit(5.0)


def test_breaker_opens_at_once_for_who_says_when_to_come_back() -> None:
    breaker = Breaker()
    assert breaker.failure(0.0, after_seconds=3600.0) == 3600.0
    assert breaker.is_open
    assert not breaker.admit(3599.0)
    assert breaker.admit(3600.0)


def test_who_says_to_come_back_at_once_is_left_alone_for_longer_each_time() -> None:
    breaker = Breaker()
    pauses = [breaker.failure(now, after_seconds=0.0) for now in (0.0, 100.0, 200.0, 300.0, 400.0, 500.0)]
    assert [FIRST_SECONDS / 2 * 2**n <= pause <= FIRST_SECONDS * 2**n for n, pause in enumerate(pauses[:4])] == [
        True
    ] * 4
    assert LONGEST_PROBE_SECONDS / 2 <= pauses[-1] <= LONGEST_PROBE_SECONDS


def test_who_says_when_to_come_back_is_left_alone_whatever_else_was_under_way() -> None:
    breaker = Breaker()
    breaker.failure(0.0, after_seconds=3600.0)
    assert breaker.failure(1.0) == 3599.0
    assert not breaker.admit(3599.0)
    assert breaker.admit(3600.0)


def test_nobody_is_left_alone_any_more_who_has_answered_since() -> None:
    breaker = Breaker()
    breaker.failure(0.0, after_seconds=3600.0)
    breaker.success()
    assert breaker.admit(1.0)
    assert breaker.failure(1.0) <= FIRST_SECONDS
    assert not breaker.is_open
