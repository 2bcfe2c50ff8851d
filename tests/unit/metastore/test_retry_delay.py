from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine.authoring.serialized import SerializedTask

DAY = 86_400.0


@pytest.mark.parametrize(
    ("try_number", "seconds", "settings"),
    [
        (1, 300, {}),
        (9, 300, {}),
        (1, 0, {"retry_delay_seconds": 0.0}),
        (1, 10, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True}),
        (2, 20, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True}),
        (5, 160, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True}),
        (3, 2, {"retry_delay_seconds": 0.5, "retry_exponential_backoff": True}),
        (1, 0, {"retry_delay_seconds": 0.0, "retry_exponential_backoff": True}),
        (30, DAY, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True}),
        (5000, DAY, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True}),
        (5, 60, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True, "max_retry_delay_seconds": 60.0}),
        (2, 20, {"retry_delay_seconds": 10.0, "retry_exponential_backoff": True, "max_retry_delay_seconds": 60.0}),
        (30, 9 * DAY,
         {"retry_delay_seconds": DAY, "retry_exponential_backoff": True, "max_retry_delay_seconds": 9 * DAY}),
        (1, 60, {"retry_delay_seconds": 300.0, "max_retry_delay_seconds": 60.0}),
    ],
)  # fmt: skip
def test_the_wait_before_the_next_attempt(try_number: int, seconds: float, settings: dict[str, Any]) -> None:
    task = SerializedTask(task_id="t", operator="BashOperator", kind="bash", **settings)
    assert task.retry_delay(try_number) == timedelta(seconds=seconds)
