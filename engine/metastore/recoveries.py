"""What is well again: a task whose failure was told, and a DAG of which a run's failure was.

Nothing of this costs an ordinary success a statement. Only a success of a later attempt, or one by hand of a task that
has run, may end a told failure; its earlier events are then found by their keys. A DAG whose runs fail has a row
(:mod:`alerting.troubles`), so the successful runs of a transaction cost one look together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, select

from alerting import troubles
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine.metastore.changes import RunChange, TaskChange
from engine.metastore.states import RunState, TaskState

_NO_MATTER: Final = datetime.min.replace(tzinfo=UTC)
_LOOKED_BACK: Final = 50  # attempts, of a task that was tried and cleared without end
_KINDS: Final = (EventKind.TASK_FAILED, EventKind.TASK_RETRY, EventKind.TASK_RECOVERED)


def recovered_tasks(connection: Connection, changes: Iterable[TaskChange]) -> dict[int, int]:
    """Task instances of which the last that was told is a failed attempt, and that have succeeded: id → that attempt.

    One statement where some may have, none otherwise.
    """
    keys = {key: place for change in changes if _may_have_recovered(change) for key, place in _told(change).items()}
    if not keys:
        return {}
    there = connection.execute(select(alert_event.c.dedup_key).where(alert_event.c.dedup_key.in_(sorted(keys))))
    told = sorted((keys[key] for key in there.scalars()), key=lambda place: place[:3])
    last = {ti_id: (kind, attempt) for ti_id, attempt, _, kind in told}
    return {ti_id: attempt for ti_id, (kind, attempt) in last.items() if kind is not EventKind.TASK_RECOVERED}


def _may_have_recovered(change: TaskChange) -> bool:
    has_run_before = change.try_number > (0 if change.by_hand else 1)
    return change.state == TaskState.SUCCESS and has_run_before


def _told(change: TaskChange) -> dict[str, tuple[int, int, int, EventKind]]:
    """The keys of all that may have been told of earlier attempts: (task instance, attempt, order, kind)."""
    last = change.try_number if change.by_hand else change.try_number - 1
    return {
        _event(kind, change, attempt).dedup_key: (change.ti_id, attempt, order, kind)
        for attempt in range(max(1, last - _LOOKED_BACK + 1), last + 1)
        for order, kind in enumerate(_KINDS)
    }


def _event(kind: EventKind, change: TaskChange, attempt: int) -> AlertEvent:
    return AlertEvent(
        kind=kind,
        occurred_at=_NO_MATTER,  # the key of an event of a run does not hold it
        dag_id=change.dag_id,
        run_id=change.run_id,
        task_id=change.task_id,
        map_index=change.map_index,
        try_number=attempt,
    )


def recovered_dags(connection: Connection, now: datetime, changes: Sequence[RunChange]) -> Mapping[str, RunChange]:
    """DAGs of which a run's failure was told and of which a run has now succeeded, with that run.

    Notes the failures, and takes the notes away: so of several schedulers one tells it.
    """
    ill = {change.run.dag_id for change in changes if change.state == RunState.FAILED}
    well = {
        change.run.dag_id: change
        for change in changes
        if change.state == RunState.SUCCESS and change.run.dag_id not in ill
    }
    recovered = {}
    for dag_id in sorted(ill.union(troubles.known(connection, EventKind.RUN_FAILED, well))):
        if dag_id in ill:
            troubles.begin(connection, now, EventKind.RUN_FAILED, dag_id)
        elif troubles.end_one(connection, EventKind.RUN_FAILED, dag_id):
            recovered[dag_id] = well[dag_id]
    return recovered
