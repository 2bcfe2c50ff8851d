"""What a read of the metastore exporter costs: few statements, and none of them reads the whole past."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import CompoundSelect, Engine, Select, event, text

from engine.metastore.store import Store
from exporters.metastore import windsock
from exporters.metastore.deadlines import Deadlines
from exporters.metastore.reader import MetastoreReader
from exporters.metastore.service import MetastoreConfig
from tests.contract.metastore.stage import Stage, bash
from tests.servers.databases import DatabaseServer

DAGS = 20
RUNS = 100_000
TASKS = 100_000
DELIVERIES = 20_000
NOW = "'2026-01-01 00:00:00.000000'"
DATABASES = ["sqlite", "postgresql", "mariadb"]
DEADLINES = Deadlines(windsock.dag_run, windsock.sla_deadline, windsock.dag_version)._counted
STATEMENTS: dict[str, tuple[Select[Any] | CompoundSelect[Any], dict[str, Any]]] = {
    "RUNS": (windsock.RUNS, {}),
    "TASKS": (windsock.TASKS, {}),
    "ACTIVE": (windsock.ACTIVE, {}),
    "DAGS": (windsock.DAGS, {}),
    "DELIVERIES": (windsock.DELIVERIES, {}),
    "WAITING": (windsock.WAITING, {}),
    "DEADLINES": (DEADLINES, {"dag_ids": ["dag1", "dag2"], "now": datetime(2026, 1, 1, tzinfo=UTC)}),
}
_STATISTICS = {
    "sqlite": "ANALYZE",
    "postgresql": "VACUUM ANALYZE",  # as autovacuum does, also so that an index alone can answer
    "mysql": "ANALYZE TABLE dag_run, task_instance, sla_deadline, alert_delivery",
}
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
_PAST_RUNS = """
INSERT INTO dag_run (id, dag_id, run_id, run_type, state, version, run_after, queued_at, end_date, conf, unfinished)
{numbers}
SELECT i, {dag_id}, {run_id}, 'manual', CASE WHEN i % 7 = 0 THEN 'failed' ELSE 'success' END, 'v', {now}, {now}, {now},
    '{{}}', 0 FROM n
"""
_PAST_TASKS = """
INSERT INTO task_instance (run_pk, dag_id, run_id, task_id, map_index, state, operator, try_number, max_tries, pool,
    pool_slots, queue, priority_rank, up_total, up_success, up_failed, up_blocked, up_skipped, end_date)
{numbers}
SELECT i, {dag_id}, {run_id}, 't', -1, 'success', 'x', 1, 1, 'default_pool', 1, 'q', -1, 0, 0, 0, 0, 0, {now} FROM n
"""


_PAST_DEADLINES = """
INSERT INTO sla_deadline (run_pk, dag_id, task_id, position, state, due_at, at_risk_at)
{numbers}
SELECT i, {dag_id}, 't', 0, CASE WHEN i % 7 = 0 THEN 'missed' ELSE 'met' END, {now}, {now} FROM n
"""
_PAST_EVENT = """
INSERT INTO alert_event (id, dedup_key, kind, occurred_at, routed_at, payload) VALUES (1, 'k', 'x', {now}, {now}, 'x')
"""
_PAST_DELIVERIES = """
INSERT INTO alert_delivery (event_id, channel, target, address, state, attempts, created_at, give_up_at, delivered_at)
{numbers}
SELECT 1, 'email', {run_id}, 'somebody@example.com', 'delivered', 1, {now}, {now}, {now} FROM n
"""


def fill(store: Store) -> None:
    """A long past, in a few statements."""
    if store.dialect.name == "mysql":
        dag_id, run_id = "CONCAT('dag', i % 20)", "CONCAT('r', i)"
    else:
        dag_id, run_id = "'dag' || (i % 20)", "'r' || i"
    with store.begin() as tx:
        if store.dialect.name == "mysql":
            tx.connection.exec_driver_sql("SET SESSION max_recursive_iterations = 1000000")
        past = (
            (_PAST_RUNS, RUNS),
            (_PAST_TASKS, TASKS),
            (_PAST_DEADLINES, RUNS),
            (_PAST_EVENT, 1),
            (_PAST_DELIVERIES, DELIVERIES),
        )
        for statement, count in past:
            sql = statement.format(numbers=_NUMBERS.format(count=count), dag_id=dag_id, run_id=run_id, now=NOW)
            tx.connection.execute(text(sql))
        if store.dialect.name == "postgresql":
            tx.connection.exec_driver_sql("SELECT setval('dag_run_id_seq', 1000000)")


@pytest.fixture(scope="module", params=DATABASES)
def crowded(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A metastore with a long past and a few live tasks."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    url = server.clone()
    store = Store(url)
    stage = Stage(store)
    fill(store)
    for number in range(DAGS):
        stage.dag(f"dag{number}", bash("a", sla_seconds=60), bash("b", "a"))
    stage.trigger("dag1", *(f"live-{number}" for number in range(16)))
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(_STATISTICS[store.dialect.name])
    yield store
    store.close()
    server.drop(url)


def plan(store: Store, name: str) -> list[str]:
    """The database's plan of a statement as it is sent, a line for each table or step."""
    statement, parameters = STATEMENTS[name]
    command = "EXPLAIN QUERY PLAN" if store.dialect.name == "sqlite" else "EXPLAIN"

    def explained(_connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> tuple[str, Any]:
        return f"{command} {sql}", values

    with store.read() as connection:
        event.listen(connection, "before_cursor_execute", explained, retval=True)
        rows = connection.execute(statement, parameters).cursor.fetchall()
    if store.dialect.name == "mysql":  # id, select_type, table, type, possible_keys, key, ...
        return [f"{row[3]} {row[2]} by {row[5]}" for row in rows]
    return [str(row[-1]) for row in rows]


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name not in ("DELIVERIES", "WAITING")])
def test_no_statement_reads_all_past_runs_or_task_instances(crowded: Store, name: str) -> None:
    told = "\n".join(plan(crowded, name))
    whole = (
        r"Seq Scan on (task_instance|dag_run|sla_deadline)|SCAN (task_instance|dag_run|sla_deadline|\w+_run)\b"
        r"|\b(ALL|index) \w*(task|run|sla)\w*"
    )
    assert not re.search(whole, told), told
    assert re.search(
        r"(Index|Bitmap).* on \w*(task_inst|dag_run|ix_)|SEARCH .* USING|(ref|range|eq_ref) \w+ by \w+", told
    ), told


def test_the_last_runs_come_out_of_their_index(crowded: Store) -> None:
    told = "\n".join(plan(crowded, "DAGS"))
    assert told.count("ix_dag_run_last") == 4, told


def test_deliveries_are_counted_in_their_index_alone(crowded: Store) -> None:
    told = "\n".join(plan(crowded, "DELIVERIES"))
    assert "ix_alert_delivery_count" in told, told
    assert not re.search("Seq Scan", told), told


def test_what_waits_in_the_outbox_is_looked_for_among_that_alone(crowded: Store) -> None:
    told = "\n".join(plan(crowded, "WAITING"))
    assert "ix_alert_delivery_state" in told, told
    assert "Seq Scan on alert_delivery" not in told, told


def test_a_read_is_a_dozen_statements_however_much_there_is(crowded: Store) -> None:
    read = MetastoreReader(MetastoreConfig(url=crowded.url.render_as_string(hide_password=False)))
    read()
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        sent.append(sql)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = read()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    asked = [sql for sql in sent if sql.lstrip().startswith("SELECT") and " FROM " in sql.replace("\n", " ")]
    assert len(asked) <= 12, asked
    assert len(found["metastore.last_success_timestamp_seconds"]) == DAGS
    assert found["metastore.read_duration_seconds"][()] < 2
