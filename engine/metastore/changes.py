"""What a transition changed: plain records for whoever announces, measures or logs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.metastore.outcome import Outcome
from engine.metastore.states import RunState, TaskState

if TYPE_CHECKING:
    from engine.metastore.sla_missed import Wave


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What never changes about a run once it runs."""

    id: int
    dag_id: str
    run_id: str
    run_type: str
    version: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    queued_at: datetime
    start_date: datetime
    conf: dict[str, Any]
    clears: int = 0  # how often it was begun anew after its end
    lane: str | None = None

    @property
    def budget(self) -> str:
        """The name of the budget that its slot is taken from: its backfill's or its DAG's."""
        return self.lane or self.dag_id


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that claim() gave to an owner: it is charged, and start() must come before its process."""

    ti_id: int
    run: RunFacts
    task_id: str
    map_index: int
    token: str
    try_number: int
    max_tries: int
    sensing_since: datetime | None = None  # when this attempt began, where it was rescheduled before


@dataclass(frozen=True, slots=True)
class Finished:
    """An owner's report: the attempt with this token ended so, on that host, and that long before it is written."""

    token: str
    outcome: Outcome
    hostname: str
    ago: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task instance took a state. `outcome` is None where no attempt ran (skipped, upstream_failed, empty)."""

    ti_id: int
    run_pk: int
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    operator: str
    queue: str
    state: TaskState
    try_number: int
    max_tries: int
    outcome: Outcome | None = None
    hostname: str | None = None
    owner: str | None = None  # of the attempt that ended
    scheduled_at: datetime | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    retry_at: datetime | None = None
    time_limit: str | None = None  # the sentence of the time limit that skipped it
    by_hand: bool = False  # somebody gave it this state, and nothing ran
    abandoned: bool = False  # skipped because its run was ended


@dataclass(frozen=True, slots=True)
class RunChange:
    """A run took a state."""

    run: RunFacts
    state: RunState
    end_date: datetime | None = None
    failed_tasks: tuple[str, ...] = ()
    created: tuple[str, ...] = ()  # operators of the task instances that were made with it
    deadline: datetime | None = None  # of a run that begins: when it times out
    timed_out_after: timedelta | None = None  # of one that ends so
    stuck_tasks: tuple[str, ...] = ()  # of one that failed because these wait for tasks that it lacks
    by_hand: bool = False  # it had ended otherwise, and turned since somebody marked tasks of it

    @property
    def has_run(self) -> bool:
        """Not one that was begun anew and found at once that nothing in it can run."""
        return self.by_hand or not self.run.clears or self.end_date != self.run.start_date


@dataclass(slots=True)
class Changes:
    """All that one transaction changed, in order."""

    tasks: list[TaskChange] = field(default_factory=list)
    runs: list[RunChange] = field(default_factory=list)
    ended: list[TaskChange] = field(default_factory=list)  # attempts that are over; a reschedule ends none
    scheduled: int = 0  # task instances that became ready
    late: list[str] = field(default_factory=list)  # tokens whose report came after somebody else's decision
    unjudged: list[str] = field(default_factory=list)  # tokens whose DAG version cannot be read; report them again
    restarts: list[int] = field(default_factory=list)  # ids of cleared task instances whose attempt has ended
    missed: list[Wave] = field(default_factory=list)  # deadlines that had passed untold before they were renewed
    foreseen: bool = False  # a run began that may call back
    announced: int = 0  # alert events and callback requests written with them
    alerts: int = 0  # of `announced`, those that are known to be alert events

    def add(self, other: Changes) -> None:
        """Append what a later step of the same transaction changed."""
        self.tasks += other.tasks
        self.runs += other.runs
        self.ended += other.ended
        self.scheduled += other.scheduled
        self.late += other.late
        self.unjudged += other.unjudged
        self.restarts += other.restarts
        self.missed += other.missed
        self.foreseen = self.foreseen or other.foreseen
        self.announced += other.announced
        self.alerts += other.alerts
