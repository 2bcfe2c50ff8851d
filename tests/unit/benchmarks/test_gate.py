from __future__ import annotations

from typing import Any

from benchmarks import alerts_run
from benchmarks.__main__ import AIRFLOW_CHAIN_SECONDS, AIRFLOW_TASKS_PER_SECOND, CHAIN, SHAPES, times_airflow, too_slow


def row(shape: str, *, database: str = "sqlite", wall: float = 1.0, rate: float = 200.0) -> dict[str, Any]:
    median = {"wall_seconds": wall, "tasks_per_second": rate}
    return {"database": database, "shape": shape, "title": shape, "median": median}


def test_chains_are_compared_by_their_duration_and_all_else_by_tasks_per_second() -> None:
    assert times_airflow(row(CHAIN.dag_id, wall=AIRFLOW_CHAIN_SECONDS / 32, rate=1)) == 32
    assert times_airflow(row(SHAPES[0].dag_id, wall=99, rate=AIRFLOW_TASKS_PER_SECOND * 32)) == 32


def test_what_sqlite_runs_too_slowly_is_told_and_other_databases_are_only_shown() -> None:
    fan_out = SHAPES[0].dag_id
    assert too_slow([row(fan_out), row(CHAIN.dag_id), row(fan_out, database="postgresql", rate=1)]) == []
    assert too_slow([row(fan_out, rate=AIRFLOW_TASKS_PER_SECOND * 19), row(CHAIN.dag_id)]) == [
        f"{fan_out} on SQLite: 19.0 x Airflow, less than 20 x"
    ]


def test_failures_that_are_told_late_are_named() -> None:
    quick = {"failures": 20, "p50": 0.02, "p95": 0.5, "longest": 2.0}
    assert alerts_run.slow_words({"one after the other": quick}) == []
    assert alerts_run.slow_words({"at the same moment": quick | {"p95": 0.6}}) == [
        "failures at the same moment: p95 0.600 s to the mail, more than 0.5 s"
    ]
