"""``windsock dags why``: why a task, or each task of a run that waits, is not running."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from alerting.clock import database_now
from engine.cli import queries
from engine.cli.errors import Failure
from engine.cli.naming import closest, find_run
from engine.cli.opening import open_store
from engine.cli.output import show, shown
from engine.metastore.why import Answer, Reason, decide
from engine.metastore.why_facts import facts_of_run

if TYPE_CHECKING:
    from engine.config import Settings

_MOST_NAMED: Final = 5


def tell(settings: Settings, dag_id: str, run_id: str, task_id: str | None, *, as_json: bool) -> None:
    """Print the sentence of one task with its SLA, or those of all tasks of the run that have not ended."""
    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    with open_store(settings) as store:
        run_id = find_run(store, dag_id, run_id)
        with store.read() as connection:
            facts = facts_of_run(connection, dag_id, run_id, database_now(connection), threshold) or {}
            promised = queries.deadline_of_task(connection, dag_id, run_id, task_id) if task_id else {}
    if task_id is not None and task_id not in facts:
        raise Failure(f"{run_id} has no task {task_id}{closest(task_id, facts)}")
    answers = {name: decide(facts[name]) for name in ([task_id] if task_id else facts)}
    if task_id is None:
        answers = {name: answer for name, answer in answers.items() if answer.reason is not Reason.ENDED}
    if as_json:
        where = {"dag_id": dag_id, "run_id": run_id}
        show([_row(where, name, facts[name].state, answers[name]) | promised for name in answers], "json")
        return
    if not answers:
        click.echo(f"Nothing of {run_id} waits or runs: windsock tasks states {dag_id} {run_id}")
    for sentence, names in _grouped(answers).items():
        click.echo(f"{names}: {sentence}")
    if promised:
        click.echo(f"SLA: due {shown(promised['due_at'])} UTC, {promised['sla']}")


def _row(where: dict[str, Any], task_id: str, state: str | None, answer: Answer) -> dict[str, Any]:
    return {**where, "task_id": task_id, "state": state, "reason": answer.reason, "sentence": answer.sentence}


def _grouped(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Sentence → the tasks of which it is true: whole runs often wait for the same."""
    found: dict[str, list[str]] = {}
    for name, answer in answers.items():
        found.setdefault(answer.sentence, []).append(name)
    return {sentence: _named(names) for sentence, names in found.items()}


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
