"""What the pages read and sign-in writes, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alerting.clock import database_now
from alerting.reload import Refusal
from engine.metastore.pausing import set_paused
from engine.metastore.refused import refused
from engine.metastore.states import RunType
from engine.metastore.store import Store
from engine.metastore.transitions.creating import create_run
from engine.web import queries, users
from engine.web.health import report
from engine.web.sessions import close_session, find_session, open_session
from tests.integration.web.world import World, daily, task

RUN = "scheduled__2026-11-23T05:30:00+00:00"


@pytest.fixture
def store(metastore_url: str) -> Iterator[Store]:
    store = Store(metastore_url)
    yield store
    store.close()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    with store.read() as connection:
        return World(store, tmp_path, database_now(connection))


def test_the_dag_list_has_each_dags_own_last_runs(store: Store, world: World) -> None:
    for name in ("a", "A", "b"):
        world.dag(name, [task("t")], schedule=daily(), next_in=60, is_paused=name == "b")
        for number in range(12):
            world.run(name, f"{name}{number}", "success", 100, 1)
    with store.read() as connection:
        found = queries.dags(connection)
        only = queries.dags(connection, search="b")
    recent = {entry.dag_id: [mark.run_id for mark in entry.recent] for entry in found.entries}
    assert recent == {name: [f"{name}{number}" for number in range(2, 12)] for name in ("a", "A", "b")}
    assert [(entry.dag_id, bool(entry.is_paused)) for entry in only.entries] == [("b", True)]


def test_a_run_its_tasks_and_attempts_are_read_back(store: Store, world: World) -> None:
    world.dag("sales", [task("extract"), task("clean", "extract")])
    world.process("supervisor", hostname="worker-7")
    run = (world.run("sales", RUN, "running", 60, conf={"region": "EU"}), "sales", RUN)
    world.task(run, "extract", "success", 1, 60, 30)
    ti = world.task(run, "clean", "running", 2, 20, owner="supervisor-1")
    world.attempt(ti, 1, "up_for_retry", "exit", 30, 25, exit_code=3)
    with store.read() as connection:
        listed = queries.runs(connection, "sales")
        facts = queries.run(connection, "sales", RUN)
        assert facts
        lines = queries.tasks(connection, facts).entries
        first = queries.attempt(connection, "sales", RUN, "clean", 1)
        second = queries.attempt(connection, "sales", RUN, "clean", 2)
        third = queries.attempt(connection, "sales", RUN, "clean", 3)
    assert listed.entries[0].counts == {"running": 1, "success": 1}
    assert facts.conf == {"region": "EU"}
    assert [(line.task_id, line.depth, line.after) for line in lines] == [
        ("extract", 0, ()),
        ("clean", 1, ("extract",)),
    ]
    assert first
    assert (first.exit_code, first.is_live, first.hostname) == (3, False, "etl-01")
    assert second
    assert (second.state, second.is_live, second.hostname) == ("running", True, "worker-7")
    assert second.others == ((1, "up_for_retry"), (2, "running"))
    assert third is None


def test_ids_are_told_apart_by_case(store: Store, world: World) -> None:
    world.dag("Sales")
    with store.read() as connection:
        assert queries.dag(connection, "sales") is None
        assert queries.dag(connection, "Sales")


def test_import_errors_are_read_and_counted(store: Store, world: World) -> None:
    world.broken_file("/b.py", error="boom", error_line=3, error_since=world.now)
    world.broken_file("/fine.py")
    with store.read() as connection:
        found = queries.import_errors(connection)
        frame = queries.frame(connection, timedelta(seconds=30), world.now)
    assert [(file.path, file.line, file.what, file.since) for file in found] == [("/b.py", 3, "boom", world.now)]
    assert frame.import_errors == 1


def test_what_the_notifier_that_lives_refuses_of_its_file_is_read_back(store: Store, world: World) -> None:
    refusal = Refusal(("alerting.yml, line 4: wrong",), world.now, "the settings")
    world.process("notifier", 40, id="before", ended_at=world.now)
    world.process("notifier", 5, detail={"settings": "x"} | refused(refusal))
    with store.read() as connection:
        assert queries.frame(connection, timedelta(seconds=30), world.now).refusal == refusal
    world.process("notifier", 1, id="newer")
    with store.read() as connection:
        assert queries.frame(connection, timedelta(seconds=30), world.now).refusal is None


def test_a_dag_knows_that_its_file_is_broken(store: Store, world: World) -> None:
    world.dag("sales")
    world.dag("stock")
    world.broken_file("/srv/flows/sales.py", error="Traceback\nboom", error_line=3, error_since=world.now)
    with store.read() as connection:
        listed = {entry.dag_id: entry.broken for entry in queries.dags(connection).entries}
        one = queries.dag(connection, "sales")
    assert one
    assert one.broken
    assert (one.broken.line, one.broken.what, one.broken.since) == (3, "boom", world.now)
    assert listed["stock"] is None
    assert listed["sales"]
    assert (listed["sales"].url, listed["sales"].traceback) == (one.broken.url, None)


def test_health_goes_by_the_databases_clock(store: Store, world: World) -> None:
    world.process("scheduler", 1)
    world.process("notifier", 31)
    body = report(store, timedelta(seconds=30))
    assert (body["scheduler"]["status"], body["notifier"]["status"]) == ("healthy", "unhealthy")


def test_sign_in_from_the_first_password_to_the_end_of_the_session(store: Store) -> None:
    password = users.ensure_admin(store)
    assert password
    assert users.ensure_admin(store) is None
    assert users.verify(store, "Admin", password) is None
    user_id = users.verify(store, "admin", password)
    assert user_id
    token = open_session(store, user_id)
    session = find_session(store, token)
    assert session
    assert session.username == "admin"
    renewed = open_session(store, user_id, replaces=token)
    assert find_session(store, token) is None
    close_session(store, renewed)
    assert find_session(store, renewed) is None


def test_pausing_twice_and_triggering(store: Store, world: World) -> None:
    world.dag("d", [task("t")])
    for paused in (True, True, False):
        store.run(lambda tx, paused=paused: set_paused(tx, "d", paused=paused))
        with store.read() as connection:
            entry = queries.dag(connection, "d")
        assert entry
        assert bool(entry.is_paused) is paused
    run_id = store.run(lambda tx: create_run(tx, "d", RunType.MANUAL, triggered_by="admin"))
    with store.read() as connection:
        facts = queries.run(connection, "d", run_id)
    assert facts
    assert facts.triggered_by == "admin"
