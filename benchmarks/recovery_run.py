"""How soon work goes on after kill -9 of a scheduler or of its supervisor."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from benchmarks.databases import database
from benchmarks.engine_run import Home, engine, prepare, queue_all, refuse_failures, start, wait_for_all
from benchmarks.shapes import Shape
from engine.metastore.tables import TaskAttempt, TaskInstance
from tests.servers.processes import wait_until

TASKS = 150
ENOUGH = 20  # attempts that have ended when the process is killed
PATIENCE_SECONDS = 60.0
VICTIMS = ("scheduler", "supervisor")
SHAPE = Shape(
    "recovery",
    "recovery",
    TASKS,
    {
        "recovery": f"    for n in range({TASKS}):\n"
        '        BashOperator(task_id=f"t{n}", bash_command="sleep 0.3", retries=3, retry_delay=0)\n'
    },
)


def measure(name: str) -> list[dict[str, Any]]:
    """For each victim: seconds from the kill to the next attempt's start, and what became of the run."""
    return [{"database": name, "killed": victim, **_kill(name, victim)} for victim in VICTIMS]


def _kill(name: str, victim: str) -> dict[str, Any]:
    with database(name) as base, engine(base.url, watched=base.watched) as home, ExitStack() as stack:
        prepare(home, SHAPE)
        _, runs = queue_all(home.store, SHAPE.dag_ids)
        wait_until(lambda: _ended(home) >= ENOUGH, "the first attempts", PATIENCE_SECONDS)
        (scheduler,) = home.schedulers
        pid = scheduler.pid if victim == "scheduler" else scheduler.children()[0].pid
        killed_at, began = datetime.now(UTC), time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        if victim == "scheduler":  # as whoever keeps it does
            start(stack, home.environment, "scheduler")
        wait_until(lambda: _first_start(home, killed_at) is not None, "an attempt after the kill", PATIENCE_SECONDS)
        went_on = _first_start(home, killed_at)
        assert went_on is not None
        wait_for_all(home.store, runs)
        refuse_failures(home, SHAPE, runs)
        return {
            "next_start_seconds": (went_on - killed_at).total_seconds(),
            "end_seconds": time.perf_counter() - began,
            "attempts": _ended(home),
            "tasks": TASKS,
        }


def _ended(home: Home) -> int:
    with home.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(TaskAttempt)).scalar_one())


def _first_start(home: Home, since: datetime) -> datetime | None:
    statement = select(func.min(TaskInstance.start_date)).where(TaskInstance.start_date > since)
    with home.store.read() as connection:
        found: datetime | None = connection.execute(statement).scalar_one()
    return found
