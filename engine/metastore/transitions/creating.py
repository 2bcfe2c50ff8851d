"""New runs, queued: of timetables and backfills, and those that somebody asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from engine.authoring import params
from engine.authoring.serialized import SerializedDag, decode_dag
from engine.authoring.timetables import manual_interval
from engine.metastore import sla
from engine.metastore.database import Tx
from engine.metastore.errors import Duplicate, NotFound, Refused
from engine.metastore.states import RunState, RunType
from engine.metastore.tables import Base, Dag, DagRun, DagVersion

RUN: Final = Base.metadata.tables[DagRun.__tablename__]
_RUN_ID: Final = re.compile(r"[A-Za-z0-9_.:+~@,-]{1,250}")


def insert_run(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Insert a queued run; False when its run_id or its logical date is taken. `values` are DagRun's columns."""
    row = {"state": RunState.QUEUED, "queued_at": tx.now, "unfinished": 0, "conf": {}, **values}
    return tx.dialect.insert_new(tx.connection, RUN, row)


def create_run(
    tx: Tx,
    dag_id: str,
    run_type: RunType = RunType.MANUAL,
    *,
    run_id: str | None = None,
    logical_date: datetime | None = None,
    conf: Mapping[str, Any] | None = None,
    triggered_by: str | None = None,
) -> str:
    """Queue a run that somebody asks for; returns its run_id.

    Without a logical date the run's is now. Its data interval is the last complete one before the logical date, as in
    Airflow. Raises Refused for a run_id that cannot be one and for params that `conf` leaves wrong, NotFound for a DAG
    that is not there, Duplicate where the run_id or the logical date is taken.
    """
    if run_id is not None and not _is_run_id(run_id):
        raise Refused(
            f"{run_id[:80]!r} is no run id: a run id has 1 to 250 letters, digits and any of - _ . : + ~ @ , "
            "and is not . or .."
        )
    statement = select(Dag.version, DagVersion.data).join(
        DagVersion, (DagVersion.dag_id == Dag.dag_id) & (DagVersion.version == Dag.version)
    )
    statement = statement.where(Dag.dag_id == dag_id, Dag.is_active.is_(True))
    if tx.dialect.locks_rows:  # a DAG that is deleted meanwhile waits for this run and sees it, or is gone by now
        statement = statement.with_for_update(read=True, key_share=True)
    found = tx.connection.execute(statement).first()
    if found is None:
        raise NotFound(f"there is no DAG {dag_id!r}")
    dag = decode_dag(found.data)
    _check_params(dag, conf or {})
    moment = logical_date or tx.now
    interval = manual_interval(dag.schedule, moment)
    run_id = f"{run_type}__{moment.isoformat()}" if run_id is None else run_id
    values = {
        "dag_id": dag_id,
        "run_id": run_id,
        "run_type": run_type,
        "version": found.version,
        "logical_date": moment,
        "data_interval_start": interval.start,
        "data_interval_end": interval.end,
        "run_after": tx.now,
        "conf": dict(conf or {}),
        "triggered_by": triggered_by,
    }
    if not insert_run(tx, values):
        raise Duplicate(f"DAG {dag_id!r} already has a run {run_id!r}, or one with logical date {moment.isoformat()}")
    sla.promise(tx, [sla.Made(dag, values)])
    return run_id


def _check_params(dag: SerializedDag, conf: Mapping[str, Any]) -> None:
    try:
        params.validate(dag.param_schemas, {**dag.params, **conf})
    except params.ParamValidationError as error:
        raise Refused(f"DAG {dag.dag_id!r} refuses this conf. {error}") from error


def _is_run_id(text: str) -> bool:
    """Whether it can stand in a URL, a path and a command as it is."""
    return _RUN_ID.fullmatch(text) is not None and text not in (".", "..")
