"""Attempts that somebody else's decision ends: their run timed out, or a person cleared or marked their task.

1. The decision is written on the running row as its ``ending``; the attempt keeps its token, its slots and its owner.
2. The owner's scheduler (or the owner itself, where its scheduler is dead) finds it and sends TERM, then KILL.
3. ``finish()`` meets the ending on the row, whatever the attempt reports and whoever reports it, and writes what was
   decided. So no second attempt begins before the first has ended, and pools are never overdrawn.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sqlalchemy import bindparam, select, update

from engine.metastore.database import Tx
from engine.metastore.one_of import one_of
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]


class Ending(StrEnum):
    """What becomes of a running task instance whose attempt is being ended."""

    TIMED_OUT = "timed_out"  # its run did: it ends as skipped, as in Airflow
    RESTART = "restart"  # it was cleared: it begins anew
    RUN_FAILED = "run_failed"  # a person marked its run as failed
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"

    @classmethod
    def read(cls, stored: str) -> Ending:
        """A newer version beside this one may ask for others: whatever they mean, the attempt ends, and fails."""
        return cls(stored) if stored in {known.value for known in cls} else cls.FAILED

    @property
    def state(self) -> TaskState:
        """The state that ``finish()`` writes."""
        match self:
            case Ending.TIMED_OUT:
                return TaskState.SKIPPED
            case Ending.RESTART:
                return TaskState.UP_FOR_RETRY
            case Ending.RUN_FAILED:
                return TaskState.FAILED
            case _:
                return TaskState(self.value)

    @property
    def time_limit(self) -> str | None:
        """The limit that skipped the task, in words, where one did."""
        return "its run went on for longer than its dagrun_timeout" if self is Ending.TIMED_OUT else None

    @property
    def sentence(self) -> str:
        """Why the attempt was ended, for people."""
        match self:
            case Ending.TIMED_OUT:
                return "ended because its run timed out"
            case Ending.RESTART:
                return "ended because the task was cleared while it ran"
            case Ending.RUN_FAILED:
                return "ended because its run was marked as failed"
            case _:
                return f"ended because the task was marked as {self.value} while it ran"


_REQUESTED: Final = (
    select(TI.c.token, TI.c.ending).where(TI.c.owner == bindparam("owner"), TI.c.ending.is_not(None)).order_by(TI.c.id)
)
_REQUEST: Final = (
    update(TI).where(one_of(TI.c.id, "ids"), TI.c.state == TaskState.RUNNING).values(ending=bindparam("b_ending"))
)


def requested(tx: Tx, owner: str) -> dict[str, str]:
    """The attempts that `owner` is to end: token → why, in one sentence."""
    return {row.token: Ending.read(row.ending).sentence for row in tx.connection.execute(_REQUESTED, {"owner": owner})}


def request(tx: Tx, ids: list[int], ending: Ending) -> None:
    """Ask for the end of running task instances, whose rows the caller has locked."""
    if ids:
        tx.connection.execute(_REQUEST, {"ids": ids, "b_ending": ending})
