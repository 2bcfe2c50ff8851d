"""What the database refuses, and what somebody else decided meanwhile: neither stops the scheduler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text, update

from engine.metastore.states import ProcessKind
from engine.metastore.tables import DagVersion, Process
from tests.integration.scheduling.engine_home import Home, kill
from tests.servers.processes import wait_until


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home(WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="0.5")
    yield made
    made.close()


def test_a_result_that_the_database_refuses_fails_its_attempt_and_no_other(home: Home) -> None:
    home.add("bad", "BashOperator(task_id='t', bash_command='echo poison')")
    home.add("good", "BashOperator(task_id='t', bash_command='echo wholesome')")
    with home.store.begin() as tx:
        refuse = "BEGIN SELECT RAISE(ABORT, 'we do not take this'); END"
        tx.connection.execute(
            text(f"CREATE TRIGGER refuse BEFORE INSERT ON xcom WHEN NEW.value = '\"poison\"' {refuse}")
        )
    home.scheduler()
    bad, good = home.trigger("bad"), home.trigger("good")
    assert home.wait("good", good) == "success"
    assert home.wait("bad", bad) == "failed"
    assert home.last("bad").error == "its result could not be stored in the metastore; see the scheduler's log"
    assert "we do not take this" in home.output("scheduler")
    assert "poison" not in home.output("scheduler")
    assert home.used_budgets() == {}


def test_a_version_that_cannot_be_read_holds_up_no_other_dag(home: Home) -> None:
    home.add("bad", "BashOperator(task_id='t', bash_command='true')")
    home.add("good", "BashOperator(task_id='t', bash_command='true')")
    home.trigger("bad")
    with home.store.begin() as tx:
        unreadable = update(DagVersion).where(DagVersion.dag_id == "bad").values(data='{"of": "tomorrow"}')
        tx.connection.execute(unreadable)
    scheduler = home.scheduler()
    assert home.finish("good") == "success"
    assert scheduler.poll() is None
    assert "version" in home.output("scheduler")
    assert "of DAG 'bad' cannot be read" in home.output("scheduler")


def test_a_scheduler_that_was_declared_dead_begins_anew_and_its_attempts_are_lost(home: Home) -> None:
    home.add("d", "BashOperator(task_id='t', bash_command='sleep 1000', retries=0)")
    home.add("next", "BashOperator(task_id='t', bash_command='true')")
    home.scheduler()
    run_id = home.trigger("d")
    wait_until(lambda: home.running("d") == 1, "the attempt")
    before = home.supervisor
    with home.store.begin() as tx:
        tx.connection.execute(update(Process).where(Process.ended_at.is_(None)).values(ended_at=tx.now))
    assert home.wait("d", run_id) == "failed"
    assert home.last("d").cause == "lost"
    wait_until(lambda: home.alive(ProcessKind.SUPERVISOR), "another supervisor")
    assert home.supervisor != before
    assert len(home.alive(ProcessKind.SCHEDULER)) == 1
    assert home.finish("next") == "success"
    assert "declared this scheduler or its supervisor dead" in home.output("scheduler")


def test_attempts_of_an_owner_that_signed_off_are_rescued_by_the_next_scheduler(home: Home) -> None:
    home.add("d", "BashOperator(task_id='t', bash_command='sleep 1000', retries=0)")
    scheduler = home.scheduler()
    run_id = home.trigger("d")
    wait_until(lambda: home.running("d") == 1, "the attempt")
    doomed = [scheduler.pid, home.supervisor]
    with home.store.begin() as tx:  # nobody writes a heartbeat in between
        tx.connection.execute(update(Process).values(ended_at=tx.now))
        for pid in doomed:
            kill(pid)
    scheduler.wait()
    home.scheduler()
    assert home.wait("d", run_id) == "failed"
    assert home.last("d").cause == "lost"


def test_a_lost_attempt_of_a_version_that_cannot_be_read_holds_up_no_other_dag(home: Home) -> None:
    home.add("bad", "BashOperator(task_id='t', bash_command='sleep 1000')")
    home.add("good", "BashOperator(task_id='t', bash_command='true')")
    scheduler = home.scheduler()
    home.trigger("bad")
    wait_until(lambda: home.running("bad") == 1, "the attempt")
    for pid in (scheduler.pid, home.supervisor):
        kill(pid)
    scheduler.wait()
    with home.store.begin() as tx:
        unreadable = update(DagVersion).where(DagVersion.dag_id == "bad").values(data='{"of": "tomorrow"}')
        tx.connection.execute(unreadable)
    home.scheduler()
    assert home.finish("good") == "success"
    wait_until(lambda: "is left as it is" in home.output("scheduler"), "the look at what is lost")
    assert home.running("bad") == 1
