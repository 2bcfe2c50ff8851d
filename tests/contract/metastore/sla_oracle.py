"""Which deadlines were missed, told from the list of what happened alone: nothing of the engine decides here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

ZURICH = ZoneInfo("Europe/Zurich")
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
WHOLE_RUN = ""

What = Literal["made", "done", "run succeeded", "run failed", "cleared", "begun anew", "paused", "unpaused"]


class Happened(NamedTuple):
    """One line of the list. `task` is empty where it is about the run; `kind` is that of a run that is made."""

    at: datetime
    what: What
    dag: str
    run: str = ""
    task: str = ""
    kind: str = ""


class Miss(NamedTuple):
    """A deadline that was missed."""

    dag: str
    run: str
    task: str
    due: datetime


@dataclass(frozen=True)
class Promised:
    """What a DAG promises: seconds by task, the run's under an empty name."""

    seconds: Mapping[str, float]
    hour_and_minute: tuple[int, int] | None = None  # by the clock on the wall in Zurich; none: each hour
    has_schedule: bool = True
    cancels: bool = False  # where the run fails


@dataclass
class Deadline:
    """One promise of one run, as it stands while the list is read."""

    due: datetime
    allowed: timedelta
    settled: bool = False
    missed: list[datetime] = field(default_factory=list)


def misses(happened: Sequence[Happened], promises: Mapping[str, Promised], grace: timedelta) -> set[Miss]:
    """All that was missed up to the last line. A deadline is looked at `grace` after it has passed."""
    found = set()
    for made in (one for one in happened if one.what == "made"):
        promised = promises[made.dag]
        since = counts_from(made, promised, happened)
        if since is None:
            continue
        own = [one for one in happened if one.dag == made.dag and one.run == made.run and one.what != "made"]
        for task, seconds in promised.seconds.items():
            for due in _missed(task, since, timedelta(seconds=seconds), own, promised, happened, grace):
                found.add(Miss(made.dag, made.run, task, due))
    return found


def counts_from(made: Happened, promised: Promised, happened: Sequence[Happened]) -> datetime | None:
    """None where nobody waits for the run."""
    if made.kind == "manual":
        return None if promised.has_schedule else made.at
    if made.kind != "scheduled":
        return None
    end = interval_end(datetime.fromisoformat(made.run.removeprefix("scheduled__")), promised)
    switched_on = [one.at for one in happened if one.what == "unpaused" and one.dag == made.dag and one.at <= made.at]
    return None if switched_on and end < max(switched_on) else end


def interval_end(start: datetime, promised: Promised) -> datetime:
    """The next time at which the schedule is due after `start`."""
    if promised.hour_and_minute is None:
        return start + timedelta(hours=1)
    hour, minute = promised.hour_and_minute
    day = start.astimezone(ZURICH).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZURICH).astimezone(UTC)


def _missed(
    task: str,
    since: datetime,
    allowed: timedelta,
    own: Sequence[Happened],
    promised: Promised,
    happened: Sequence[Happened],
    grace: timedelta,
) -> list[datetime]:
    one = Deadline(since + allowed, allowed)
    for line in own:
        if not one.settled and one.due + grace <= line.at:
            _look(one, is_paused(line.dag, one.due + grace, happened))
        match line.what:
            case "done" if line.task == task:
                _done(one, line.at)
            case "run succeeded" if task == WHOLE_RUN:
                _done(one, line.at)
            case "cleared" if line.task == task:
                _again(one, line.at)
            case "begun anew" if task == WHOLE_RUN:
                _again(one, line.at)
        if line.what in ("run failed", "run succeeded") and promised.cancels and one.due > line.at:
            one.settled = True
    last = happened[-1]
    if not one.settled and one.due + grace <= last.at:
        _look(one, bool(own) and is_paused(own[0].dag, one.due + grace, happened))
    return one.missed


def _look(one: Deadline, paused: bool) -> None:
    one.settled = True
    if not paused:
        one.missed.append(one.due)


def _done(one: Deadline, at: datetime) -> None:
    if not one.settled and at > one.due:
        one.missed.append(one.due)
    one.settled = True


def _again(one: Deadline, at: datetime) -> None:
    if one.due <= at:
        one.due = at + one.allowed
    one.settled = False


def is_paused(dag: str, at: datetime, happened: Sequence[Happened]) -> bool:
    """Whether the DAG's switch was off at that moment."""
    turns = [one.what for one in happened if one.dag == dag and one.what in ("paused", "unpaused") and one.at <= at]
    return bool(turns) and turns[-1] == "paused"
