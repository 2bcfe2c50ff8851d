"""Reading callback requests: what became of the callbacks of a task or a run, for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

from sqlalchemy import Connection, Row, exists, select

from engine.authoring.serialized import CallbackKind
from engine.metastore.states import RunState
from engine.metastore.tables import Base, CallbackRequest, Dag, DagRun, DagSchedule, DagVersion

REQUEST: Final = Base.metadata.tables[CallbackRequest.__tablename__]
KINDS: Final[tuple[CallbackKind, ...]] = get_args(CallbackKind)
STATES: Final = ("pending", "done", "dead")


@dataclass(frozen=True, slots=True)
class CallbackEntry:
    """One request. `output` is the end of what the last try printed; `run_id` is None where the run is gone."""

    id: int
    kind: str
    scope: str  # task or dag
    dag_id: str
    run_id: str | None
    task_id: str | None
    try_number: int | None
    state: str
    attempts: int
    failures: int
    due_at: datetime
    created_at: datetime
    done_at: datetime | None
    error: str | None
    output: str | None
    log_path: str | None


_PAUSED: Final = select(DagSchedule.dag_id).where(DagSchedule.is_paused.is_(True))
_FORESEEN: Final = (
    select(DagVersion.dag_id)
    .join(Dag, (Dag.dag_id == DagVersion.dag_id) & (Dag.version == DagVersion.version))
    .where(
        Dag.is_active.is_(True),
        exists().where(
            DagRun.dag_id == Dag.dag_id,
            DagRun.state.in_((RunState.QUEUED, RunState.RUNNING)),
            # A paused DAG's running runs go on, and its queued ones may wait for ever.
            (DagRun.state == RunState.RUNNING) | Dag.dag_id.not_in(_PAUSED),
        ),
        DagVersion.data.contains('"callbacks":["', autoescape=True),
    )
    .limit(1)
)


def are_foreseen(connection: Connection) -> bool:
    """Whether a DAG that has a run under way or about to begin, or a task of it, has callbacks.

    Reads those DAGs: ask now and then.
    """
    return connection.execute(_FORESEEN).first() is not None


def callback_key(kind: str, scope: str, dag_id: str, run_id: str, *about: Any) -> str:
    """What makes a request one of its own; `about` is task, map index and try, and how often the run began anew."""
    return hashlib.sha256(json.dumps([kind, scope, dag_id, run_id, *about]).encode()).hexdigest()


def listing(
    connection: Connection, *, limit: int, states: Sequence[str] = (), dag_id: str | None = None
) -> list[CallbackEntry]:
    """The newest first."""
    query = select(REQUEST).order_by(REQUEST.c.id.desc()).limit(limit)
    if states:
        query = query.where(REQUEST.c.state.in_(states))
    if dag_id is not None:
        query = query.where(REQUEST.c.dag_id == dag_id)
    return _entries(connection, connection.execute(query).all())


def get(connection: Connection, request_id: int) -> CallbackEntry | None:
    """One of them."""
    found = _entries(connection, connection.execute(select(REQUEST).where(REQUEST.c.id == request_id)).all())
    return found[0] if found else None


def of_attempt(
    connection: Connection, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int
) -> list[CallbackEntry]:
    """Those that one attempt asked for."""
    about = (dag_id, run_id, task_id, map_index, try_number)
    keys = [callback_key(kind, "task", *about) for kind in KINDS]
    query = select(REQUEST).where(REQUEST.c.dedup_key.in_(keys)).order_by(REQUEST.c.id)
    return _entries(connection, connection.execute(query).all())


def of_run(connection: Connection, run_pk: int) -> list[CallbackEntry]:
    """Those that a run asked for: each time that it ended, and each time that it was not done in time."""
    query = select(REQUEST).where(REQUEST.c.run_pk == run_pk, REQUEST.c.scope == "dag").order_by(REQUEST.c.id)
    return _entries(connection, connection.execute(query).all())


def _entries(connection: Connection, rows: Sequence[Row[Any]]) -> list[CallbackEntry]:
    keys = {row.payload.get("run_pk") for row in rows}
    named = select(DagRun.id, DagRun.run_id).where(DagRun.id.in_(keys))
    run_ids = {row.id: row.run_id for row in connection.execute(named)} if keys else {}
    return [
        CallbackEntry(
            id=row.id,
            kind=row.kind,
            scope=row.scope,
            dag_id=row.dag_id,
            run_id=run_ids.get(row.payload.get("run_pk")),
            task_id=row.payload.get("task_id"),
            try_number=row.payload.get("try_number"),
            state=row.state,
            attempts=row.attempts,
            failures=row.failures,
            due_at=row.due_at,
            created_at=row.created_at,
            done_at=row.done_at,
            error=row.error,
            output=row.output,
            log_path=row.log_path,
        )
        for row in rows
    ]
