"""Telling what a person marked from what ran: its state is not that in which its last attempt ended."""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, or_

from engine.metastore.outcome import Cause
from engine.metastore.states import TaskState
from engine.metastore.tables import TaskAttempt, TaskInstance

LAST_ATTEMPT: Final = and_(TaskAttempt.ti_id == TaskInstance.id, TaskAttempt.try_number == TaskInstance.try_number)
"""For an outer join of the attempts to the task instances: by their primary key."""
IS_NO_MEASURE: Final = or_(
    and_(TaskInstance.state == TaskState.SUCCESS, TaskInstance.start_date.is_(None)),
    and_(
        TaskInstance.state.in_((TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED)),
        or_(TaskAttempt.state != TaskInstance.state, TaskAttempt.cause == Cause.ENDED),
    ),
)
"""Whether its times say nothing of how long it takes: it was marked, before or while it ran, or ended from outside."""


def marked_words(state: str | None, ended_as: str | None, *, has_begun: bool) -> str | None:
    """That a task instance was marked: it never began, or its last attempt ended in another state.

    Skipped may also be what follows from others, or what is left of a run that was ended.
    """
    ended_otherwise = ended_as not in (None, state)
    match state:
        case TaskState.SUCCESS if ended_otherwise or not has_begun:
            return "marked as successful"
        case TaskState.FAILED if ended_otherwise or (ended_as is None and not has_begun):
            return "marked as failed"
        case TaskState.SKIPPED if ended_otherwise and has_begun and ended_as != TaskState.UP_FOR_RETRY:
            return "marked as skipped"
        case _:
            return None
