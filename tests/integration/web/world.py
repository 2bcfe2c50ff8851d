"""A small world of DAGs, runs, attempts and logs, as the other rooms would have written it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from engine.authoring.serialized import (
    CronSchedule,
    NoSchedule,
    Schedule,
    SerializedDag,
    SerializedTask,
    encode_dag,
    version_of,
)
from engine.logs.paths import attempt_log_path
from engine.metastore.store import Store
from engine.metastore.tables import (
    Dag,
    DagFile,
    DagRun,
    DagSchedule,
    DagVersion,
    Process,
    TaskAttempt,
    TaskInstance,
)

FINAL = ("success", "failed", "skipped", "upstream_failed", "removed")


class World:
    """Writes rows and logs; every moment is told in seconds before `now`."""

    def __init__(self, store: Store, logs: Path, now: datetime | None = None) -> None:
        self.store = store
        self.logs = logs
        self.now = now or datetime.now(UTC)
        self._versions: dict[str, str] = {}

    def ago(self, seconds: float | None) -> datetime | None:
        return None if seconds is None else self.now - timedelta(seconds=seconds)

    def add(self, table: Any, **values: Any) -> int:
        with self.store.begin() as tx:
            key = tx.connection.execute(insert(table).values(values)).inserted_primary_key
            return key[0] if key else 0

    def dag(
        self,
        dag_id: str,
        tasks: Sequence[SerializedTask] = (),
        *,
        schedule: Schedule | None = None,
        next_in: float | None = None,
        is_paused: bool = False,
        is_active: bool = True,
        **more: Any,
    ) -> None:
        fileloc = f"/srv/flows/{dag_id}.py"
        dag = SerializedDag(
            dag_id=dag_id, fileloc=fileloc, schedule=schedule or NoSchedule(), tasks=tuple(tasks), **more
        )
        data = encode_dag(dag)
        version = self._versions[dag_id] = version_of(data)
        path_hash = hashlib.sha256(fileloc.encode()).hexdigest()
        self.add(
            Dag,
            dag_id=dag_id,
            path_hash=path_hash,
            fileloc=fileloc,
            version=version,
            is_active=is_active,
            updated_at=self.now,
        )
        self.add(DagVersion, dag_id=dag_id, version=version, data=data.decode(), created_at=self.now)
        next_run = None if next_in is None else self.now + timedelta(seconds=next_in)
        self.add(DagSchedule, dag_id=dag_id, is_paused=is_paused, version=version, next_run_after=next_run)

    def run(
        self, dag_id: str, run_id: str, state: str, began: float | None = None, ended: float | None = None, **more: Any
    ) -> int:
        values: dict[str, Any] = {
            "dag_id": dag_id,
            "run_id": run_id,
            "run_type": run_id.partition("__")[0],
            "state": state,
            "version": self._versions[dag_id],
            "logical_date": None,
            "run_after": self.ago(began) or self.now,
            "queued_at": self.ago(None if began is None else began + 0.4) or self.now,
            "start_date": self.ago(began),
            "end_date": self.ago(ended),
            "conf": {},
        }
        return self.add(DagRun, **(values | more))

    def task(
        self,
        run: tuple[int, str, str],
        task_id: str,
        state: str | None,
        tries: int = 1,
        began: float | None = None,
        ended: float | None = None,
        **more: Any,
    ) -> int:
        run_pk, dag_id, run_id = run
        values: dict[str, Any] = {
            "run_pk": run_pk,
            "dag_id": dag_id,
            "run_id": run_id,
            "task_id": task_id,
            "state": state,
            "operator": "BashOperator",
            "try_number": tries,
            "max_tries": max(tries, 1),
            "pool": "default_pool",
            "queue": "default",
            "queued_at": self.ago(None if began is None else began + 0.02),
            "start_date": self.ago(began),
            "end_date": self.ago(ended) if state in FINAL else None,
        }
        if state in ("queued", "running"):
            values["token"] = hashlib.sha256(f"{run}{task_id}".encode()).hexdigest()[:32]
        return self.add(TaskInstance, **(values | more))

    def attempt(self, ti_id: int, number: int, state: str, cause: str, began: float, ended: float, **more: Any) -> None:
        values: dict[str, Any] = {
            "ti_id": ti_id,
            "try_number": number,
            "token": f"token-{ti_id}-{number}",
            "owner": "supervisor-1",
            "hostname": "etl-01",
            "state": state,
            "cause": cause,
            "start_date": self.ago(began),
            "end_date": self.ago(ended),
        }
        self.add(TaskAttempt, **(values | more))

    def log(self, dag_id: str, run_id: str, task_id: str, number: int, text: str | bytes, map_index: int = -1) -> Path:
        path = self.logs / attempt_log_path(dag_id, run_id, task_id, number, map_index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def process(self, kind: str, beat: float = 1.0, **more: Any) -> None:
        values: dict[str, Any] = {
            "id": f"{kind}-1",
            "kind": kind,
            "hostname": "etl-01",
            "pid": 4711,
            "pid_started": "boot:1",
            "started_at": self.ago(beat + 5000),
            "heartbeat_at": self.ago(beat),
            "detail": {},
        }
        self.add(Process, **(values | more))

    def broken_file(self, path: str, **more: Any) -> None:
        self.add(DagFile, path_hash=hashlib.sha256(path.encode()).hexdigest(), path=path, dag_count=0, **more)


def task(task_id: str, *upstream: str, **more: Any) -> SerializedTask:
    return SerializedTask(task_id=task_id, operator="BashOperator", kind="bash", upstream=upstream, **more)


def daily() -> CronSchedule:
    return CronSchedule("@daily")
