"""Attempts that end while they wait: a sensor gave its slot back, and somebody decides that it shall not look again.

A reschedule ends no attempt, so whatever ends one later writes it down: its last poke as a rule, and this module where
a clear, a mark or a time-out takes the task instance away in between.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Row

from engine.metastore.advance import changed
from engine.metastore.changes import TaskChange
from engine.metastore.database import Tx
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, TaskAttempt

_ATTEMPT: Final = Base.metadata.tables[TaskAttempt.__tablename__]


def break_off(tx: Tx, rows: Iterable[Row[Any]], state: TaskState, why: str) -> list[TaskChange]:
    """Write the attempts of those rows that are between two pokes, as they were before; returns these attempts."""
    waiting = [row for row in rows if row.sensing_since is not None]
    if not waiting:
        return []
    outcome = Outcome(Cause.ENDED, error=why)
    tx.dialect.insert_rows(tx.connection, _ATTEMPT, [_attempt(row, state, why, tx) for row in waiting])
    return [changed(row, state, outcome=outcome, start_date=row.sensing_since, end_date=tx.now) for row in waiting]


def _attempt(row: Row[Any], state: TaskState, why: str, tx: Tx) -> dict[str, Any]:
    return {
        "ti_id": row.id,
        "try_number": row.try_number,
        "token": row.token or str(uuid.uuid4()),  # it gave its own back with its slot
        "owner": row.owner or "",
        "hostname": "",
        "state": state,
        "cause": Cause.ENDED,
        "exit_code": None,
        "signal": None,
        "error": why,
        "start_date": row.sensing_since,
        "end_date": tx.now,
    }
