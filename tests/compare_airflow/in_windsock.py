"""The DAG files in Windsock, all at once: a scheduler, a DAG processor and a notifier on SQLite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sqlalchemy import func, insert, select

from engine import config
from engine.metastore.budgets import POOL
from engine.metastore.store import Store
from engine.metastore.tables import Budget, CallbackRequest, DagFile, DagRun, TaskInstance
from tests.compare_airflow.outcomes import RunRow, Seen, TaskRow, all_ended
from tests.compare_airflow.rows import DAGS, POOLS, Row, Trigger
from tests.servers.processes import ServerProcess, wait_until

PATIENCE_SECONDS = 90.0
_RUN_COLUMNS = (
    *(DagRun.dag_id, DagRun.run_id, DagRun.run_type, DagRun.state, DagRun.logical_date),
    *(DagRun.data_interval_start, DagRun.data_interval_end),
)
_TASK_COLUMNS = (
    *(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state, TaskInstance.try_number),
    *(TaskInstance.operator, TaskInstance.pool, TaskInstance.start_date, TaskInstance.end_date),
)
_AT_WORK = ("scheduled", "queued", "running", "up_for_retry", "up_for_reschedule")
_SERVICES = ("scheduler", "dag-processor", "notifier")


class Windsock:
    """A home with every process that these rows need."""

    def __init__(self, home: Path, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.home = home
        self.environment = {
            "WINDSOCK_HOME": str(home),
            "WINDSOCK__CORE__LOAD_EXAMPLES": "false",
            "WINDSOCK__CORE__PARALLELISM": "8",
            "WINDSOCK__METRICS__STATSD_ON": "false",
            "WINDSOCK__LOGGING__LOGGING_LEVEL": "WARNING",
        }
        settings = config.load({**os.environ, **self.environment})
        config.prepare_home(settings)
        for file in [DAGS / "names.py", DAGS / ".airflowignore", *(row.file for row in rows)]:
            shutil.copy(file, settings.core.dags_folder)
        self.store = Store.from_settings(settings)
        self.store.upgrade()
        pools = [{"kind": POOL, "name": name, "slots": slots, "used": 0} for name, slots in POOLS.items()]
        self.store.run(lambda tx: tx.connection.execute(insert(Budget), pools))

    def see(self) -> Seen:
        """All runs and task instances, and what the DAG files have written."""
        with self.store.read() as connection:
            tasks = connection.execute(select(*_TASK_COLUMNS)).all()
        return Seen(self._runs(), [TaskRow(*row) for row in tasks], self.home / "scratch")

    def _runs(self) -> list[RunRow]:
        with self.store.read() as connection:
            rows = connection.execute(select(*_RUN_COLUMNS)).all()
        return [RunRow(*row[:-2], interval=(row[-2], row[-1])) for row in rows]

    def run(self) -> Seen:
        """Trigger what must be, and wait until all has ended that shall, callbacks included."""
        files = len(self.rows)
        wait_until(lambda: self._count(DagFile.parsed_at.is_not(None)) >= files, "the DAG files", PATIENCE_SECONDS)
        self._tell_broken_files()
        for trigger in [trigger for row in self.rows for trigger in row.triggers]:
            self._trigger(trigger)
        with suppress(TimeoutError):  # what has not ended is told as a difference
            wait_until(self._is_over, "the runs to end", PATIENCE_SECONDS)
        return self.see()

    def _is_over(self) -> bool:
        if not all_ended(self.rows, self._runs()):
            return False
        at_work = select(func.count()).where(TaskInstance.state.in_(_AT_WORK))
        waiting = select(func.count()).where(CallbackRequest.state == "pending")
        with self.store.read() as connection:
            return not connection.execute(at_work).scalar_one() and not connection.execute(waiting).scalar_one()

    def _count(self, condition: object) -> int:
        with self.store.read() as connection:
            return int(connection.execute(select(func.count()).select_from(DagFile).where(condition)).scalar_one())

    def _tell_broken_files(self) -> None:
        with self.store.read() as connection:
            broken = connection.execute(select(DagFile.path, DagFile.error_summary).where(DagFile.error.is_not(None)))
            for path, summary in broken:
                print(f"{Path(path).name} cannot be imported: {summary}")  # noqa: T201 - why its row will differ

    def _trigger(self, trigger: Trigger) -> None:
        command = ["dags", "trigger", trigger.dag_id, "--run-id", trigger.run_id, "--conf", trigger.conf]
        subprocess.run(
            [sys.executable, "-m", "engine.cli", *command],
            env={**os.environ, **self.environment},
            capture_output=True,
        )


@contextmanager
def windsock(rows: Sequence[Row]) -> Iterator[Windsock]:
    """The processes at work on these rows' DAG files."""
    with tempfile.TemporaryDirectory(prefix="wsc-") as folder, ExitStack() as stack:
        engine = Windsock(Path(folder), rows)
        stack.callback(engine.store.close)
        settings = [f"{name}={value}" for name, value in engine.environment.items()]
        for name in _SERVICES:
            scratch = Path(folder) / f"of-{name}"
            scratch.mkdir()
            command = ["/usr/bin/env", *settings, sys.executable, "-m", "engine.cli", name]
            stack.callback(ServerProcess(command, scratch).stop)
        yield engine
