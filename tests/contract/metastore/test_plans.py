"""What finished long ago costs nothing: each statement of the hot path finds its rows through an index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, insert
from sqlalchemy.sql import CompoundSelect, Select

from engine.metastore import advance, deadlines, endings, past, recount
from engine.metastore.store import Store
from engine.metastore.tables import DagRun, TaskInstance
from engine.metastore.transitions import claiming, finishing, promoting, returning, starting
from tests.contract.metastore.stage import Stage, bash

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FINISHED = 10_000
READY = {"limit": 20, "rank": -(2**31), "id": 0, "full_dags": ["x"], "full_pools": ["y"]}
BEHIND = {"runs": [1, 2], "tasks": ["t1", "t2"]}
STATEMENTS: dict[str, tuple[Select[Any] | CompoundSelect[Any], dict[str, Any]]] = {
    "_READY": (claiming._READY, READY),
    "_READY_IN_ORDER": (claiming._READY_IN_ORDER, {**READY, "given_pools": ["p"], "given_dags": ["dag"]}),
    "_HELD": (finishing.HELD, {"tokens": ["a", "b"], "held_state": "running"}),
    "_HELD_NOW": (finishing._HELD_NOW, {"tokens": ["a", "b"], "held_state": "running"}),
    "_RUNNING_AND_WAITING": (finishing._RUNNING_AND_WAITING, {"tokens": ["a", "b"], **BEHIND}),
    "_DUE": (promoting._DUE, {"now": NOW, "limit": 20}),
    "_OWNED": (returning._OWNED, {"owners": ["a", "b"], "limit": 20}),
    "_CHILDREN": (advance.CHILDREN, BEHIND),
    "_QUEUED_RUNS": (starting._QUEUED_RUNS, {"limit": 20, "after": 0, "full_dags": ["x"]}),
    "_BROKEN": (advance._BROKEN, {"ids": [1, 2]}),
    "_SETTLED": (advance.SETTLED, {"ids": [1, 2]}),
    "_OVERDUE": (deadlines._OVERDUE, {"now": NOW, "limit": 20}),
    "_NEXT": (deadlines._NEXT, {}),
    "_OPEN": (deadlines._OPEN, {"ids": [1, 2]}),
    "_REQUESTED": (endings._REQUESTED, {"owner": "a"}),
    "_PREVIOUS": (past._PREVIOUS, {"runs": [1, 2]}),
    "_THERE": (past._THERE, BEHIND),
    "_WAITING": (past._WAITING, {"runs": [1, 2]}),
    "_OVERLOOKED": (past._OVERLOOKED, {"limit": 20}),
    "_STATES": (recount._STATES, {"runs": [1, 2]}),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowded(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A metastore with a long past and a few live tasks."""
    server = request.getfixturevalue(f"{request.param}_server")
    url = server.clone()
    store = Store(url)
    stage = Stage(store)
    version = stage.dag("dag", bash("a"), bash("b", "a"))
    with store.begin() as tx:
        past = FINISHED // 10
        run = {
            "dag_id": "dag",
            "run_type": "manual",
            "version": version,
            "conf": {},
            "unfinished": 0,
            "state": "success",
        }
        when = {"run_after": NOW, "queued_at": NOW, "end_date": NOW}
        tx.connection.execute(insert(DagRun), [{**run, **when, "id": i, "run_id": str(i)} for i in range(1, past + 1)])
        done = {"dag_id": "dag", "state": "success", "operator": "x", "pool": "p", "queue": "q", "end_date": NOW}
        rows = [{**done, "run_pk": i % past + 1, "run_id": "r", "task_id": f"t{i // past}"} for i in range(FINISHED)]
        tx.connection.execute(insert(TaskInstance), rows)
        if store.dialect.name == "postgresql":
            tx.connection.exec_driver_sql("SELECT setval('dag_run_id_seq', 100000)")
    stage.trigger("dag", *(f"live-{i}" for i in range(16)))
    stage.create("dag", "queued")
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    yield store
    store.close()
    server.drop(url)


def plan(store: Store, name: str) -> str:
    """The database's plan of the statement as the engine sends it."""
    statement, parameters = STATEMENTS[name]
    command = "EXPLAIN QUERY PLAN" if store.dialect.name == "sqlite" else "EXPLAIN"

    def explained(_connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> tuple[str, Any]:
        return f"{command} {sql}", values

    with store.read() as connection:
        event.listen(connection, "before_cursor_execute", explained, retval=True)
        rows = connection.execute(statement, parameters).cursor.fetchall()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_hot_statement_never_reads_a_whole_table_of_the_past(crowded: Store, name: str) -> None:
    told = plan(crowded, name)
    assert not re.search(r"Seq Scan on (task_instance|dag_run)|SCAN (task_instance|dag_run)\b", told), told
    assert re.search(r"(Index|Bitmap).* on \w*(task_instance|dag_run)|SEARCH (task_instance|dag_run) USING", told), told


def test_ready_rows_come_out_of_the_index_in_order(crowded: Store) -> None:
    told = plan(crowded, "_READY")
    assert "ix_task_instance_ready" in told
    assert "TEMP B-TREE" not in told
