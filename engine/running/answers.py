"""What the metastore answers to attempts: XCom values, how other DAGs' runs stand, runs that tasks trigger.

Asked by the scheduler for its supervisor's attempts, and by a supervisor whose scheduler has died. An error of the
database itself is raised, so that the question is kept and asked again; one that the question is to blame for becomes
its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from engine.authoring.serialized import decode_dag
from engine.metastore import xcoms
from engine.metastore.by_hand import perform
from engine.metastore.changes import Changes
from engine.metastore.clearing import select_instances
from engine.metastore.errors import AccessDenied, Duplicate, MetastoreError, NotFound, Unreachable
from engine.metastore.ledger import Ledger
from engine.metastore.states import RunState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Base, Dag, DagRun, DagVersion, TaskInstance
from engine.metastore.transitions.creating import create_run
from engine.running.messages import AnyAsk, Ask, RunsAsk, TriggerAsk

_RUN: Final = Base.metadata.tables[DagRun.__tablename__]

Values = dict[str, str]


def answer(store: Store, asks: Sequence[AnyAsk], base_url: str) -> Iterator[Values]:
    """The values for each question, in their order. `base_url` is where the pages are, for what is told of a change.

    What is read is read at once. What changes something is done when its answer is taken, each in a transaction of its
    own: where one raises, those that were taken before are answered, and must not be asked again.
    """
    with store.read() as connection:
        read = [None if isinstance(ask, TriggerAsk) else _read(connection, ask) for ask in asks]
    for ask, values in zip(asks, read, strict=True):
        yield _trigger(store, ask, base_url) if isinstance(ask, TriggerAsk) else values or {}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _read(connection: Connection, ask: Ask | RunsAsk) -> Values:
    if isinstance(ask, Ask):
        find = xcoms.pull_prior if ask.prior else xcoms.pull
        return find(connection, ask.dag_id, ask.run_id, ask.task_ids, ask.key)
    return {"states": _json(_states(connection, ask)), "missing": _json(_missing(connection, ask))}


def _states(connection: Connection, ask: RunsAsk) -> list[str | None]:
    runs = (DagRun.dag_id == ask.dag_id) & DagRun.logical_date.in_(ask.logical_dates)
    if not ask.task_ids:
        return list(connection.execute(select(DagRun.state).where(runs)).scalars())
    statement = select(TaskInstance.state).join(DagRun, DagRun.id == TaskInstance.run_pk)
    return list(connection.execute(statement.where(runs, TaskInstance.task_id.in_(ask.task_ids))).scalars())


def _missing(connection: Connection, ask: RunsAsk) -> list[str]:
    statement = (
        select(DagVersion.data)
        .join(Dag, (Dag.dag_id == DagVersion.dag_id) & (Dag.version == DagVersion.version))
        .where(Dag.dag_id == ask.dag_id, Dag.is_active.is_(True))
    )
    data = connection.execute(statement).scalar()
    if data is None:
        return [ask.dag_id]
    known = decode_dag(data).by_id
    return [task_id for task_id in ask.task_ids if task_id not in known]


def _trigger(store: Store, ask: TriggerAsk, base_url: str) -> Values:
    found: list[tuple[str, str]] = []

    def work(ledger: Ledger, tx: Tx) -> Changes | None:
        changes, run = _reset(ledger, tx, ask)
        found[:] = [run or _run_of(tx, ask)]
        return changes

    try:
        perform(store, base_url, work)
    except Duplicate as error:
        return {"error": _json(str(error)), "exists": _json(ask.run_id)}
    except (Unreachable, AccessDenied):
        raise
    except (MetastoreError, SQLAlchemyError) as error:
        if not isinstance(error, MetastoreError) and store.is_passing(error):
            raise
        return {"error": _json(str(error).partition("\n")[0])}
    ((run_id, state),) = found
    return {"run_id": _json(run_id), "state": _json(state)}


def _reset(ledger: Ledger, tx: Tx, ask: TriggerAsk) -> tuple[Changes | None, tuple[str, str] | None]:
    """Take the run that is there, or clear it, as the question says; no run where there is none, or it is refused."""
    same = _RUN.c.run_id == ask.run_id
    if ask.logical_date is not None:
        same |= _RUN.c.logical_date == ask.logical_date
    statement = select(_RUN.c.id, _RUN.c.run_id).where(_RUN.c.dag_id == ask.dag_id, same).order_by(_RUN.c.id)
    run = None if ask.existing == "refuse" else tx.connection.execute(statement).first()
    if run is None:
        return None, None
    changes = None
    if ask.existing == "clear":
        if not tx.connection.execute(select(Dag.is_active).where(Dag.dag_id == ask.dag_id)).scalar():
            raise NotFound(f"there is no DAG {ask.dag_id!r}")
        changes = ledger.clear(
            tx, [row.id for row in select_instances(tx.connection, ask.dag_id, None, run_id=run.run_id)]
        )
    state = tx.connection.execute(select(_RUN.c.state).where(_RUN.c.id == run.id)).scalar_one()
    return changes, (run.run_id, state)


def _run_of(tx: Tx, ask: TriggerAsk) -> tuple[str, str]:
    """The run that this question's origin has made before, or a new one.

    The run_id is the origin's own: an attempt that died after its run was made finds that one again. Where `anew` lets
    one that failed be followed by another, they are run_id, run_id__2, run_id__3 …, and the last of them counts.
    """
    run_id, last, number = ask.run_id, None, 1
    while found := _found(tx, ask.dag_id, run_id):
        if found.triggered_by != ask.origin:
            raise Duplicate(f"DAG {ask.dag_id!r} already has a run {run_id!r}, which somebody else made")
        last = (run_id, str(found.state))
        number += 1
        run_id = f"{ask.run_id}__{number}"
    if last and not (ask.anew and last[1] == RunState.FAILED):
        return last
    more: dict[str, Any] = {"run_id": run_id, "conf": ask.conf, "triggered_by": ask.origin}
    return create_run(tx, ask.dag_id, logical_date=ask.logical_date, **more), RunState.QUEUED


def _found(tx: Tx, dag_id: str, run_id: str) -> Any:
    statement = select(_RUN.c.state, _RUN.c.triggered_by).where(_RUN.c.dag_id == dag_id, _RUN.c.run_id == run_id)
    return tx.connection.execute(statement).first()
