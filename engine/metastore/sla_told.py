"""What missed deadlines mean to people: one alert event for each wave, and the callbacks that the DAG asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from alerting import outbox
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from engine import links
from engine.metastore.announce import callback_request
from engine.metastore.database import Tx
from engine.metastore.graphs import Graph
from engine.metastore.sla import THE_RUN
from engine.metastore.sla_missed import Blocker, Missed, Wave
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Base, CallbackRequest

_REQUEST: Final = Base.metadata.tables[CallbackRequest.__tablename__]
_MOST_LINES: Final = 12
_MOST_NAMED: Final = 3
_WAITS: Final = {
    TaskState.SCHEDULED: "is ready and waits for a free slot",
    TaskState.QUEUED: "is about to start",
    TaskState.FAILED: "has failed",
    TaskState.UPSTREAM_FAILED: "does not run, since what it needs has failed",
    TaskState.UP_FOR_RESCHEDULE: "waits for what it senses",
}


def announce(tx: Tx, waves: Sequence[Wave], base_url: str) -> int:
    """Record events and callback requests, in the transaction that claimed the deadlines; returns how many of both."""
    rows = [row for wave in waves for row in requests(wave, tx.now)]
    if waves:
        outbox.record(tx.connection, [event(wave, base_url, tx.now) for wave in waves])
    if rows:
        tx.connection.execute(tx.dialect.insert_ignore(_REQUEST), rows)
    return len(waves) + len(rows)


def event(wave: Wave, base_url: str, now: datetime) -> AlertEvent:
    """One event, whatever the number of tasks: it names them and what they wait for."""
    run, names = wave.run, _tasks(wave)
    alone = names[0] if len(names) == len(wave.missed) == 1 else None
    event = AlertEvent(
        kind=EventKind.SLA_MISSED,
        occurred_at=now,
        dag_id=run.dag_id,
        run_id=run.run_id,
        task_id=alone,
        logical_date=run.logical_date,
        started_at=wave.missed[0].started_at if alone else run.start_date,
        due_at=min(one.due_at for one in wave.missed),
        summary=summary(wave),
        error=_why(wave.blockers),
        missed=names,
        blocking=tuple(one.task_id for one in wave.blockers),
        url=links.run_url(base_url, run.dag_id, run.run_id),
        episode=_episode(wave),
    )
    return _addressed(event, wave.graph, whole_run=len(names) < len(wave.missed)) if wave.graph else event


def _addressed(event: AlertEvent, graph: Graph, *, whole_run: bool) -> AlertEvent:
    """The same with what the DAG says of those who are to know."""
    alone = graph.tasks[event.task_id] if event.task_id else None
    asked = graph.dag.tasks if whole_run else tuple(graph.tasks[name] for name in event.missed)
    return replace(
        event,
        owner=alone.owner if alone else graph.dag.owner,
        tags=graph.dag.tags,
        pool=alone.pool if alone else None,
        emails=tuple(dict.fromkeys(address for task in asked for address in task.email)),
    )


def _tasks(wave: Wave) -> tuple[str, ...]:
    return tuple(one.task_id for one in wave.missed if one.task_id != THE_RUN)


def _episode(wave: Wave) -> str:
    """Another one, where a deadline that was missed is renewed and missed again."""
    first = wave.missed[0]
    return f"{first.id}/{first.due_at.isoformat()}"


def summary(wave: Wave) -> str:
    """What was promised and is not there, in one or two sentences."""
    due = min(one.due_at for one in wave.missed)
    if any(one.due_at != due for one in wave.missed):
        told = _each(wave)
    elif all(one.completed_at for one in wave.missed):
        late = max(one.completed_at - one.due_at for one in wave.missed if one.completed_at)
        told = f"{_subject(wave)} done {_span(late)} too late: due at {_at(due)}."
    else:
        told = f"{_subject(wave)} not done by {_at(due)}."
    match wave.run_state:
        case RunState.QUEUED:
            return f"{told} The run has not started yet: it is queued."
        case RunState.FAILED:
            return f"{told} The run has failed."
        case _:
            return f"{told}{_unstarted(wave)}"


def _unstarted(wave: Wave) -> str:
    """Which of the tasks that are not done nobody has seen begin."""
    waiting = [one for one in wave.missed if one.task_id != THE_RUN and not one.completed_at and not one.started_at]
    names = [one.task_id for one in waiting]
    if not names:
        return ""
    if len(names) == len(wave.missed):
        return " It has not started." if len(names) == 1 else " None of them has started."
    return f" {_listed(names)} {'has' if len(names) == 1 else 'have'} not started."


def _each(wave: Wave) -> str:
    """Several deadlines of one run, each by itself; the run's own first."""
    ones = sorted(wave.missed, key=lambda one: one.task_id != THE_RUN)
    told = [f"{_name(one)} was due at {_at(one.due_at)} and {_came(one)}" for one in ones[:_MOST_NAMED]]
    if more := len(ones) - len(told):
        last = max(one.due_at for one in ones)
        told.append(f"{more} more {'was' if more == 1 else 'were'} due until {_at(last)}")
    return f"{'; '.join(told)}."


def _name(one: Missed) -> str:
    return "The run" if one.task_id == THE_RUN else one.task_id


def _came(one: Missed) -> str:
    return f"was done {_span(one.completed_at - one.due_at)} later" if one.completed_at else "is not done"


def _subject(wave: Wave) -> str:
    names = _tasks(wave)
    tasks = _listed(names)
    if len(names) < len(wave.missed):
        return f"The run and {tasks} were" if names else "The run was"
    return f"{tasks} {'was' if len(names) == 1 else 'were'}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _why(blockers: tuple[Blocker, ...]) -> str | None:
    lines = [f"{one.task_id} {_doing(one)}" for one in blockers[:_MOST_LINES]]
    if len(blockers) > _MOST_LINES:
        lines.append(f"and {len(blockers) - _MOST_LINES} more")
    return "\n".join(lines) or None


def _doing(one: Blocker) -> str:
    if one.state is None:
        return "has not started"
    state = TaskState(one.state)
    if state is TaskState.RUNNING:
        since = f" since {_at(one.start_date)}" if one.start_date else ""
        return f"is running{since}, attempt {one.try_number} of {one.max_tries}"
    if state is TaskState.UP_FOR_RETRY:
        when = f" at {_at(one.ready_at)}" if one.ready_at else ""
        return f"has failed in attempt {one.try_number} of {one.max_tries} and tries again{when}"
    return _WAITS.get(state, f"is {state}")


def requests(wave: Wave, now: datetime) -> Iterable[dict[str, Any]]:
    """Rows for the notifier: ``sla_miss_callback`` of the DAG, and the callbacks of its ``deadline=``."""
    run, graph = wave.run, wave.graph
    if graph is None:
        return
    promised = [one for one in wave.missed if one.position == 0]
    if promised and "sla_miss" in graph.dag.callbacks:
        missed = [{"task_id": one.task_id, "due_at": one.due_at.isoformat()} for one in promised]
        blocking = [_told(one) for one in wave.blockers]
        payload = {"state": wave.run_state, "wave": _episode(wave), "missed": missed, "blocking": blocking}
        yield callback_request("sla_miss", "dag", run, graph, payload, now)
    for one in wave.missed:
        if one.position and _has_callback(graph, one):
            due = one.due_at.isoformat()
            own = {"state": wave.run_state, "position": one.position, "due_at": due, "wave": f"{one.id}/{due}"}
            yield callback_request("deadline", "dag", run, graph, own, now)


def _has_callback(graph: Graph, one: Missed) -> bool:
    deadlines = graph.dag.deadlines
    return one.position <= len(deadlines) and deadlines[one.position - 1].has_callback


def _told(one: Blocker) -> dict[str, Any]:
    return {
        "task_id": one.task_id,
        "map_index": one.map_index,
        "try_number": one.try_number,
        "max_tries": one.max_tries,
        "state": one.state,
        "start_date": one.start_date.isoformat() if one.start_date else None,
    }


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(late: timedelta) -> str:
    seconds = max(1, round(late.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
