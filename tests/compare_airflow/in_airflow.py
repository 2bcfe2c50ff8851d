"""The DAG files in a real Airflow, all at once."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.compare_airflow.outcomes import RunRow, Seen, TaskRow, all_ended
from tests.compare_airflow.rows import DAGS, POOLS, Row, Trigger
from tests.e2e_airflow.installation import Release
from tests.e2e_airflow.running import RunningAirflow
from tests.servers.processes import wait_until

PATIENCE_SECONDS = 3600.0
STILL_SECONDS = 10.0
"""What has not changed for so long after everything else has ended will not."""
_DISCARD_PORT = 9


class ComparedAirflow(RunningAirflow):
    """LocalExecutor on PostgreSQL with the comparison's DAG folder and pools; without StatsD."""

    def __init__(self, release: Release, home: Path, database: str) -> None:
        self.scratch = home / "scratch"
        dags = Path(shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__")))
        super().__init__(release, "plain", home, database, _DISCARD_PORT, dags)

    def __enter__(self) -> ComparedAirflow:
        self._call("db", "migrate")
        for name, slots in POOLS.items():
            self._call("pools", "set", name, str(slots), "for the comparison")
        super().__enter__()
        return self

    def see(self) -> Seen:
        with psycopg.connect(self.database, row_factory=dict_row, connect_timeout=5) as connection:
            runs = connection.execute("SELECT * FROM dag_run").fetchall()
            tasks = connection.execute("SELECT * FROM task_instance").fetchall()
        return Seen([_run(row) for row in runs], [_task(row) for row in tasks], self.scratch)

    def run(self, rows: Sequence[Row]) -> Seen:
        """Trigger what must be, and wait until every run has ended that shall."""
        dag_ids = {dag_id for row in rows for dag_id in row.dag_ids}
        known = f"SELECT count(*) FROM dag WHERE dag_id IN ({', '.join(repr(dag_id) for dag_id in sorted(dag_ids))})"
        wait_until(
            self._alive_and(lambda: self.count(known) >= len(dag_ids)), "Airflow to read the DAGs", PATIENCE_SECONDS
        )
        for trigger in [trigger for row in rows for trigger in row.triggers]:
            self._trigger(trigger)
        wait_until(self._alive_and(lambda: all_ended(rows, self.see().runs)), "Airflow's runs to end", PATIENCE_SECONDS)
        time.sleep(STILL_SECONDS)
        return self.see()

    def _trigger(self, trigger: Trigger) -> None:
        command = ["dags", "trigger", trigger.dag_id, "--run-id", trigger.run_id, "--conf", trigger.conf]
        done = subprocess.run([self.release.command, *command], env=self._environment, capture_output=True, text=True)
        if bool(done.returncode) != trigger.refused:
            raise RuntimeError(f"airflow {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")

    def _commands(self) -> list[tuple[str, ...]]:
        return [words for words in super()._commands() if words != ("triggerer",)]

    def _settings(self, mode: str, statsd_port: int) -> dict[str, str]:
        return {
            **super()._settings(mode, statsd_port),
            **SETTINGS,
            "AIRFLOW__METRICS__STATSD_ON": "False",
        }


SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "6",
    # Without it, Airflow 3 gives cron schedules no data interval: that is a row of its own.
    "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
    "AIRFLOW__SCHEDULER__CREATE_DELTA_DATA_INTERVALS": "True",
    # 2.x: a callback waits for as long as its file is not parsed again.
    "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "60",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
}


def _run(row: dict[str, Any]) -> RunRow:
    logical_date = row["logical_date"] if "logical_date" in row else row["execution_date"]
    interval = (row["data_interval_start"], row["data_interval_end"])
    return RunRow(row["dag_id"], row["run_id"], row["run_type"], row["state"], logical_date, interval)


def _task(row: dict[str, Any]) -> TaskRow:
    return TaskRow(
        row["dag_id"],
        row["run_id"],
        row["task_id"],
        row["state"],
        row["try_number"],
        row["operator"],
        row["pool"],
        row["start_date"],
        row["end_date"],
    )
