from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.authoring.attempt_context import AttemptContext

DAY = datetime(2026, 3, 1, tzinfo=UTC)


class FakeXCom:
    """Values in memory, behind the protocol that the attempt's channel implements."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.pushed: dict[str, Any] = {}
        self.asked: list[tuple[tuple[str, ...], str, str | None, str | None]] = []

    def pull(
        self,
        task_ids: Sequence[str],
        key: str = "return_value",
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        prior: bool = False,
    ) -> Mapping[str, Any]:
        self.asked.append((tuple(task_ids), key, dag_id, run_id))
        return {task_id: self.values[task_id] for task_id in task_ids if task_id in self.values}

    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], task_ids: Sequence[str]) -> Mapping[str, Any]:
        self.asked_runs = (dag_id, list(logical_dates), list(task_ids))
        return dict(self.values)

    def trigger(self, dag_id: str, run_id: str, **about: Any) -> Mapping[str, Any]:
        self.triggered = (dag_id, run_id, about)
        return dict(self.values)

    def push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def make_xcom() -> Callable[..., FakeXCom]:
    return FakeXCom


@pytest.fixture
def make_record() -> Callable[..., AttemptContext]:
    """The record of the first attempt of a daily run of 1 March 2026."""

    def make(**changes: Any) -> AttemptContext:
        values: dict[str, Any] = {
            "dag_id": "d",
            "task_id": "t",
            "run_id": "scheduled__2026-03-01T00:00:00+00:00",
            "map_index": -1,
            "try_number": 1,
            "max_tries": 3,
            "run_type": "scheduled",
            "logical_date": DAY,
            "data_interval_start": DAY,
            "data_interval_end": DAY + timedelta(days=1),
            "run_after": DAY + timedelta(days=1),
            "run_start_date": DAY + timedelta(days=1, seconds=1),
            "queued_at": DAY + timedelta(days=1),
            "conf": {},
            "params": {},
            "start_date": DAY + timedelta(days=1, seconds=2),
            "log_url": "http://localhost:8080/log",
            "hostname": "host",
        }
        return AttemptContext(**(values | changes))

    return make
