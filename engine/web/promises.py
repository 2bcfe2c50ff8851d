"""Which runs have missed which of their SLAs, or are about to: what the pages mark, and the alert that told it.

A miss and its alert are written in one transaction, so ``missed_at`` of the one is ``occurred_at`` of the other. A
warning has no row of its own beside the alert: it stands while what it names is open. Without a warning a deadline is
at risk from ``at_risk_at`` on, like the metric of that name and the alert WindsockSlaAtRisk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Connection, Row, case, select

from alerting.events import decode
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine.metastore.sla import SLA, THE_RUN

_MOST_ALERTS: Final = 1_000
_e = alert_event.c
# An expression, so that no index of states leads SQLite through every miss that there ever was.
_STATE: Final = SLA.c.state.concat("")
_IS_UNKEPT: Final = (_STATE == "missed") | ((_STATE == "open") & SLA.c.completed_at.is_(None))
_IS_WARNING: Final = _e.kind == EventKind.SLA_AT_RISK.value


class Standing(StrEnum):
    """How a promise that is not kept stands; the worst first."""

    MISSED = "missed"  # and told
    PASSED = "passed"  # it is over, and no scheduler has told it yet
    AT_RISK = "at risk"


@dataclass(frozen=True, slots=True)
class Mark:
    """Promises of one run that stand alike. ``tasks`` may have THE_RUN; ``alert`` is the number of what told them."""

    standing: Standing
    tasks: tuple[str, ...]
    alert: int | None


class Life(Protocol):
    """What is asked of a run: a run that was begun anew is told of once more."""

    @property
    def id(self) -> int: ...
    @property
    def run_id(self) -> str: ...
    @property
    def clears(self) -> int: ...
    @property
    def queued_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class _Told:
    """The alerts about SLAs of some runs."""

    misses: Mapping[tuple[str, datetime], int]  # by run_id and moment
    warnings: Mapping[tuple[str, int], tuple[int, tuple[str, ...]]]  # by run_id and its life: number, tasks


_NOTHING: Final = _Told({}, {})


def has_unkept(run_pk: ColumnElement[int]) -> ColumnElement[bool]:
    """For a statement: whether a run has promises that are missed, or still open."""
    return select(SLA.c.id).where(SLA.c.run_pk == run_pk, _IS_UNKEPT).exists()


def has_missed(run_pk: ColumnElement[int]) -> ColumnElement[bool]:
    """For a statement: whether a run has missed a promise."""
    return select(SLA.c.id).where(SLA.c.run_pk == run_pk, _STATE == "missed").exists()


def marks(connection: Connection, dag_id: str, runs: Sequence[Life], now: datetime) -> dict[int, tuple[Mark, ...]]:
    """By the id of the run. At most two statements, and none without runs."""
    query = select(SLA).where(SLA.c.run_pk.in_([run.id for run in runs]), _IS_UNKEPT).order_by(SLA.c.due_at, SLA.c.id)
    deadlines = connection.execute(query).all() if runs else []
    told = _told(connection, dag_id, runs, deadlines) if deadlines else _NOTHING
    by_run = {run.id: run for run in runs}
    found: dict[int, list[Mark]] = {}
    for deadline in deadlines:
        if mark := _mark(deadline, by_run[deadline.run_pk], told, now):
            found.setdefault(deadline.run_pk, []).append(mark)
    return {run_pk: tuple(_together(ones)) for run_pk, ones in found.items()}


def by_task(found: Iterable[Mark]) -> dict[str, Mark]:
    """The worst mark of each task; the run's own under THE_RUN."""
    return {task: mark for mark in sorted(found, key=_worst_last) for task in mark.tasks}


def _worst_last(mark: Mark) -> int:
    return -list(Standing).index(mark.standing)


def _mark(deadline: Row[Any], run: Life, told: _Told, now: datetime) -> Mark | None:
    tasks = (deadline.task_id,)
    if deadline.state == "missed":
        return Mark(Standing.MISSED, tasks, told.misses.get((run.run_id, deadline.missed_at)))
    if deadline.due_at <= now:
        return Mark(Standing.PASSED, tasks, None)
    number, warned = told.warnings.get((run.run_id, run.clears), (None, ()))
    if deadline.task_id in warned:
        return Mark(Standing.AT_RISK, tasks, number)
    return Mark(Standing.AT_RISK, tasks, None) if deadline.at_risk_at <= now else None


def _together(ones: Iterable[Mark]) -> Iterable[Mark]:
    """Those that stand alike and were told together are one mark; the worst first."""

    def alike(mark: Mark) -> tuple[int, int]:
        return -_worst_last(mark), mark.alert or 0

    for _, group in groupby(sorted(ones, key=alike), alike):
        first, *rest = group
        tasks = dict.fromkeys((*first.tasks, *(task for mark in rest for task in mark.tasks)))
        yield Mark(first.standing, tuple(tasks), first.alert)


def _told(connection: Connection, dag_id: str, runs: Sequence[Life], deadlines: Sequence[Row[Any]]) -> _Told:
    """Served by ix_alert_event_dag_open: nothing ends an alert about an SLA.

    A run that was begun anew was queued anew, and has kept the misses of the tasks that were not cleared.
    """
    since = min([run.queued_at for run in runs] + [one.missed_at for one in deadlines if one.missed_at])
    query = (
        select(_e.id, _e.run_id, _e.kind, _e.try_number, _e.occurred_at)
        .add_columns(case((_IS_WARNING, _e.payload), else_=None).label("payload"))
        .where(_e.dag_id == dag_id, _e.kind.in_([EventKind.SLA_MISSED.value, EventKind.SLA_AT_RISK.value]))
        .where(_e.ended_by.is_(None), _e.occurred_at >= since)
        .where(_e.run_id.in_([run.run_id for run in runs]))
        .order_by(_e.occurred_at.desc())
        .limit(_MOST_ALERTS)
    )
    rows = connection.execute(query).all()
    misses = {(row.run_id, row.occurred_at): row.id for row in rows if row.kind == EventKind.SLA_MISSED}
    warnings = {
        (row.run_id, (row.try_number or 1) - 1): (row.id, _warned(row.payload))
        for row in rows
        if row.kind == EventKind.SLA_AT_RISK
    }
    return _Told(misses, warnings)


def _warned(payload: str) -> tuple[str, ...]:
    """The tasks that a warning names; it names none where it is about the run alone."""
    event = decode(payload)
    return (event.missed if event else ()) or (THE_RUN,)
