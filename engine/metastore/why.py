"""Why a task is not running: one decision over a few facts. Pure; :mod:`engine.metastore.why_facts` reads the facts.

:data:`_CAUSES` is the order in which causes are looked at, from what stops everything to what stops this task alone;
the first that holds is the answer. A new reason to wait is a member of :class:`Reason` and one function in that list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from engine.metastore.states import FINAL_RUN_STATES, FINAL_TASK_STATES, RunState, TaskState

_MOST_NAMED: Final = 3


class Reason(StrEnum):
    """What a program can tell apart."""

    ENDED = "ended"  # it has run, or never will
    RUNNING = "running"
    STARTING = "starting"  # it was given to a supervisor
    NO_SCHEDULER = "no_scheduler"  # nobody would start it
    PAUSED = "paused"
    NOT_MET = "not_met"  # no scheduler has taken its DAG over from the DAG processor
    UNREADABLE = "unreadable"  # the DAG version of its run is not stored, or stored by another Windsock
    RUN_QUEUED = "run_queued"  # its run waits for max_active_runs
    UPSTREAM = "upstream"
    EARLIER_RUN = "earlier_run"  # depends_on_past, wait_for_downstream
    RETRY = "retry"  # an attempt failed, the next is not due
    RESCHEDULED = "rescheduled"  # a sensor that looks again later
    POOL_MISSING = "pool_missing"
    POOL_TOO_SMALL = "pool_too_small"
    POOL_FULL = "pool_full"
    DAG_FULL = "dag_full"  # max_active_tasks
    TASK_FULL = "task_full"  # max_active_tis_per_dag
    PARALLELISM = "parallelism"  # no executor has a free slot
    NEXT = "next"  # nothing is in its way: it starts with the scheduler's next turn


@dataclass(frozen=True, slots=True)
class Answer:
    """One sentence without its full stop, and its reason."""

    reason: Reason
    sentence: str


@dataclass(frozen=True, slots=True)
class Use:
    """A counted limit. `users` are the tasks that use it and how much each does, the largest first."""

    used: int
    limit: int
    users: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the metastore holds of one task of one run, and of what it needs. ``state`` is None until it is due."""

    now: datetime
    dag_id: str
    task_id: str
    run_state: str
    schedulers: int = 1  # that live
    scheduler_seen: datetime | None = None  # the last heartbeat of the last one
    paused: bool = False
    met: bool = True
    readable: bool = True
    runs: Use = Use(0, 1)
    runs_before: int = 0  # queued before this one
    state: str | None = None
    try_number: int = 0
    max_tries: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ready_at: datetime | None = None
    hostname: str | None = None
    error: str | None = None  # of the last attempt
    run_deadline: datetime | None = None  # when its run times out, or did
    rule: str = "all_success"
    upstream: tuple[tuple[str, str | None], ...] = ()  # task and state
    earlier_run: str | None = None  # the run_id of the one that it waits for
    backfill: bool = False  # its run is one of a backfill, which has a limit of its own
    pool: str = "default_pool"
    pool_slots: int = 1
    pool_use: Use | None = Use(0, 1)
    dag_use: Use = Use(0, 1)
    task_use: Use | None = None
    executors: Use = Use(0, 1)


def decide(facts: Facts) -> Answer:
    """The first cause that holds."""
    for cause in _CAUSES:
        if answer := cause(facts):
            return answer
    return Answer(Reason.NEXT, "nothing is in its way: the scheduler starts it in its next turn")


def _ended(facts: Facts) -> Answer | None:
    if facts.state in FINAL_TASK_STATES:
        what = facts.state.replace("_", " ") if facts.state else ""
        attempt = f" in attempt {facts.try_number} of {facts.max_tries}" if facts.try_number else ""
        why = f": {facts.error}" if facts.error and facts.state != TaskState.SUCCESS else ""
        if facts.state == TaskState.SKIPPED and not why and _run_timed_out(facts):
            why = ", because its run went on for longer than its dagrun_timeout"
        when = f" at {_at(facts.ended_at)}" if facts.ended_at else ""
        broken = [name for name, state in facts.upstream if state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED)]
        if facts.state == TaskState.UPSTREAM_FAILED and broken:
            why = f", because of {_listed(broken)}"
        return Answer(Reason.ENDED, f"it has ended{attempt}{when}, as {what}{why}")
    if facts.run_state in FINAL_RUN_STATES:
        return Answer(Reason.ENDED, f"its run has ended ({facts.run_state}) and it never ran")
    return None


def _run_timed_out(facts: Facts) -> bool:
    """Whether the run had timed out when the task ended: it was then skipped by that, and by nothing else."""
    if facts.run_state != RunState.FAILED or facts.run_deadline is None or facts.ended_at is None:
        return False
    return facts.ended_at >= facts.run_deadline


def _running(facts: Facts) -> Answer | None:
    if facts.state != TaskState.RUNNING:
        return None
    since = f" since {_at(facts.started_at)}" if facts.started_at else ""
    where = f" on {facts.hostname}" if facts.hostname else ""
    return Answer(Reason.RUNNING, f"it is running{since}{where}, attempt {facts.try_number} of {facts.max_tries}")


def _no_scheduler(facts: Facts) -> Answer | None:
    if facts.schedulers:
        return None
    since = f"; the last one was seen at {_at(facts.scheduler_seen)}" if facts.scheduler_seen else ""
    return Answer(Reason.NO_SCHEDULER, f"no scheduler is running{since}. Start one: windsock up --detach")


def _starting(facts: Facts) -> Answer | None:
    if facts.state != TaskState.QUEUED:
        return None
    where = f" on {facts.hostname}" if facts.hostname else ""
    return Answer(Reason.STARTING, f"it has been handed to the executor{where} and starts in a moment")


def _paused(facts: Facts) -> Answer | None:
    if not facts.paused:
        return None
    how = f"windsock dags unpause {facts.dag_id}"
    return Answer(Reason.PAUSED, f"{facts.dag_id} is paused, so none of its runs and tasks starts. Go on: {how}")


def _not_met(facts: Facts) -> Answer | None:
    if facts.met:
        return None
    told = f"the scheduler has not taken {facts.dag_id} over from the DAG processor yet"
    return Answer(Reason.NOT_MET, f"{told}; if that lasts: windsock dags errors")


def _unreadable(facts: Facts) -> Answer | None:
    if facts.readable:
        return None
    told = "the DAG as it was for this run cannot be read from the metastore"
    return Answer(Reason.UNREADABLE, f"{told}; it waits for the DAG processor to parse its file again")


def _run_queued(facts: Facts) -> Answer | None:
    if facts.run_state != RunState.QUEUED:
        return None
    if facts.runs.used < facts.runs.limit:
        return Answer(Reason.NEXT, "its run is queued and starts with the scheduler's next turn")
    of = f"{facts.dag_id} are running (max_active_runs)"
    if facts.backfill:
        of = "its backfill are running (--max-active-runs)"
    runs = f"{facts.runs.used} of {facts.runs.limit} runs of {of}"
    before = f", and {_count(facts.runs_before, 'queued run')} come first" if facts.runs_before > 1 else ""
    before = ", and 1 queued run comes first" if facts.runs_before == 1 else before
    return Answer(Reason.RUN_QUEUED, f"its run is queued: {runs}{before}")


def _earlier_run(facts: Facts) -> Answer | None:
    if facts.state is not None or facts.earlier_run is None:
        return None
    told = f"it waits for its own success in the run before, {facts.earlier_run} (depends_on_past)"
    return Answer(
        Reason.EARLIER_RUN, f"{told}. See: windsock dags why {facts.dag_id} {facts.earlier_run} {facts.task_id}"
    )


def _upstream(facts: Facts) -> Answer | None:
    if facts.state is not None:
        return None
    waiting = [f"{name} ({_word(state)})" for name, state in facts.upstream if state not in FINAL_TASK_STATES]
    rule = f" (trigger rule {facts.rule})" if facts.rule != "all_success" else ""
    return Answer(Reason.UPSTREAM, f"it waits for {_listed(waiting) or 'its upstream tasks'}{rule}")


def _retry(facts: Facts) -> Answer | None:
    if facts.state != TaskState.UP_FOR_RETRY:
        return None
    error = f" ({facts.error})" if facts.error else ""
    failed = f"attempt {facts.try_number} of {facts.max_tries} failed{error}"
    return Answer(Reason.RETRY, f"{failed}, and the next is due at {_at(facts.ready_at)}{_left(facts)}")


def _rescheduled(facts: Facts) -> Answer | None:
    if facts.state != TaskState.UP_FOR_RESCHEDULE:
        return None
    return Answer(Reason.RESCHEDULED, f"what it senses is not there yet; it looks again at {_at(facts.ready_at)}")


def _pool(facts: Facts) -> Answer | None:
    pool, use = f"pool {facts.pool!r}", facts.pool_use
    how = f"windsock pools set {facts.pool} SLOTS"
    if use is None:
        return Answer(Reason.POOL_MISSING, f"it names the {pool}, and there is none of that name. Make it: {how}")
    if facts.pool_slots > use.limit:
        needs = f"it needs {_count(facts.pool_slots, 'slot')} of the {pool}, which has {use.limit} in all"
        return Answer(Reason.POOL_TOO_SMALL, f"{needs}. Make it larger: {how}")
    if use.used + facts.pool_slots <= use.limit:
        return None
    needs = f", and it needs {facts.pool_slots}" if facts.pool_slots > 1 else ""
    return Answer(Reason.POOL_FULL, f"{use.used} of {use.limit} slots of the {pool} are used{_users(use)}{needs}")


def _dag_full(facts: Facts) -> Answer | None:
    what = f"tasks of {facts.dag_id} are running (max_active_tasks)"
    return _full(Reason.DAG_FULL, facts.dag_use, what)


def _task_full(facts: Facts) -> Answer | None:
    what = f"allowed attempts of {facts.task_id} are running over all runs (max_active_tis_per_dag)"
    return _full(Reason.TASK_FULL, facts.task_use, what)


def _parallelism(facts: Facts) -> Answer | None:
    whose = "the scheduler" if facts.schedulers == 1 else f"the {facts.schedulers} schedulers"
    return _full(Reason.PARALLELISM, facts.executors, f"slots of {whose} are in use (core.parallelism)")


def _full(reason: Reason, use: Use | None, what: str) -> Answer | None:
    if use is None or use.used < use.limit:
        return None
    return Answer(reason, f"{use.used} of {use.limit} {what}{_users(use)}")


_CAUSES: Final[Sequence[Callable[[Facts], Answer | None]]] = (
    _ended,
    _running,
    _no_scheduler,
    _starting,
    _paused,
    _not_met,
    _unreadable,
    _run_queued,
    # What a task waits for before it is ready: other tasks, an earlier run, a moment.
    _earlier_run,
    _upstream,
    _retry,
    _rescheduled,
    # It is ready: what it waits for is room.
    _pool,
    _dag_full,
    _task_full,
    _parallelism,
)


def _users(use: Use) -> str:
    if not use.users:
        return ""
    return " by " + _listed([f"{name} ({n})" if n > 1 else name for name, n in use.users])


def _listed(names: Sequence[str]) -> str:
    """``a, b and c``; of more than a few, how many more there are."""
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _word(state: str | None) -> str:
    return state.replace("_", " ") if state else "not yet due"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "a moment that is not known"


def _left(facts: Facts) -> str:
    seconds = (facts.ready_at - facts.now).total_seconds() if facts.ready_at else 0.0
    return f", in {seconds:.0f} s" if 0 < seconds < 120 else f", in {seconds / 60:.0f} min" if seconds > 0 else ""
