"""A past made up from a seed: runs of a DAG whose tasks take their time, some days much more of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from engine.authoring.serialized import SerializedDag
from engine.metastore.forecast import Seen
from engine.metastore.sla_replay import PastRun
from engine.metastore.store import Tx
from engine.metastore.tables import DagRun, TaskInstance

FIRST = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Days:
    """Minutes that tasks usually take, give or take a tenth; on `bad` days in 100 one of them takes `times` that."""

    minutes: Mapping[str, float]
    bad: int = 15
    times: float = 4.0

    def draw(self, source: random.Random) -> dict[str, timedelta]:
        slow = source.choice(sorted(self.minutes)) if source.randrange(100) < self.bad else None
        return {
            task_id: timedelta(minutes=usual * source.lognormvariate(0, 0.1) * (self.times if task_id == slow else 1))
            for task_id, usual in self.minutes.items()
        }


def made_up(dag: SerializedDag, days: Days, count: int, seed: str) -> list[PastRun]:
    """Daily runs that have ended in success."""
    source = random.Random(seed)
    return [_run(dag, number, FIRST + timedelta(days=number), days.draw(source)) for number in range(count)]


def _run(dag: SerializedDag, number: int, start: datetime, took: Mapping[str, timedelta]) -> PastRun:
    tasks: dict[str, Seen] = {}
    for task in dag.tasks:
        ready = max((tasks[parent].ended_at or start for parent in task.upstream), default=start)
        tasks[task.task_id] = Seen("success", ready, ready + took[task.task_id])
    return PastRun(f"past{number}", start, start, max(seen.ended_at or start for seen in tasks.values()), tasks)


def write_past(tx: Tx, dag: SerializedDag, version: str, days: Days, count: int, seed: str) -> None:
    """The same in a metastore, with ids from 1."""
    past = list(enumerate(made_up(dag, days, count, seed), start=1))
    tx.connection.execute(insert(DagRun), [_run_row(dag.dag_id, version, number, run) for number, run in past])
    rows = [_task_row(dag.dag_id, number, run.run_id, *task) for number, run in past for task in run.tasks.items()]
    tx.connection.execute(insert(TaskInstance), rows)


def _run_row(dag_id: str, version: str, number: int, run: PastRun) -> dict[str, Any]:
    about = {"id": number, "dag_id": dag_id, "run_id": run.run_id, "run_type": "scheduled", "version": version}
    start = run.began_at
    interval = {"data_interval_start": start - timedelta(days=1), "data_interval_end": run.scheduled_start}
    times = {"run_after": start, "queued_at": start, "start_date": start, "end_date": run.ended_at}
    return {**about, **interval, **times, "state": "success", "conf": {}, "unfinished": 0}


def _task_row(dag_id: str, number: int, run_id: str, task_id: str, seen: Seen) -> dict[str, Any]:
    about = {"run_pk": number, "dag_id": dag_id, "run_id": run_id, "task_id": task_id, "state": seen.state}
    times = {"scheduled_at": seen.began_at, "start_date": seen.began_at, "end_date": seen.ended_at}
    return {**about, **times, "operator": "x", "pool": "p", "queue": "q", "try_number": 1}
