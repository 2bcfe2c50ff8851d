"""What a scheduler asks its database: few statements when idle, and none that reads the whole past.

The statements are taken from a scheduler at work, so a new one is looked at without anybody naming it here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metastore.tables import DagRun, Process, TaskAttempt, TaskInstance, XCom
from tests.integration.scheduling.engine_home import Home
from tests.servers.databases import DatabaseServer
from tests.servers.processes import wait_until
from tests.servers.recording import Sent
from tests.servers.recording_scheduler import read

IDLE_SECONDS = 15.0
IDLE_PER_SECOND = 2.0
POLLS_PER_SECOND = 1.0  # more, where the database cannot push what others have done
PAST_RUNS, TASKS_OF_RUN = 2000, 10
NOW = datetime(2026, 11, 23, tzinfo=UTC)
LONG_AGO = {"run_after": NOW, "queued_at": NOW, "start_date": NOW, "end_date": NOW, "unfinished": 0, "conf": {}}
GROWING = ("task_instance", "task_attempt", "dag_run", "xcom")
WORK = """
BashOperator(task_id='a', bash_command='echo hello')
BashOperator(task_id='b', bash_command='exit 1', retries=1, retry_delay=timedelta(0))
BashOperator(task_id='c', bash_command='echo {{ ti.xcom_pull("a") }}', max_active_tis_per_dag=1)
dag.get_task('a') >> dag.get_task('c')
EmptyOperator(task_id='d') >> BashOperator(task_id='e', bash_command='true', trigger_rule='all_done')
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def crowded(request: pytest.FixtureRequest) -> Iterator[Home]:
    """A home with a long past."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    home = Home(server.clone())
    _fill(home.store)
    yield home
    home.close()


@pytest.fixture(scope="module")
def sent(crowded: Home) -> Sequence[Sent]:
    """What a scheduler sends that finds a dead predecessor, works, and then has nothing to do for a while."""
    record = crowded.folder / "sent"
    crowded.add("work", WORK.replace("\n", "\n    "))
    process = crowded.run([sys.executable, "-m", "tests.servers.recording_scheduler", str(record)], "scheduler")
    assert crowded.finish("work") == "failed"
    _let_idle(crowded.store)
    process.terminate()
    assert process.wait(30) == 0
    return read(record)


def _let_idle(store: Store) -> None:
    """Wait for as many heartbeats as take :data:`IDLE_SECONDS`: by the database's record, not by ours."""
    beat = select(func.max(Process.heartbeat_at)).where(Process.kind == ProcessKind.SCHEDULER)

    def last() -> datetime:
        with store.read() as connection:
            moment: datetime = connection.execute(beat).scalar_one()
            return moment

    began = last()
    wait_until(lambda: (last() - began).total_seconds() >= IDLE_SECONDS, "idle heartbeats", 60)


def _fill(store: Store) -> None:
    run = {"dag_id": "past", "run_type": "manual", "version": "v", "state": "success", **LONG_AGO}
    runs = [{**run, "id": number, "run_id": str(number)} for number in range(1, PAST_RUNS + 1)]
    task = {"dag_id": "past", "state": "success", "operator": "x", "pool": "p", "queue": "q", "end_date": NOW}
    places = [(run, task) for run in range(1, PAST_RUNS + 1) for task in range(TASKS_OF_RUN)]
    tasks = [
        {**task, "id": number, "run_pk": run, "run_id": str(run), "task_id": f"t{name}"}
        for number, (run, name) in enumerate(places, start=1)
    ]
    attempt = {"try_number": 1, "owner": "o", "hostname": "h", "state": "success", "cause": "success"}
    attempts = [{**attempt, "ti_id": row["id"], "token": str(row["id"]), **_BETWEEN} for row in tasks]
    xcoms = [{"ti_id": row["id"], "key": "return_value", "value": "1", "created_at": NOW} for row in tasks]
    with store.begin() as tx:
        for table, rows in ((DagRun, runs), (TaskInstance, tasks), (TaskAttempt, attempts), (XCom, xcoms)):
            tx.connection.execute(insert(table), rows)
        if store.dialect.name == "postgresql":
            tx.connection.exec_driver_sql("SELECT setval('dag_run_id_seq', 100000)")
            tx.connection.exec_driver_sql("SELECT setval('task_instance_id_seq', 100000)")
    analyze = f"ANALYZE TABLE {', '.join(GROWING)}" if store.dialect.name == "mysql" else "ANALYZE"
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(analyze)


_BETWEEN = {"start_date": NOW, "end_date": NOW}


def test_an_idle_scheduler_sends_two_statements_a_second_at_most(crowded: Home, sent: Sequence[Sent]) -> None:
    """Between two heartbeats; the first one after the work reads the gauges anew."""
    beats = [one.at for one in sent if one.sql.startswith("UPDATE process SET heartbeat_at")][-2:]
    idle = [one for one in sent if beats[0] <= one.at < beats[1]]
    allowed = IDLE_PER_SECOND + (POLLS_PER_SECOND if crowded.store.dialect.name == "mysql" else 0.0)
    assert len(idle) / (beats[1] - beats[0]) <= allowed, [one.sql[:80] for one in idle]


def test_no_statement_of_a_scheduler_reads_the_whole_past(crowded: Home, sent: Sequence[Sent]) -> None:
    statements = {one.sql: one for one in sent if one.verb in ("SELECT", "UPDATE", "DELETE", "WITH")}
    about_the_past = [one for one in statements.values() if any(table in one.sql for table in GROWING)]
    assert len(about_the_past) > 15  # or nothing was recorded
    told = {one.sql: _plan(crowded.store, one) for one in about_the_past}
    assert {sql: plan for sql, plan in told.items() if _reads_all(crowded.store.dialect.name, plan)} == {}


def _plan(store: Store, one: Sent) -> list[dict[str, Any]]:
    """The database's plan, as rows; nothing is done."""
    command = "EXPLAIN QUERY PLAN" if store.dialect.name == "sqlite" else "EXPLAIN"
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.exec_driver_sql(f"{command} {one.sql}", one.parameters).mappings()]


def _reads_all(dialect: str, plan: Sequence[dict[str, Any]]) -> bool:
    tables = "|".join(GROWING)
    match dialect:
        case "sqlite":
            return any(re.match(rf"SCAN ({tables})\b", row["detail"]) for row in plan)
        case "postgresql":
            return any(re.search(rf"Seq Scan on ({tables})\b", row["QUERY PLAN"]) for row in plan)
        case _:
            return any(row["type"] in ("ALL", "index") and row["table"] in GROWING for row in plan)


def test_what_waits_for_a_slot_is_read_once_a_second_at_most_however_much_happens() -> None:
    home = Home(WINDSOCK__SCHEDULER__TASK_QUEUED_TIMEOUT="3600")
    try:
        record = home.folder / "sent"
        home.add("d", "EmptyOperator(task_id='t')")
        process = home.run([sys.executable, "-m", "tests.servers.recording_scheduler", str(record)], "scheduler")
        runs = [home.trigger("d") for _ in range(3)]
        for _ in range(20):
            home.wait("d", runs[-1])
            runs.append(home.trigger("d"))
        home.wait("d", runs[-1])
        process.terminate()
        assert process.wait(30) == 0
        sweeps = [one.at for one in read(record) if one.sql.startswith("UPDATE process SET heartbeat_at")]
        looks = [one.at for one in read(record) if "min(task_instance.scheduled_at)" in one.sql]
        assert any(later - before < 1 for before, later in pairwise(sweeps))
        assert all(later - before >= 1 for before, later in pairwise(looks))
        assert looks
    finally:
        home.close()
