"""A metastore with two DAGs, runs and an import error in it, and the command in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.authoring.serialized import (
    BashSpec,
    CronSchedule,
    NoSchedule,
    SerializedDag,
    SerializedTask,
    encode_dag,
    version_of,
)
from engine.cli.main import cli
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Base

Command = Callable[..., Result]
START = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for name in [name for name in os.environ if name.startswith("WINDSOCK__")]:
        monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def store(sqlite_url: str, home: Path) -> Iterator[Store]:
    made = Store(sqlite_url, run_dir=home / "run")
    yield made
    made.close()


@pytest.fixture
def windsock(sqlite_url: str, home: Path) -> Command:
    """Call the command with these words; its result has stdout, stderr and exit_code."""
    environment = {"WINDSOCK_HOME": str(home), "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": sqlite_url, "COLUMNS": "200"}

    def call(*words: str, **settings: str) -> Result:
        return CliRunner(env={**environment, **settings}).invoke(cli, words, prog_name="windsock")

    return call


def insert(store: Store, table: str, *rows: dict[str, Any]) -> None:
    def work(tx: Tx) -> None:
        tx.connection.execute(Base.metadata.tables[table].insert(), list(rows))

    store.run(work)


def add_dag(store: Store, dag: SerializedDag) -> None:
    data = encode_dag(dag)
    version = version_of(data)
    insert(
        store,
        "dag",
        {
            "dag_id": dag.dag_id,
            "path_hash": "0" * 64,
            "fileloc": dag.fileloc,
            "version": version,
            "is_active": True,
            "updated_at": START,
        },
    )
    insert(store, "dag_version", {"dag_id": dag.dag_id, "version": version, "data": data.decode(), "created_at": START})


def make_dag(dag_id: str, schedule: CronSchedule | NoSchedule | None = None) -> SerializedDag:
    hello = SerializedTask(task_id="hello", operator="BashOperator", kind="bash", bash=BashSpec("echo hello"))
    world = SerializedTask(task_id="world", operator="EmptyOperator", kind="empty", upstream=("hello",), retries=2)
    return SerializedDag(
        dag_id=dag_id, fileloc=f"/dags/{dag_id}.py", schedule=schedule or NoSchedule(), tasks=(hello, world)
    )


@pytest.fixture
def dags(store: Store) -> Store:
    """hello_world and nightly."""
    add_dag(store, make_dag("hello_world"))
    add_dag(store, make_dag("nightly", CronSchedule("0 3 * * *")))
    return store


@pytest.fixture
def failed_run(dags: Store) -> str:
    """A run of hello_world whose first task failed in its second attempt."""
    ended = START + timedelta(seconds=5)
    insert(
        dags,
        "dag_run",
        {
            "id": 1,
            "dag_id": "hello_world",
            "run_id": "manual__1",
            "run_type": "manual",
            "state": "failed",
            "version": "v",
            "logical_date": START,
            "run_after": START,
            "queued_at": START,
            "start_date": START,
            "end_date": ended,
            "conf": {},
            "unfinished": 0,
        },
    )
    common = {"run_pk": 1, "dag_id": "hello_world", "run_id": "manual__1", "pool": "default_pool", "queue": "default"}
    hello = {"id": 1, "task_id": "hello", "state": "failed", "operator": "BashOperator", "try_number": 2}
    world = {"id": 2, "task_id": "world", "state": "upstream_failed", "operator": "EmptyOperator", "try_number": 0}
    insert(dags, "task_instance", *({**common, **row, "max_tries": 2, "end_date": ended} for row in (hello, world)))
    attempt = {
        "ti_id": 1,
        "try_number": 2,
        "token": "t",
        "owner": "o",
        "hostname": "h",
        "state": "failed",
        "cause": "exit",
        "exit_code": 3,
        "error": "exited with code 3",
        "start_date": START,
        "end_date": ended,
    }
    insert(dags, "task_attempt", attempt)
    return "manual__1"
