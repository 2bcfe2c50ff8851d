"""What a turn of the scheduler costs with few and with many finished task instances in the metastore."""

from __future__ import annotations

import re
import socket
import statistics
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import insert, select, text

from benchmarks.databases import database
from benchmarks.engine_run import engine, run_shape
from benchmarks.shapes import CHAIN, chain
from engine.metastore.states import RunState, RunType, TaskState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import DagRun, TaskInstance

FINISHED = (10_000, 1_000_000)
_TASKS_PER_RUN = 1_000
_RUNS_PER_TRANSACTION = 10
_LINE = re.compile(rb"scheduler\.scheduler_loop_duration:([\d.e+-]+)\|ms")


def measure(name: str) -> list[dict[str, Any]]:
    """The median turn in milliseconds while a chain runs, for each number of finished instances."""
    return [{"database": name, "finished": count, **_turns(name, count)} for count in FINISHED]


def _turns(name: str, finished: int) -> dict[str, Any]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear, database(name) as base:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        ear.bind(("127.0.0.1", 0))
        ear.setblocking(False)
        told = {
            "WINDSOCK__METRICS__STATSD_ON": "true",
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(ear.getsockname()[1]),
        }
        with engine(base.url, watched=base.watched, settings=told, fill=lambda store: fill(store, finished)) as home:
            run_shape(home, chain(3))
            _heard(ear)
            runs = [run_shape(home, CHAIN) for _ in range(3)]
            turns = _heard(ear)
    return {
        "turn_ms": statistics.median(turns),
        "turns": len(turns),
        "chain_seconds": statistics.median(run.wall_seconds for run in runs),
    }


def _heard(ear: socket.socket) -> list[float]:
    turns: list[float] = []
    while True:
        try:
            data = ear.recv(65_536)
        except BlockingIOError:
            return turns
        turns += [float(found) for found in _LINE.findall(data)]


def fill(store: Store, finished: int) -> None:
    """So many task instances that ended an hour ago, in runs of a thousand."""
    runs = range(finished // _TASKS_PER_RUN)
    for first in range(0, len(runs), _RUNS_PER_TRANSACTION):
        store.run(partial(_fill, runs=runs[first : first + _RUNS_PER_TRANSACTION]))
    if store.dialect.name != "mysql":
        store.run(lambda tx: tx.connection.execute(text("ANALYZE")))


def _fill(tx: Tx, runs: range) -> None:
    ended = tx.now - timedelta(hours=1)
    began = datetime(2020, 1, 1, tzinfo=UTC)
    rows = [
        {
            "dag_id": f"old_{number % 100}",
            "run_id": f"old_{number}",
            "run_type": RunType.SCHEDULED,
            "state": RunState.SUCCESS,
            "version": "0",
            "logical_date": began + timedelta(hours=number),
            "run_after": ended,
            "queued_at": ended,
            "start_date": ended,
            "end_date": ended,
            "conf": {},
            "unfinished": 0,
        }
        for number in runs
    ]
    tx.connection.execute(insert(DagRun), rows)
    names = {row["run_id"] for row in rows}
    keys = tx.connection.execute(select(DagRun.id, DagRun.dag_id, DagRun.run_id).where(DagRun.run_id.in_(names))).all()
    tasks = [
        {
            "run_pk": key.id,
            "dag_id": key.dag_id,
            "run_id": key.run_id,
            "task_id": f"t{task}",
            "map_index": -1,
            "state": TaskState.SUCCESS,
            "operator": "BashOperator",
            "try_number": 1,
            "pool": "default_pool",
            "queue": "default",
            "scheduled_at": ended,
            "queued_at": ended,
            "start_date": ended,
            "end_date": ended,
        }
        for key in keys
        for task in range(_TASKS_PER_RUN)
    ]
    tx.connection.execute(insert(TaskInstance), tasks)
