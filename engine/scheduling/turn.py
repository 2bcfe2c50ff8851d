"""The record of one turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from engine.metastore.changes import Changes, Claimed, RunFacts
from engine.running.messages import AttemptOrder


@dataclass(slots=True)
class Turn:
    """What one transaction found and did."""

    now: datetime
    began: float  # this process's monotonic clock when it asked for `now`, the database's
    changes: Changes = field(default_factory=Changes)
    claimed: list[Claimed] = field(default_factory=list)
    orders: list[AttemptOrder] = field(default_factory=list)
    rescued: int = 0
    released: int = 0
    more: bool = False  # a bounded step may have left some: sweep again at once
    next_run: datetime | None = None
    claim_seconds: float = 0.0
    query_seconds: float = 0.0  # of claim_seconds, finding and taking what is ready
    decided: list[RunFacts] = field(default_factory=list)  # runs whose tasks ended
    decision_seconds: float = 0.0  # what was decided for all of them took this long
    to_end: dict[str, str] = field(default_factory=dict)  # our attempts that somebody's decision ends: token → why
    next_deadlines: list[datetime] = field(default_factory=list)  # of a dagrun_timeout, and of an SLA
    next_wait_over: datetime | None = None  # of a ready task with a task_queued_timeout
    adopted: int = 0  # attempts that go on under the supervisor of a dead scheduler
    looked_at_waits: bool = False  # for ready tasks that waited for too long
    looked_long: bool = False  # also for what hardly ever is there
    others: int = 0  # schedulers besides this one, as the last sweep saw them
    may_start: bool = False  # queued runs may have room now
