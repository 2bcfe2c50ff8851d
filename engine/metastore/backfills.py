"""Backfills: runs for a range of past intervals, with a limit of their own.

Somebody's command writes the backfill and queues its runs, all in one transaction; the schedulers run them like any
other, in the backfill's order. Each backfill has a *lane*: a budget of its max_active_runs, which its runs take from
instead of their DAG's, so neither holds up the other. As in Airflow 3 a backfill waits while its DAG is paused, and a
DAG has one backfill at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from engine.authoring.serialized import CronSchedule, DeltaSchedule, SerializedDag
from engine.authoring.timetables import DataInterval, next_interval
from engine.metastore import budgets, sla
from engine.metastore.changes import Changes
from engine.metastore.clearing import clear
from engine.metastore.database import Tx
from engine.metastore.errors import InUse, NotFound, Refused
from engine.metastore.graphs import Graphs
from engine.metastore.runs import Runs
from engine.metastore.states import FINAL_RUN_STATES, RunState, RunType
from engine.metastore.tables import Backfill, BackfillRun, Base, Budget, Dag, DagRun, TaskInstance
from engine.metastore.transitions.creating import insert_run

LONGEST: Final = 10_000  # intervals of one backfill
BACKFILL: Final = Base.metadata.tables[Backfill.__tablename__]
MEMBER: Final = Base.metadata.tables[BackfillRun.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]
TI: Final = Base.metadata.tables[TaskInstance.__tablename__]

_LIVE = (RunState.QUEUED, RunState.RUNNING)
_COMPLETE: Final = (
    update(BACKFILL)
    .where(
        BACKFILL.c.completed_at.is_(None),
        ~exists().where(RUN.c.backfill_id == BACKFILL.c.id, RUN.c.state.in_(_LIVE)),
    )
    .values(completed_at=bindparam("b_now"))
)


class Reprocess(StrEnum):
    """What happens to intervals whose run has ended already."""

    NONE = "none"  # they are left out
    FAILED = "failed"  # failed ones are run again
    COMPLETED = "completed"  # all are run again


class Plan(StrEnum):
    """What a backfill does with one interval. The values of those that are left out are stored as the reason."""

    NEW = "new"
    AGAIN = "again"
    EXISTS = "already exists"
    IN_FLIGHT = "in flight"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. Dates are logical dates, both included."""

    dag_id: str
    since: datetime
    until: datetime
    max_active_runs: int = 10
    reprocess: Reprocess = Reprocess.NONE
    backwards: bool = False
    conf: Mapping[str, Any] | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One interval of a backfill. `run_pk` is the run that is there already."""

    interval: DataInterval
    plan: Plan
    run_pk: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a backfill stands: how many of its runs are in which state."""

    id: int
    dag_id: str
    states: Mapping[str, int]
    left_out: int
    completed_at: datetime | None
    cancelled_at: datetime | None

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def ended(self) -> int:
        return sum(n for state, n in self.states.items() if state in FINAL_RUN_STATES)


def plan(tx: Tx, dag: SerializedDag, wish: Wish) -> list[Step]:
    """What a backfill would do, interval by interval, in its order. Raises Refused for what cannot be."""
    _check(dag, wish)
    intervals = _intervals(dag, wish, tx.now)
    if not intervals:
        raise Refused(_nothing_to_fill(dag, wish))
    there = _runs_there(tx.connection, dag.dag_id, intervals)
    steps = [Step(one, *_choose(there.get(one.start), wish.reprocess)) for one in intervals]
    return steps[::-1] if wish.backwards else steps


def _nothing_to_fill(dag: SerializedDag, wish: Wish) -> str:
    if dag.start_date and wish.until < dag.start_date:
        return f"DAG {dag.dag_id!r} starts at {_utc(dag.start_date)}, after that range; choose one from there on"
    if dag.end_date and wish.since > dag.end_date:
        return f"DAG {dag.dag_id!r} ends at {_utc(dag.end_date)}, before that range; choose one up to there"
    return (
        f"DAG {dag.dag_id!r} has no complete interval between {wish.since.isoformat()} and {wish.until.isoformat()}; "
        "choose a range in which its schedule comes due"
    )


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _check(dag: SerializedDag, wish: Wish) -> None:
    if not isinstance(dag.schedule, (CronSchedule, DeltaSchedule)):
        raise Refused(f"DAG {dag.dag_id!r} has no periodic schedule, so there are no intervals to fill")
    if wish.since > wish.until:
        raise Refused(f"the range begins at {wish.since.isoformat()}, after its end {wish.until.isoformat()}")
    if wish.max_active_runs < 1:
        raise Refused("max_active_runs of a backfill must be 1 or more")
    if wish.backwards and any(task.depends_on_past for task in dag.tasks):
        raise Refused(
            f"DAG {dag.dag_id!r} has tasks with depends_on_past, which cannot run backwards; leave out --run-backwards"
        )


def _intervals(dag: SerializedDag, wish: Wish, now: datetime) -> list[DataInterval]:
    """Complete intervals of the range, oldest first. Raises Refused where there are too many."""
    found: list[DataInterval] = []
    last = None
    while True:
        # The schedule's own walk with catch-up, begun at the range instead of at the start date.
        following = next_interval(dag.schedule, _beginning(dag, wish), dag.end_date, True, last, now)
        if following is None or following.interval.start > wish.until or following.interval.end > now:
            return found
        if len(found) >= LONGEST:
            raise Refused(f"the range has more than {LONGEST:,} intervals; fill it in pieces")
        last = following.interval
        if last.start >= wish.since:
            found.append(last)


def _beginning(dag: SerializedDag, wish: Wish) -> datetime:
    # A timedelta's ticks are counted from the start date, so that must stay what it is.
    if isinstance(dag.schedule, DeltaSchedule) and dag.start_date:
        seconds = dag.schedule.seconds
        steps = max(0, int((wish.since - dag.start_date).total_seconds() // seconds))
        return datetime.fromtimestamp(dag.start_date.timestamp() + steps * seconds, wish.since.tzinfo)
    return max(wish.since, dag.start_date) if dag.start_date else wish.since


def _runs_there(
    connection: Connection, dag_id: str, intervals: list[DataInterval]
) -> dict[datetime, tuple[int, RunState]]:
    statement = select(RUN.c.logical_date, RUN.c.id, RUN.c.state).where(
        RUN.c.dag_id == dag_id,
        RUN.c.logical_date >= intervals[0].start,
        RUN.c.logical_date <= intervals[-1].start,
    )
    return {row.logical_date: (row.id, RunState(row.state)) for row in connection.execute(statement)}


def _choose(there: tuple[int, RunState] | None, reprocess: Reprocess) -> tuple[Plan, int | None]:
    if there is None:
        return Plan.NEW, None
    run_pk, state = there
    if state not in FINAL_RUN_STATES:
        return Plan.IN_FLIGHT, run_pk
    wanted = reprocess == Reprocess.COMPLETED or (reprocess == Reprocess.FAILED and state == RunState.FAILED)
    return (Plan.AGAIN if wanted else Plan.EXISTS), run_pk


def lane_of(backfill_id: int) -> str:
    """The name of a backfill's budget; no DAG can be called so."""
    return f"backfill/{backfill_id}"


def create(tx: Tx, graphs: Graphs, wish: Wish) -> tuple[int, Changes]:
    """Begin a backfill: its row, its budget and all its runs. Returns its id. Wake the scheduler afterwards.

    Raises NotFound for a DAG that is not there, InUse where one of the DAG's is under way, Refused for what cannot be.
    """
    newest = select(Dag.version).where(Dag.dag_id == wish.dag_id, Dag.is_active.is_(True))
    # Locked, so that two who ask at once do not both begin.
    version = tx.connection.execute(newest.with_for_update() if tx.dialect.locks_rows else newest).scalar()
    if version is None:
        raise NotFound(f"there is no DAG {wish.dag_id!r}")
    complete(tx)  # the schedulers' next sweep may be seconds away
    if (other := open_backfill(tx.connection, wish.dag_id)) is not None:
        raise InUse(
            f"backfill {other} of DAG {wish.dag_id!r} is under way; wait for its end, or cancel it: "
            f"windsock dags backfill {wish.dag_id} --cancel"
        )
    steps = plan(tx, graphs.get(tx.connection, wish.dag_id, version).dag, wish)
    backfill_id = _insert(tx, wish)
    lane = {"kind": budgets.DAG_RUNS, "name": lane_of(backfill_id), "slots": wish.max_active_runs, "used": 0}
    tx.connection.execute(tx.dialect.insert_ignore(Base.metadata.tables[Budget.__tablename__]).values(lane))
    members = [_member(tx, wish, version, backfill_id, n, step) for n, step in enumerate(steps, 1)]
    tx.dialect.insert_rows(tx.connection, MEMBER, members)
    dag = graphs.get(tx.connection, wish.dag_id, version).dag
    made = zip(steps, members, strict=True)
    new = [step.interval for step, member in made if step.plan == Plan.NEW and member["run_pk"] is not None]
    sla.promise(tx, [sla.Made(dag, _columns(wish, version, backfill_id, interval)) for interval in new])
    again = [step.run_pk for step in steps if step.plan == Plan.AGAIN]
    return backfill_id, _run_again(tx, graphs, backfill_id, [pk for pk in again if pk is not None])


def _insert(tx: Tx, wish: Wish) -> int:
    values = {
        "dag_id": wish.dag_id,
        "from_date": wish.since,
        "to_date": wish.until,
        "max_active_runs": wish.max_active_runs,
        "reprocess": wish.reprocess,
        "is_backwards": wish.backwards,
        "conf": dict(wish.conf or {}),
        "created_by": wish.created_by,
        "created_at": tx.now,
    }
    made = tx.connection.execute(insert(BACKFILL).values(values))
    if made.inserted_primary_key is None:
        raise RuntimeError("the database gave the backfill no id")
    return int(made.inserted_primary_key[0])


def _member(tx: Tx, wish: Wish, version: str, backfill_id: int, position: int, step: Step) -> dict[str, Any]:
    member = {"backfill_id": backfill_id, "position": position, "logical_date": step.interval.start}
    match step.plan:
        case Plan.NEW:
            run_pk = _new_run(tx, wish, version, backfill_id, step.interval)
            return member | {"run_pk": run_pk, "reason": None if run_pk else Plan.IN_FLIGHT}
        case Plan.AGAIN:
            return member | {"run_pk": step.run_pk, "reason": None}
        case _:
            return member | {"run_pk": None, "reason": step.plan}


def _new_run(tx: Tx, wish: Wish, version: str, backfill_id: int, interval: DataInterval) -> int | None:
    """Queue a run; None where another was made for that interval just now."""
    values = _columns(wish, version, backfill_id, interval) | {"run_after": tx.now}
    if not insert_run(tx, values):
        return None
    mine = select(RUN.c.id).where(RUN.c.dag_id == wish.dag_id, RUN.c.run_id == values["run_id"])
    return int(tx.connection.execute(mine).scalar_one())


def _columns(wish: Wish, version: str, backfill_id: int, interval: DataInterval) -> dict[str, Any]:
    return {
        "dag_id": wish.dag_id,
        "run_id": f"{RunType.BACKFILL}__{interval.start.isoformat()}",
        "run_type": RunType.BACKFILL,
        "version": version,
        "logical_date": interval.start,
        "data_interval_start": interval.start,
        "data_interval_end": interval.end,
        "conf": dict(wish.conf or {}),
        "triggered_by": wish.created_by,
        "lane": lane_of(backfill_id),
        "backfill_id": backfill_id,
    }


def _run_again(tx: Tx, graphs: Graphs, backfill_id: int, run_pks: list[int]) -> Changes:
    """Clear runs that ended; they keep their conf and take their slot from the backfill's lane."""
    if not run_pks:
        return Changes()
    ids = tx.connection.execute(select(TI.c.id).where(TI.c.run_pk.in_(run_pks))).scalars().all()
    changes = clear(tx, graphs, Runs(), ids)
    move = update(RUN).where(RUN.c.id.in_(run_pks), RUN.c.state == RunState.QUEUED)
    tx.connection.execute(move.values(backfill_id=backfill_id, lane=lane_of(backfill_id)))
    return changes


def open_backfill(connection: Connection, dag_id: str) -> int | None:
    """The DAG's backfill that is under way."""
    statement = select(BACKFILL.c.id).where(BACKFILL.c.dag_id == dag_id, BACKFILL.c.completed_at.is_(None))
    return connection.execute(statement.order_by(BACKFILL.c.id).limit(1)).scalar()


def complete(tx: Tx) -> int:
    """Say of backfills that their last run has ended; returns how many."""
    return tx.connection.execute(_COMPLETE, {"b_now": tx.now}).rowcount


def cancel(tx: Tx, backfill_id: int) -> int:
    """Start no more runs of a backfill: those that never began are dropped; what runs goes on. Returns how many.

    A run that was to run again stays queued: its old states are gone, and only a run can say how it ends.
    """
    never = select(RUN.c.id).where(RUN.c.backfill_id == backfill_id, RUN.c.state == RunState.QUEUED, RUN.c.clears == 0)
    ids = tx.connection.execute(never.with_for_update() if tx.dialect.locks_rows else never).scalars().all()
    if ids:
        tx.connection.execute(update(MEMBER).where(MEMBER.c.run_pk.in_(ids)).values(run_pk=None, reason="cancelled"))
        tx.connection.execute(delete(RUN).where(RUN.c.id.in_(ids)))
    said = update(BACKFILL).where(BACKFILL.c.id == backfill_id, BACKFILL.c.cancelled_at.is_(None))
    tx.connection.execute(said.values(cancelled_at=tx.now))
    return len(ids)


def progress(connection: Connection, backfill_id: int) -> Progress:
    """Where a backfill stands."""
    one = connection.execute(select(BACKFILL).where(BACKFILL.c.id == backfill_id)).one()
    joined = select(RUN.c.state, func.count()).join(MEMBER, MEMBER.c.run_pk == RUN.c.id)
    counted = connection.execute(joined.where(MEMBER.c.backfill_id == backfill_id).group_by(RUN.c.state))
    states = {row[0]: row[1] for row in counted}
    left_out = select(func.count()).where(MEMBER.c.backfill_id == backfill_id, MEMBER.c.run_pk.is_(None))
    return Progress(
        one.id, one.dag_id, states, connection.execute(left_out).scalar_one(), one.completed_at, one.cancelled_at
    )
