"""Runs a shape through a real scheduler on a real metastore and reads the times that the metastore recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select

from benchmarks.shapes import Shape
from engine import config
from engine.authoring.loader import load_file
from engine.authoring.serialize import serialize
from engine.authoring.serialized import encode_dag, version_of
from engine.config import Settings
from engine.metastore import transitions
from engine.metastore.states import FINAL_RUN_STATES, RunState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Dag, DagRun, DagVersion, TaskInstance

TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Measured:
    """One run. Seconds; gaps are a child's start less its parents' last end."""

    wall_seconds: float
    tasks_per_second: float
    gap_p50: float
    gap_p95: float


@dataclass(frozen=True)
class Home:
    """A home with a scheduler at work. Other processes of it are started with `environment`."""

    settings: Settings
    store: Store
    environment: dict[str, str]


@contextmanager
def engine(database_url: str | None = None, **more: str) -> Iterator[Home]:
    """A scheduler with its executor in a home of its own; on SQLite, or on `database_url`. `more` are variables."""
    with tempfile.TemporaryDirectory(prefix="wsb-") as folder:
        environment = {**os.environ, "WINDSOCK_HOME": folder, "WINDSOCK__CORE__LOAD_EXAMPLES": "false", **more}
        environment["WINDSOCK__METRICS__STATSD_ON"] = "false"  # nobody's graphs shall show our figures
        environment["WINDSOCK__LOGGING__LOGGING_LEVEL"] = "WARNING"
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if database_url:
            environment["WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"] = database_url
        settings = config.load(environment)
        config.prepare_home(settings)
        store = Store.from_settings(settings)
        store.upgrade()
        process = subprocess.Popen([sys.executable, "-m", "engine.cli", "scheduler"], env=environment)
        try:
            yield Home(settings, store, environment)
        finally:
            process.terminate()
            process.wait(timeout=30)
            store.close()


def run_shape(home: Home, shape: Shape) -> Measured:
    """Trigger the shape once and wait for its end."""
    store = home.store
    file = home.settings.core.dags_folder / f"{shape.dag_id}.py"
    file.write_text(shape.source)
    store.run(lambda tx: store_dags(tx, file))
    began, run_id = queue(store, shape.dag_id)
    state = wait_for_end(store, shape.dag_id, run_id)
    wall = time.perf_counter() - began
    if state != RunState.SUCCESS:
        raise SystemExit(f"{shape.title} ended as {state}; see {home.settings.logging.base_log_folder}")
    gaps = _gaps(store, shape.dag_id, run_id)
    middle, late = gaps[len(gaps) // 2], gaps[int(len(gaps) * 0.95)]
    return Measured(wall, shape.tasks / wall, middle, late)


def queue(store: Store, dag_id: str) -> tuple[float, str]:
    """Queue a run and wake the scheduler; returns the moment of the commit (perf_counter) and the run_id."""
    run_id = store.run(lambda tx: transitions.create_run(tx, dag_id))
    queued_at = time.perf_counter()
    store.wake("scheduler")
    return queued_at, run_id


def store_dags(tx: Tx, file: Path) -> None:
    """Put the DAGs of a file into the metastore, as its processor does."""
    for dag in load_file(file).dags:
        data = encode_dag(serialize(dag))
        version = version_of(data)
        row = {"dag_id": dag.dag_id, "version": version}
        known = select(Dag.dag_id).where(Dag.dag_id == dag.dag_id)
        if tx.connection.execute(known).first() is None:
            tx.connection.execute(insert(DagVersion).values(**row, data=data.decode(), created_at=tx.now))
            values = {**row, "path_hash": "", "fileloc": str(file), "is_active": True, "updated_at": tx.now}
            tx.connection.execute(insert(Dag).values(values))


def wait_for_end(store: Store, dag_id: str, run_id: str) -> str:
    """The final state of a run; SystemExit when that does not come."""
    statement = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with store.read() as connection:
            state = str(connection.execute(statement).scalar_one())
        if state in FINAL_RUN_STATES:
            return state
        time.sleep(0.01)
    raise SystemExit(f"{dag_id} did not end within {TIMEOUT_SECONDS:g} s")


def _gaps(store: Store, dag_id: str, run_id: str) -> list[float]:
    statement = select(TaskInstance.task_id, TaskInstance.start_date, TaskInstance.scheduled_at)
    with store.read() as connection:
        rows = connection.execute(statement.where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)).all()
    # scheduled_at is the instant of the transaction in which the last parent ended (or the run started).
    return sorted((row.start_date - row.scheduled_at).total_seconds() for row in rows)
