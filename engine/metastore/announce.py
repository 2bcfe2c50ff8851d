"""Telling of changes: alert events and callback requests, written in the transaction of the change itself.

What is told is decided here once, for every way an attempt can end (its own exit, a time-out, a lost supervisor), so
that no detector can forget it: the event follows from the state that was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from alerting import outbox
from alerting.events import BLOCKED_NAMED, AlertEvent
from alerting.kinds import EventKind
from engine import links
from engine.authoring.serialized import CallbackKind, SerializedTask
from engine.logs.paths import attempt_log_path
from engine.metastore.callbacks import callback_key
from engine.metastore.changes import Changes, RunChange, RunFacts, TaskChange
from engine.metastore.database import Tx
from engine.metastore.graphs import Blocked, Graph, Graphs
from engine.metastore.recoveries import recovered_dags, recovered_tasks
from engine.metastore.runs import Runs
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Base, CallbackRequest

_REQUEST: Final = Base.metadata.tables[CallbackRequest.__tablename__]
_TASK_CALLBACKS: dict[TaskState, CallbackKind] = {
    TaskState.FAILED: "on_failure",
    TaskState.UP_FOR_RETRY: "on_retry",
    TaskState.SUCCESS: "on_success",
    TaskState.SKIPPED: "on_skipped",  # by its own attempt: what a branch or a trigger rule skips has no outcome
}
_RUN_CALLBACKS: dict[RunState, CallbackKind] = {RunState.FAILED: "on_failure", RunState.SUCCESS: "on_success"}


class Told(NamedTuple):
    """How many of each were written."""

    alerts: int
    callbacks: int


@dataclass(frozen=True, slots=True)
class Announcer:
    """Writes what `changes` mean to people. `base_url` is where the web pages are."""

    base_url: str

    def announce(self, tx: Tx, graphs: Graphs, runs: Runs, changes: Changes) -> Told:
        """Record alert events and callback requests."""
        facts = runs.get(tx.connection, (change.run_pk for change in changes.tasks))
        events: list[AlertEvent] = []
        requests: list[dict[str, Any]] = []
        recovered = recovered_tasks(tx.connection, changes.tasks)
        blocked = Blocked()
        for change in changes.tasks:
            run = facts[change.run_pk]
            graph = graphs.get(tx.connection, change.dag_id, run.version)
            events += self._task_events(change, run, graph, blocked, recovered.get(change.ti_id), tx.now)
            requests += _task_callbacks(change, run, graph, tx.now)
        for ended in changes.runs:
            graph = graphs.get(tx.connection, ended.run.dag_id, ended.run.version)
            events += self._run_events(ended, graph, tx.now)
            requests += _run_callbacks(ended, graph, tx.now)
        for well in recovered_dags(tx.connection, tx.now, changes.runs).values():
            graph = graphs.get(tx.connection, well.run.dag_id, well.run.version)
            events.append(self._run_recovered(well, graph, tx.now))
        if events:
            outbox.record(tx.connection, events)
        if requests:
            tx.connection.execute(tx.dialect.insert_ignore(_REQUEST), requests)
        return Told(len(events), len(requests))

    def _task_events(
        self,
        change: TaskChange,
        run: RunFacts,
        graph: Graph,
        blocked: Blocked,
        failed_attempt: int | None,
        now: datetime,
    ) -> Iterable[AlertEvent]:
        """`failed_attempt` is the one after which it has now succeeded."""
        kind = _kind_of(change, recovered=failed_attempt is not None)
        if kind is None:
            return
        task = graph.tasks[change.task_id]
        will_not_run = blocked.by(graph, run.version, change.task_id) if kind is EventKind.TASK_FAILED else ()
        wants_mail = task.email_on_retry if kind is EventKind.TASK_RETRY else task.email_on_failure
        is_trouble = kind in (EventKind.TASK_FAILED, EventKind.TASK_RETRY)
        outcome = change.outcome if is_trouble else None
        path = attempt_log_path(change.dag_id, change.run_id, change.task_id, change.try_number, change.map_index)
        yield AlertEvent(
            kind=kind,
            occurred_at=now if change.by_hand else change.end_date or run.start_date,
            dag_id=change.dag_id,
            run_id=change.run_id,
            task_id=change.task_id,
            map_index=change.map_index,
            try_number=change.try_number or None,
            max_tries=change.max_tries,
            operator=change.operator,
            owner=task.owner,
            tags=graph.dag.tags,
            pool=task.pool,
            logical_date=run.logical_date,
            started_at=change.start_date,
            ended_at=change.end_date,
            next_retry_at=change.retry_at,
            hostname=change.hostname or None,
            cause=outcome.cause if outcome else None,
            exit_code=outcome.exit_code if outcome else None,
            signal=outcome.signal if outcome else None,
            error=outcome.sentence if outcome else None,
            log_path=str(path) if change.outcome else None,
            url=self._attempt_url(change),
            blocked=will_not_run[:BLOCKED_NAMED],
            blocked_more=len(will_not_run[BLOCKED_NAMED:]),
            emails=task.email if wants_mail else (),
            summary=_task_summary(change, kind, failed_attempt),
            episode=_anew(run) if kind is EventKind.TASK_SKIPPED else None,  # of a run begun anew, it is another one
        )

    def _run_recovered(self, change: RunChange, graph: Graph, now: datetime) -> AlertEvent:
        run = change.run
        return AlertEvent(
            kind=EventKind.RUN_RECOVERED,
            occurred_at=now,
            dag_id=run.dag_id,
            run_id=run.run_id,
            owner=graph.dag.owner,
            tags=graph.dag.tags,
            logical_date=run.logical_date,
            started_at=run.start_date,
            ended_at=change.end_date,
            try_number=run.clears + 1 if run.clears else None,
            emails=_run_mail(graph),
            summary=_recovery(change),
            url=links.run_url(self.base_url, run.dag_id, run.run_id),
        )

    def _attempt_url(self, change: TaskChange) -> str:
        key = (change.dag_id, change.run_id, change.task_id, change.try_number, change.map_index)
        return links.attempt_url(self.base_url, *key)

    def _run_events(self, change: RunChange, graph: Graph, now: datetime) -> Iterable[AlertEvent]:
        if change.state != RunState.FAILED or not change.has_run:
            return
        run = change.run
        late = change.timed_out_after
        yield AlertEvent(
            kind=EventKind.RUN_FAILED,
            occurred_at=now,
            dag_id=run.dag_id,
            run_id=run.run_id,
            owner=graph.dag.owner,
            tags=graph.dag.tags,
            logical_date=run.logical_date,
            started_at=run.start_date,
            ended_at=change.end_date,
            try_number=run.clears + 1 if run.clears else None,  # a run begun anew is another episode
            cause="timed_out" if late else "stuck" if change.stuck_tasks else "task_failures",
            error=_run_error(change),
            summary=_run_summary(change),
            emails=_run_mail(graph) if late or change.stuck_tasks else (),
            url=links.run_url(self.base_url, run.dag_id, run.run_id),
        )


def _kind_of(change: TaskChange, *, recovered: bool) -> EventKind | None:
    """What a task's new state means to people; None: nothing."""
    match change.state:
        case TaskState.FAILED if change.outcome is not None:
            return EventKind.TASK_FAILED
        case TaskState.UP_FOR_RETRY if change.outcome is not None:
            return EventKind.TASK_RETRY
        case TaskState.SUCCESS if recovered:
            return EventKind.TASK_RECOVERED
        case TaskState.SKIPPED if change.time_limit is not None:
            return EventKind.TASK_SKIPPED
        case _:
            return None


def _task_summary(change: TaskChange, kind: EventKind, failed_attempt: int | None) -> str | None:
    """One sentence for what is no failure; those have their own."""
    if kind is EventKind.TASK_SKIPPED:
        limit = (change.time_limit or "").rstrip(".")
        return f"The task was skipped by a time limit: {limit}."
    if kind is not EventKind.TASK_RECOVERED:
        return None
    how = "The task was marked as successful" if change.by_hand else f"Attempt {change.try_number} has succeeded"
    return f"{how}; attempt {failed_attempt} had failed."


def _anew(run: RunFacts) -> str | None:
    """Which life of a run it is, where it was begun anew."""
    return str(run.clears) if run.clears else None


def _run_summary(change: RunChange) -> str | None:
    """One sentence for what is not a failure of its tasks."""
    if change.timed_out_after:
        return f"The run timed out: it took longer than its dagrun_timeout of {change.timed_out_after}."
    if change.by_hand:
        return "The run had succeeded and counts as failed now: a task of it was marked by hand."
    return "The run failed: nothing in it can run any more." if change.stuck_tasks else None


def _recovery(change: RunChange) -> str:
    if change.by_hand:
        return f"A run of {change.run.dag_id} that had failed counts as successful now: its tasks were marked by hand."
    return f"A run of {change.run.dag_id} has succeeded after one had failed."


def _run_error(change: RunChange) -> str | None:
    if change.timed_out_after:
        return f"run timed out: it took longer than its dagrun_timeout of {change.timed_out_after}"
    broken = [f"failed tasks: {', '.join(change.failed_tasks)}"] if change.failed_tasks else []
    if change.stuck_tasks:
        names = ", ".join(change.stuck_tasks)
        broken.append(f"waiting for tasks whose start_date or end_date leaves them out of this run: {names}")
    return "; ".join(broken) or None


def _run_mail(graph: Graph) -> tuple[str, ...]:
    """Whoever wants mail of a failing task wants it of a run that no task of its own has failed."""
    wanted = [address for task in graph.dag.tasks if task.email_on_failure for address in task.email]
    return tuple(dict.fromkeys(wanted))


def callback_request(
    kind: CallbackKind, scope: str, run: RunFacts, graph: Graph, payload: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """The row of a request: what `payload` says of its task or its wave of deadlines makes it one of its own."""
    about = [payload.get(name) for name in ("task_id", "map_index", "try_number")]
    anew = [run.clears] if scope == "dag" and run.clears else []  # a run begun anew has an end of its own
    anew += [payload["wave"]] if "wave" in payload else []  # a run may miss several deadlines, one after the other
    return {
        "dedup_key": callback_key(kind, scope, run.dag_id, run.run_id, *about, *anew),
        "kind": kind,
        "scope": scope,
        "dag_id": run.dag_id,
        "run_pk": run.id,
        "fileloc": graph.dag.fileloc,
        "payload": {"run_pk": run.id, "version": run.version, **payload},
        "state": "pending",
        "due_at": now,
        "attempts": 0,
        "created_at": now,
    }


def _task_callbacks(change: TaskChange, run: RunFacts, graph: Graph, now: datetime) -> Iterable[dict[str, Any]]:
    task: SerializedTask = graph.tasks[change.task_id]
    kind = _TASK_CALLBACKS.get(change.state)
    if change.outcome is None or kind is None or kind not in task.callbacks:
        return
    payload = {
        "ti_id": change.ti_id,
        "task_id": change.task_id,
        "map_index": change.map_index,
        "try_number": change.try_number,
        "max_tries": change.max_tries,
        "state": change.state,
        "hostname": change.hostname,
        "start_date": change.start_date.isoformat() if change.start_date else None,
        "end_date": change.end_date.isoformat() if change.end_date else None,
        "cause": change.outcome.cause,
        "error": None if change.state == TaskState.SUCCESS else change.outcome.sentence,
    }
    yield callback_request(kind, "task", run, graph, payload, now)


def _run_callbacks(change: RunChange, graph: Graph, now: datetime) -> Iterable[dict[str, Any]]:
    kind = _RUN_CALLBACKS.get(change.state)
    if kind is None or kind not in graph.dag.callbacks or (kind == "on_failure" and not change.has_run):
        return
    reason = "success" if change.state == RunState.SUCCESS else "task_failure"
    if change.timed_out_after:
        reason = "timed_out"
    elif change.stuck_tasks:
        reason = "all_tasks_deadlocked"  # Airflow's word
    payload = {"state": change.state, "reason": reason, "run_error": _run_error(change)}
    yield callback_request(kind, "dag", change.run, graph, payload, now)
