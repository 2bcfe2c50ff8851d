"""``windsock dags trigger``: make a run, and follow it to its end."""

from __future__ import annotations

import getpass
import json
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from engine.cli import queries
from engine.cli.errors import Failure, Misuse
from engine.metastore.states import FINAL_RUN_STATES, ProcessKind, RunState, TaskState

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from engine.config import Settings
    from engine.metastore.store import Store

_POLL_SECONDS = 0.1
_SILENCE_SECONDS = 5.0


def read_conf(text: str | None) -> dict[str, Any]:
    """``--conf``: a JSON object; raises Misuse that says where it is not one."""
    if text is None:
        return {}
    try:
        conf = json.loads(text)
    except json.JSONDecodeError as error:
        example = """--conf '{"key": "value"}'"""
        raise Misuse(
            f"--conf is not JSON: {error.msg} at character {error.pos + 1}. Write it like {example}"
        ) from error
    if not isinstance(conf, dict):
        raise Misuse(f"--conf must be a JSON object in braces, not {text}")
    return conf


def read_moment(text: str | None, timezone: str) -> datetime | None:
    """``--logical-date``: ISO 8601; without an offset in the default time zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misuse(f"--logical-date must look like 2026-11-23 or 2026-11-23T14:00:00+00:00, not {text}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))


def create(
    store: Store, dag_id: str, *, run_id: str | None, logical_date: datetime | None, conf: dict[str, Any]
) -> str:
    """Queue the run and wake the scheduler; return its run id. Raises Duplicate where it exists already."""
    from engine.metastore.triggering import trigger

    who = f"cli:{getpass.getuser()}"
    made = trigger(store, dag_id, run_id=run_id, logical_date=logical_date, conf=conf, triggered_by=who)
    store.wake("scheduler")
    return made


def hindrance(store: Store, settings: Settings, dag_id: str) -> str:
    """Why a queued run of this DAG will not start: nobody schedules, or the DAG is paused; empty where it will."""
    from alerting.clock import database_now

    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    with store.read() as connection:
        if not queries.lives(connection, ProcessKind.SCHEDULER, database_now(connection), threshold):
            return "no scheduler is running, so nothing will happen. Start it: windsock up --detach"
        if queries.is_paused(connection, dag_id):
            return f"{dag_id} is paused, so the run stays queued until: windsock dags unpause {dag_id}"
    return ""


def follow(
    store: Store, settings: Settings, dag_id: str, run_id: str, timeout: float | None, *, quiet: bool
) -> RunState:
    """Wait until the run has ended, printing each change of state unless `quiet`.

    Raises Failure when `timeout` (seconds) is over before.
    """
    follower = _Follower(dag_id, run_id, quiet=quiet)
    began = last_change = time.monotonic()
    while True:
        with store.read() as connection:
            changed = follower.look(connection)
        now = time.monotonic()
        if follower.state in FINAL_RUN_STATES:
            return RunState(follower.state)
        if timeout is not None and now - began > timeout:
            raise Failure(f"{run_id} is still {follower.state} after {timeout:g} s; it goes on without us")
        last_change = now if changed else last_change
        if now - last_change > _SILENCE_SECONDS:
            last_change = now
            if reason := hindrance(store, settings, dag_id):
                click.echo(f"Still {follower.state}: {reason}", err=True)
        time.sleep(_POLL_SECONDS)


class _Follower:
    """Remembers what it printed last."""

    def __init__(self, dag_id: str, run_id: str, *, quiet: bool) -> None:
        self.dag_id = dag_id
        self.quiet = quiet
        self.run_id = run_id
        self.state: str = ""
        self.tasks: dict[tuple[str, int], queries.TaskStanding] = {}
        self.began = time.monotonic()

    def look(self, connection: Connection) -> bool:
        """Print what changed since the last look; return whether anything did."""
        state = queries.run_state(connection, self.dag_id, self.run_id) or "gone"
        tasks = {
            (task.task_id, task.map_index): task for task in queries.standings(connection, self.dag_id, self.run_id)
        }
        news = [self._task_line(task) for key, task in tasks.items() if self._is_news(self.tasks.get(key), task)]
        if state == "gone":
            raise Failure(f"{self.run_id} was deleted meanwhile")
        if state != self.state:
            line = f"run {state}"
            news = [*news, line] if state in FINAL_RUN_STATES else [line, *news]
        self.state, self.tasks = state, tasks
        for line in () if self.quiet else news:
            click.echo(f"{time.monotonic() - self.began:7.1f} s  {line}")
        return bool(news)

    def _is_news(self, before: queries.TaskStanding | None, task: queries.TaskStanding) -> bool:
        return task.state not in (None, TaskState.SCHEDULED, TaskState.QUEUED) and before != task

    def _task_line(self, task: queries.TaskStanding) -> str:
        name = f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else task.task_id
        attempt = f" (attempt {task.try_number} of {task.max_tries})" if task.max_tries > 1 and task.try_number else ""
        return f"{name} {task.state}{attempt}"
