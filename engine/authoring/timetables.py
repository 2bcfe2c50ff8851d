"""When a DAG runs: pure functions over a serialised schedule, with Airflow's data intervals.

A run covers a data interval; its logical date is the interval's start, and it is due when the interval has ended.
Every instant that goes in is aware, every instant that comes out is UTC.

Cron is read on the wall clock of its time zone, as Vixie cron does:

* A wall time that a change to summer time leaves out happens once, at the instant that would have borne that time
  (02:30 becomes 03:30).
* A wall time that a change to winter time repeats happens once, the first time; it happens both times where the hour
  field is ``*`` or ``*/n``, since such an author counts elapsed hours or minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, assert_never

from engine.authoring.schedules import PRESETS
from engine.authoring.serialized import (
    ContinuousSchedule,
    CronSchedule,
    DeltaSchedule,
    NoSchedule,
    OnceSchedule,
    Schedule,
)
from engine.authoring.zones import zone_named

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_ZERO = timedelta(0)


class DataInterval(NamedTuple):
    """What a run covers: from `start` (its logical date) up to, not including, `end`."""

    start: datetime
    end: datetime


class NextRun(NamedTuple):
    """The next run of a DAG and the instant from which it is due."""

    interval: DataInterval
    run_after: datetime


def next_interval(
    schedule: Schedule,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    last: DataInterval | None,
    now: datetime,
) -> NextRun | None:
    """The run that follows `last` (None: the DAG never ran by its schedule); None where no further run is due, ever.

    Without `catchup` intervals that ended before the latest complete one are passed over. Logical dates only ever
    grow, also when the author changes the schedule.
    """
    # In a gap or an overlap of its clock a local time equals no instant of another zone, and sums go by the wall.
    start_date, end_date = (moment and moment.astimezone(UTC) for moment in (start_date, end_date))
    match schedule:
        case NoSchedule():
            return None
        case OnceSchedule():
            start = None if last or start_date is None else start_date.astimezone(UTC)
            end = start
        case ContinuousSchedule():
            start = last.end if last else (start_date or now).astimezone(UTC)
            end = max(start, now)
            if end_date is not None and end > end_date:
                return None
        case CronSchedule() | DeltaSchedule():
            grid = _grid(schedule, start_date)
            start = _next_start(grid, start_date, catchup, last, now)
            end = grid.after(start) if start else None
        case _:
            assert_never(schedule)
    if start is None or end is None or (end_date is not None and start > end_date):
        return None
    return NextRun(DataInterval(start, end), end)


def manual_interval(schedule: Schedule, logical_date: datetime) -> DataInterval:
    """What a run started by hand at `logical_date` covers: the latest interval that was complete by then."""
    moment = logical_date.astimezone(UTC)
    match schedule:
        case CronSchedule():
            cron = _CronGrid(schedule)
            end = cron.at_or_before(moment)
            return DataInterval(cron.before(end), end)
        case DeltaSchedule():
            return DataInterval(moment - timedelta(seconds=schedule.seconds), moment)
        case OnceSchedule() | ContinuousSchedule() | NoSchedule():
            return DataInterval(moment, moment)
        case _:
            assert_never(schedule)


def _next_start(
    grid: _CronGrid | _DeltaGrid,
    start_date: datetime | None,
    catchup: bool,
    last: DataInterval | None,
    now: datetime,
) -> datetime | None:
    earliest = [grid.at_or_after(start_date)] if start_date else []
    if not catchup:
        earliest.append(grid.before(grid.at_or_before(now)))
    if last:
        earliest.append(_following(grid, last))
    return max(earliest, default=None)


def _following(grid: _CronGrid | _DeltaGrid, last: DataInterval) -> datetime:
    # A changed schedule may not know the instant at which the last interval ended: take the interval in which it
    # lies, unless that would turn logical dates back.
    aligned = grid.at_or_before(last.end)
    return aligned if aligned > last.start else grid.at_or_after(last.end)


def _grid(schedule: CronSchedule | DeltaSchedule, start_date: datetime | None) -> _CronGrid | _DeltaGrid:
    if isinstance(schedule, CronSchedule):
        return _CronGrid(schedule)
    return _DeltaGrid(schedule, start_date or datetime(1970, 1, 1, tzinfo=UTC))


class _DeltaGrid:
    """Equidistant instants through the start date."""

    def __init__(self, schedule: DeltaSchedule, origin: datetime) -> None:
        self._origin = origin.astimezone(UTC)
        self._step = timedelta(seconds=schedule.seconds)

    def at_or_before(self, moment: datetime) -> datetime:
        return self._origin + (moment.astimezone(UTC) - self._origin) // self._step * self._step

    def at_or_after(self, moment: datetime) -> datetime:
        below = self.at_or_before(moment)
        return below if below == moment else below + self._step

    def after(self, moment: datetime) -> datetime:
        return self.at_or_before(moment) + self._step

    def before(self, moment: datetime) -> datetime:
        return self.at_or_after(moment) - self._step


class _CronGrid:
    """The instants at which a cron expression comes true in its time zone."""

    def __init__(self, schedule: CronSchedule) -> None:
        self._expression = PRESETS.get(schedule.expression, schedule.expression)
        self._zone = zone_named(schedule.timezone)
        self._counts_hours = self._expression.split()[1].startswith("*")

    def at_or_before(self, moment: datetime) -> datetime:
        return self.before(moment + _TICK)

    def at_or_after(self, moment: datetime) -> datetime:
        return self.after(moment - _TICK)

    def after(self, moment: datetime) -> datetime:
        return self._nearest(moment.astimezone(UTC), forward=True)

    def before(self, moment: datetime) -> datetime:
        return self._nearest(moment.astimezone(UTC), forward=False)

    def _nearest(self, moment: datetime, *, forward: bool) -> datetime:
        """The first instant strictly after (or before) `moment`.

        Around a change of the clock, the order of wall times is not the order of instants. So the walk over wall
        times begins earlier by the size of the change (zero on all other days), and goes on for as long after the
        first hit; the nearest of the hits is it.
        """
        sign = 1 if forward else -1
        slack = _clock_change(moment, self._zone)
        wall = moment.astimezone(self._zone).replace(tzinfo=None)
        hits: list[datetime] = []
        horizon: datetime | None = None
        for time in self._walk(wall - sign * (slack + _TICK), forward=forward):
            if horizon is not None and (time - horizon) * sign > _ZERO:
                break
            hits += [hit for hit in self._instants(time) if (hit - moment) * sign > _ZERO]
            if hits and horizon is None:
                horizon = time + sign * (slack + _clock_change(hits[0], self._zone))
                if horizon == time:
                    break
        return min(hits) if forward else max(hits)

    def _walk(self, start: datetime, *, forward: bool) -> Iterator[datetime]:
        from croniter import croniter

        times = croniter(self._expression, start, ret_type=datetime)
        step = times.get_next if forward else times.get_prev
        while True:
            yield step()

    def _instants(self, wall: datetime) -> tuple[datetime, ...]:
        first = wall.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
        second = wall.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return (first, second) if self._counts_hours and second > first else (first,)


def _clock_change(moment: datetime, zone: tzinfo) -> timedelta:
    """By how much the clock is changed within a day of `moment`."""
    offsets = [(moment + shift).astimezone(zone).utcoffset() or _ZERO for shift in (-_DAY, _ZERO, _DAY)]
    return max(offsets) - min(offsets)
