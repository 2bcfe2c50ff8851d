"""The peer: Apache Airflow 3.3 in an environment of its own, on the same shapes, in turns with Windsock.

LocalExecutor, PostgreSQL, default settings. While Windsock is measured, Airflow's processes are stopped (SIGSTOP), and
Windsock's idle processes take next to nothing while Airflow is measured.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.databases import PostgreSQLDatabase
from benchmarks.engine_run import Measured
from benchmarks.shapes import Shape
from benchmarks.spans import Key, clear, join, tell
from benchmarks.usage import family, own_cpu_seconds, pss_mib
from tests.e2e_airflow.installation import RELEASES
from tests.e2e_airflow.running import RunningAirflow
from tests.servers.processes import wait_until

VERSION = "3.3"
PATIENCE_SECONDS = 900.0
_DISCARD_PORT = 9


class Peer(RunningAirflow):
    """Airflow with the shapes in its DAG folder."""

    def __init__(self, home: Path, database: PostgreSQLDatabase, shapes: Sequence[Shape]) -> None:
        dags = home / "dags"
        dags.mkdir()
        self._clocks = home / "clocks"
        self._measured_on = database
        self._dag_ids = {dag_id for shape in shapes for dag_id in shape.dag_ids}
        for shape in shapes:
            for name, source in shape.sources.items():
                (dags / name).write_text(source, encoding="utf-8")
        super().__init__(RELEASES[VERSION], "plain", home, database.address, _DISCARD_PORT, dags)

    def __enter__(self) -> Peer:
        super().__enter__()
        return self

    def wait_for_dags(self) -> None:
        """Until every DAG file has been read."""
        wait_until(
            self._alive_and(lambda: self.count("SELECT count(DISTINCT dag_id) FROM dag") >= len(self._dag_ids)),
            "Airflow to read the DAGs",
            PATIENCE_SECONDS,
        )

    def run_shape(self, shape: Shape, parents: Mapping[Key, Sequence[str]]) -> Measured:
        """Trigger every DAG of the shape over the API and wait for the runs' end.

        The clock runs from the moment at which the first run is in the database until the last one's end there.
        """
        clear(self._clocks)
        scheduler = self._scheduler()
        cpu, counted = own_cpu_seconds(scheduler), self._measured_on.counted()
        token, run_id = self._token(), f"bench_{time.time_ns()}"
        for dag_id in shape.dag_ids:
            self._post(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "dag_run_id": run_id}, token)
        open_runs = f"SELECT count(*) FROM dag_run WHERE run_id = '{run_id}' AND state NOT IN ('success', 'failed')"
        wait_until(self._alive_and(lambda: self.count(open_runs) == 0), shape.title, PATIENCE_SECONDS)
        asked, used = self._measured_on.counted() - counted, own_cpu_seconds(scheduler) - cpu
        wall = self.count(f"SELECT {_WALL} FROM dag_run WHERE run_id = '{run_id}'")
        if failed := self.count(f"SELECT count(*) FROM dag_run WHERE run_id = '{run_id}' AND state <> 'success'"):
            raise SystemExit(f"{shape.title} in Airflow: {failed:.0f} runs failed")
        return Measured(
            wall,
            shape.tasks / wall,
            tell(join(self._scheduled(run_id), self._clocks), parents),
            None if asked.statements is None else asked.statements / shape.tasks,
            None if asked.log_bytes is None else asked.log_bytes / shape.tasks,
            used / shape.tasks * 1000,
            pss_mib(self._family()),
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Airflow takes no processor time within this block."""
        processes = self._family()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def _family(self) -> list[psutil.Process]:
        return family(*(process.process.pid for process in self._processes))

    def _scheduler(self) -> psutil.Process:
        index = [words[0] for words in self._commands()].index("scheduler")
        return psutil.Process(self._processes[index].process.pid)

    def _scheduled(self, run_id: str) -> dict[Key, datetime]:
        statement = "SELECT dag_id, task_id, scheduled_dttm FROM task_instance WHERE run_id = %s"
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            return {(dag_id, task_id): at for dag_id, task_id, at in connection.execute(statement, (run_id,))}

    def _token(self) -> str:
        return str(self._ask(urllib.request.Request(self._url("/auth/token")))["access_token"])

    def _post(self, path: str, document: dict[str, Any], token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._ask(urllib.request.Request(self._url(path), json.dumps(document).encode(), headers))

    def _ask(self, request: urllib.request.Request) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._api_port}{path}"

    def _commands(self) -> list[tuple[str, ...]]:
        return [words for words in super()._commands() if words != ("triggerer",)]

    def _settings(self, mode: str, statsd_port: int) -> dict[str, str]:
        settings = super()._settings(mode, statsd_port)
        kept = {name: value for name, value in settings.items() if not name.startswith(_NOT_THE_TESTS)}
        return {
            **kept,
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__METRICS__STATSD_ON": "False",
        }


_NOT_THE_TESTS = (
    "AIRFLOW__SCHEDULER__",
    "AIRFLOW__DAG_PROCESSOR__",
    "AIRFLOW__CORE__PARALLELISM",
    "AIRFLOW__METRICS__",
)
"""Settings of the end-to-end test that make it quicker or smaller; here the defaults are measured."""
_WALL = "extract(epoch FROM max(end_date) - min(queued_at))"
