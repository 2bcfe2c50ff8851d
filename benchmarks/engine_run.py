"""Runs a shape through a real scheduler on a real metastore and reads the times that the metastore recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType

import psutil
from sqlalchemy import func, insert, select

from benchmarks.databases import Database
from benchmarks.shapes import Shape
from benchmarks.spans import Key, Told, clear, join, tell
from benchmarks.usage import family, own_cpu_seconds, pss_mib
from engine import config
from engine.authoring.loader import load_file
from engine.authoring.serialize import serialize
from engine.authoring.serialized import encode_dag, version_of
from engine.config import Settings
from engine.metastore.states import FINAL_RUN_STATES, RunState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Dag, DagRun, DagVersion, TaskInstance
from engine.metastore.transitions import creating

TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Measured:
    """One run of a shape. Counts are None where the database or the engine cannot say."""

    wall_seconds: float
    tasks_per_second: float
    told: Told
    statements_per_task: float | None = None
    log_bytes_per_task: float | None = None
    scheduler_cpu_ms_per_task: float | None = None
    pss_mib: float | None = None


@dataclass(frozen=True)
class Home:
    """A home with a scheduler at work. Other processes of it are started with `environment`."""

    settings: Settings
    store: Store
    environment: dict[str, str]
    schedulers: tuple[psutil.Process, ...] = ()


@contextmanager
def engine(
    database_url: str | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    watched: str | None = None,
    schedulers: int = 1,
    fill: Callable[[Store], None] = lambda _store: None,
) -> Iterator[Home]:
    """A home of its own with schedulers and their executors; on SQLite, or on `database_url`. `settings` are variables.

    The benchmark itself opens the metastore as `watched`, where that is given. `fill` puts rows into it beforehand.
    The home stays until :func:`kept_homes` ends: a file system that has much to delete is slow for the next figure.
    """
    folder = tempfile.mkdtemp(prefix="home-")
    with ExitStack() as stack:
        environment = {**os.environ, "WINDSOCK_HOME": folder, "WINDSOCK__CORE__LOAD_EXAMPLES": "false", **settings}
        environment["WINDSOCK__METRICS__STATSD_ON"] = settings.get("WINDSOCK__METRICS__STATSD_ON", "false")
        environment["WINDSOCK__LOGGING__LOGGING_LEVEL"] = "WARNING"
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if database_url:
            environment["WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"] = database_url
        loaded = config.load(environment)
        config.prepare_home(loaded)
        store = Store(watched or loaded.database.sql_alchemy_conn, run_dir=loaded.home / "run")
        stack.callback(store.close)
        store.upgrade()
        fill(store)
        started = tuple(psutil.Process(start(stack, environment, "scheduler").pid) for _ in range(schedulers))
        yield Home(loaded, store, environment, started)


@contextmanager
def kept_homes() -> Iterator[None]:
    """Keep temporary files in a folder of this benchmark's own, and delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="wsb-") as folder:
        Path(folder).chmod(0o711)  # servers of databases run as users of their own
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = None


def start(stack: ExitStack, environment: Mapping[str, str], *words: str) -> subprocess.Popen[bytes]:
    """One of Windsock's processes, which is ended with the stack. What it tells people is not shown, its log is."""
    command = [sys.executable, "-m", "engine.cli", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it in order; by force where that takes too long."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_shape(home: Home, shape: Shape, database: Database | None = None) -> Measured:
    """Trigger the shape once and wait for its end."""
    store, parents, clocks = home.store, prepare(home, shape), home.settings.home / "clocks"
    clear(clocks)
    writers = [process for process in home.schedulers if process.is_running()]
    cpu = sum(own_cpu_seconds(process) for process in writers)
    counted = database.counted(writers) if database else None
    began, runs = queue_all(store, shape.dag_ids)
    wait_for_all(store, runs)
    wall = time.perf_counter() - began
    used = sum(own_cpu_seconds(process) for process in writers) - cpu
    asked = database.counted(writers) - counted if database and counted else None
    refuse_failures(home, shape, runs)
    return Measured(
        wall,
        shape.tasks / wall,
        tell(join(scheduled(store, runs), clocks), parents),
        _each(asked.statements if asked else None, shape),
        _each(asked.log_bytes if asked else None, shape),
        used / shape.tasks * 1000,
        pss_mib(family(*(process.pid for process in writers))),
    )


def _each(count: int | None, shape: Shape) -> float | None:
    return None if count is None else count / shape.tasks


def prepare(home: Home, shape: Shape) -> dict[Key, tuple[str, ...]]:
    """Write and store the shape's DAGs; returns each task's parents."""
    parents: dict[Key, tuple[str, ...]] = {}
    for name, source in shape.sources.items():
        file = home.settings.core.dags_folder / name
        file.write_text(source)
        home.store.run(partial(store_dags, file=file))
        for dag in load_file(file).dags:
            parents |= {(dag.dag_id, task.task_id): tuple(task.upstream_task_ids) for task in dag.tasks}
    return parents


def queue(store: Store, dag_id: str) -> tuple[float, str]:
    """Queue a run and wake the scheduler; returns the moment of the commit (perf_counter) and the run_id."""
    began, runs = queue_all(store, [dag_id])
    return began, runs[dag_id]


def queue_all(store: Store, dag_ids: Sequence[str]) -> tuple[float, dict[str, str]]:
    """Queue a run of each in one transaction; returns the moment of the commit and the run_ids by dag_id."""
    runs = store.run(lambda tx: {dag_id: creating.create_run(tx, dag_id) for dag_id in dag_ids})
    queued_at = time.perf_counter()
    store.wake("scheduler")
    return queued_at, runs


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
    wait_for_all(store, {dag_id: run_id})
    statement = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    with store.read() as connection:
        return str(connection.execute(statement).scalar_one())


def wait_for_all(store: Store, runs: Mapping[str, str], timeout: float = TIMEOUT_SECONDS) -> None:
    """Return when the metastore has the end of every run; SystemExit when that does not come."""
    statement = select(func.count()).where(
        DagRun.dag_id.in_(runs), DagRun.run_id.in_(set(runs.values())), DagRun.state.in_(FINAL_RUN_STATES)
    )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with store.read() as connection:
            if connection.execute(statement).scalar_one() >= len(runs):
                return
        time.sleep(0.01)
    raise SystemExit(f"{', '.join(runs)} did not end within {timeout:g} s")


def refuse_failures(home: Home, shape: Shape, runs: Mapping[str, str]) -> None:
    """SystemExit unless every run succeeded: a figure of failed work is none."""
    statement = select(func.count()).where(
        DagRun.dag_id.in_(runs), DagRun.run_id.in_(set(runs.values())), DagRun.state != RunState.SUCCESS
    )
    with home.store.read() as connection:
        if failed := connection.execute(statement).scalar_one():
            raise SystemExit(f"{shape.title}: {failed} runs failed; see {home.settings.logging.base_log_folder}")


def scheduled(store: Store, runs: Mapping[str, str]) -> dict[Key, datetime]:
    """When each task of these runs was told to start as soon as the limits let it."""
    statement = select(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.scheduled_at).where(
        TaskInstance.dag_id.in_(runs), TaskInstance.run_id.in_(set(runs.values()))
    )
    with store.read() as connection:
        return {(row.dag_id, row.task_id): row.scheduled_at for row in connection.execute(statement)}
