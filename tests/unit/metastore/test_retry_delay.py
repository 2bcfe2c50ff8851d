"""How long a retry waits, as Airflow computes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine.authoring.serialized import SerializedTask

DAY = 86_400.0


def delay(try_number: int, seed: str = "d#t#r", **more: Any) -> float:
    task = SerializedTask(task_id="t", operator="X", kind="bash", **more)
    return task.retry_delay(try_number, seed) / timedelta(seconds=1)


@pytest.mark.parametrize("try_number", [1, 2, 9])
def test_a_plain_delay_is_always_the_same_and_has_no_cap(try_number: int) -> None:
    assert delay(try_number, retry_delay_seconds=2.5) == 2.5
    assert delay(try_number, retry_delay_seconds=300.0, max_retry_delay_seconds=60.0) == 300.0


def test_a_delay_with_backoff_lies_between_the_doubled_one_and_twice_that() -> None:
    for try_number in range(1, 10):
        least = 10.0 * 2 ** (try_number - 1)
        backoff = {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True}
        drawn = {delay(try_number, f"d#t#{run}", **backoff) for run in range(50)}
        assert least <= min(drawn) < max(drawn) < 2 * least
        assert len(drawn) >= 8  # tasks that failed together come back apart


def test_the_same_attempt_always_waits_the_same_time() -> None:
    backoff = {"retry_delay_seconds": 1000.0, "retry_exponential_backoff": True}
    assert delay(3, **backoff) == delay(3, **backoff)
    assert delay(3, "d#t#other", **backoff) != delay(3, **backoff)


@pytest.mark.parametrize(
    ("try_number", "seconds", "more"),
    [
        (5, 60.0, {"retry_delay_seconds": 10.0, "max_retry_delay_seconds": 60.0}),
        (64, DAY, {"retry_delay_seconds": 10.0}),
        (10_000, DAY, {"retry_delay_seconds": 10.0}),
        (3, DAY, {"retry_delay_seconds": DAY, "max_retry_delay_seconds": 9 * DAY}),
        (1, 0.5, {"retry_delay_seconds": 10.0, "max_retry_delay_seconds": 0.5}),
        (1, 1.0, {"retry_delay_seconds": 0.0}),
    ],
)
def test_backoff_is_capped_by_max_retry_delay_and_by_a_day_and_waits_for_a_second_at_least(
    try_number: int, seconds: float, more: dict[str, Any]
) -> None:
    assert delay(try_number, retry_exponential_backoff=True, **more) == seconds
