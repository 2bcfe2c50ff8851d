"""Names in matchers that no DAG and no task has now: often a slip, and never a mistake, since a DAG may yet come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from engine.cli import queries
from engine.cli.naming import closest

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alerting.matchers import Matcher
    from alerting.routing import Routing


def unknown_in(connection: Connection, matchers: Iterable[Matcher]) -> list[str]:
    """A sentence for each of these that compares with the name of a DAG that there is not, or of a task of its DAG.

    None while there is no DAG at all: then none has been parsed yet.
    """
    given = tuple(matchers)
    known = queries.active_dag_ids(connection)
    dag_ids = _named(given, "dag")
    strange = [f"there is no DAG {dag_id}{closest(dag_id, known)}" for dag_id in dag_ids if dag_id not in known]
    return [*strange, *_tasks(connection, dag_ids, _named(given, "task"))] if known else []


def unknown_in_file(connection: Connection, routing: Routing) -> list[str]:
    """The same of all routes and inhibitions of alerting.yml."""
    found: dict[str, None] = {}
    for route in routing.root.tree():
        found |= {f"line {route.line}: {sentence}": None for sentence in unknown_in(connection, route.matchers)}
    for inhibition in routing.inhibitions:
        for matchers in (inhibition.sources, inhibition.targets):
            found |= {f"inhibit: {sentence}": None for sentence in unknown_in(connection, matchers)}
    return list(found)


def _named(matchers: tuple[Matcher, ...], label: str) -> list[str]:
    return [each.value for each in matchers if each.label == label and each.regex is None and each.value]


def _tasks(connection: Connection, dag_ids: list[str], task_ids: list[str]) -> Iterator[str]:
    """Of one DAG, which is named beside them: else any may be meant."""
    current = queries.current_dag(connection, dag_ids[0]) if len(dag_ids) == 1 and task_ids else None
    if current is None:
        return
    tasks = current[1].by_id
    for task_id in task_ids:
        if task_id not in tasks:
            yield f"{dag_ids[0]} has no task {task_id}{closest(task_id, tasks)}"
