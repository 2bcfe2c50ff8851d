"""The schema's life: create, upgrade, check, reset, and that the migrations make what the tables say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text

from alerting.tables import alert_delivery, alert_event
from engine.metastore import schema
from engine.metastore.errors import SchemaOutdated
from engine.metastore.store import Store
from engine.metastore.tables import Base

ALL = [f"{number:04}" for number in (*range(1, 6), 7, *range(9, 19))]


@pytest.fixture
def empty_store(empty_database_url: str) -> Iterator[Store]:
    store = Store(empty_database_url)
    yield store
    store.close()


def execute(store: Store, statement: str) -> None:
    with store.begin() as tx:
        tx.connection.execute(text(statement))


def test_upgrade_makes_the_tables_and_does_nothing_the_second_time(empty_store: Store) -> None:
    assert empty_store.upgrade() == ALL
    assert empty_store.upgrade() == []
    empty_store.check()


def test_a_metastore_of_the_first_schema_gets_what_came_later(empty_store: Store) -> None:
    with empty_store.engine.begin() as connection:
        command.upgrade(schema._config(connection), "0001")
    assert empty_store.upgrade() == ALL[1:]
    with empty_store.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            there = {index["name"] for index in inspect(connection).get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= there, table.name


def test_callbacks_that_were_asked_for_before_are_known_by_their_run(empty_store: Store) -> None:
    with empty_store.engine.begin() as connection:
        command.upgrade(schema._config(connection), "0009")
    columns = "dedup_key, kind, scope, dag_id, fileloc, payload, state, due_at, attempts, created_at"
    values = "'on_failure', 'dag', 'd', 'f', :payload, 'done', '2026-01-01 00:00:00', 1, '2026-01-01 00:00:00'"
    for key, payload in (("a", '{"run_pk": 7}'), ("b", "{}")):
        insert = text(f"INSERT INTO callback_request ({columns}) VALUES ('{key}', {values})")
        with empty_store.begin() as tx:
            tx.connection.execute(insert, {"payload": payload})
    empty_store.upgrade()
    with empty_store.read() as connection:
        runs = connection.execute(text("SELECT run_pk FROM callback_request ORDER BY dedup_key")).scalars().all()
    assert runs == [7, None]


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ESCALATION = "its escalation cannot be told: two\nlines; it is tried again every 5m"
FALLBACK = "its fallback cannot be told: unexpected; it is tried again every 5m"
GROUP = "its group cannot be told: 100%; nothing"


def test_why_a_follow_up_was_put_off_is_no_longer_an_error_of_its_message(empty_store: Store) -> None:
    with empty_store.engine.begin() as connection:
        command.upgrade(schema._config(connection), "0017")
        event = {"id": 1, "dedup_key": "k", "kind": "task_failed", "dag_id": "d", "occurred_at": NOON, "payload": "{}"}
        connection.execute(insert(alert_event).values(event))
        errors = (FALLBACK, f"refused; {ESCALATION}; {FALLBACK}", f"{ESCALATION}; refused", GROUP, "refused", None)
        for key, error in enumerate(errors, 1):
            row = {"id": key, "event_id": 1, "channel": "c", "target": f"t{key}", "address": "", "state": "dead"}
            row |= {"attempts": 1, "error": error, "created_at": NOON, "give_up_at": NOON}
            connection.execute(insert(alert_delivery).values(row))
    empty_store.upgrade()
    with empty_store.read() as connection:
        left = connection.execute(select(alert_delivery.c.error).order_by(alert_delivery.c.id)).scalars().all()
    assert left == [None, "refused", "refused", GROUP, "refused", None]


def test_an_empty_database_is_told_to_be_initialised(empty_store: Store) -> None:
    with pytest.raises(SchemaOutdated, match=r"has no tables yet; run `windsock db init`"):
        empty_store.check()


def test_the_migrations_make_exactly_what_the_tables_say(empty_store: Store) -> None:
    empty_store.upgrade()
    with empty_store.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "version_table": schema.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_checks_and_foreign_keys_are_as_the_tables_say(empty_store: Store) -> None:
    empty_store.upgrade()
    with empty_store.engine.connect() as connection:
        found = inspect(connection)
        for table in Base.metadata.sorted_tables:
            checks = {check["name"] for check in found.get_check_constraints(table.name)}
            named = {str(one.name) for one in table.constraints if str(one.name).startswith("ck_")}
            assert named <= checks, table.name
            keys = {tuple(key["constrained_columns"]) for key in found.get_foreign_keys(table.name)}
            assert keys == {tuple(key.columns.keys()) for key in table.foreign_key_constraints}, table.name
            for key in found.get_foreign_keys(table.name):
                assert key["options"].get("ondelete") == "CASCADE", table.name


def test_a_fresh_schema_has_the_default_pool_and_the_topics(empty_store: Store) -> None:
    empty_store.upgrade()
    with empty_store.read() as connection:
        assert connection.exec_driver_sql("SELECT kind, name, slots, used FROM budget").all() == [
            ("pool", "default_pool", 128, 0)
        ]
        topics = connection.exec_driver_sql("SELECT topic FROM wakeup ORDER BY topic").scalars().all()
    assert topics == ["notifier", "scheduler"]


def test_reset_empties_every_table_and_leaves_strangers_alone(empty_store: Store) -> None:
    empty_store.upgrade()
    execute(empty_store, "CREATE TABLE stranger (id INTEGER)")
    execute(empty_store, "INSERT INTO budget (kind, name, slots, used) VALUES ('pool', 'mine', 1, 0)")
    empty_store.reset()
    empty_store.check()
    with empty_store.read() as connection:
        assert connection.exec_driver_sql("SELECT name FROM budget").scalars().all() == ["default_pool"]
        assert inspect(connection).has_table("stranger")


def test_reset_works_on_an_empty_database(empty_store: Store) -> None:
    empty_store.reset()
    empty_store.check()


def test_a_database_of_a_newer_version_is_left_alone(empty_store: Store) -> None:
    empty_store.upgrade()
    execute(empty_store, "UPDATE windsock_version SET version_num = '9999'")
    for act in (empty_store.check, empty_store.upgrade):
        with pytest.raises(SchemaOutdated, match=r"newer Windsock \(schema 9999\); upgrade this installation"):
            act()
    empty_store.reset()
    empty_store.check()


def test_processes_that_upgrade_together_migrate_once(empty_store: Store) -> None:
    url = empty_store.url.render_as_string(hide_password=False)
    told: list[list[str] | Exception] = []
    barrier = threading.Barrier(3)

    def upgrade() -> None:
        store = Store(url)
        barrier.wait(60)
        try:
            told.append(store.upgrade())
        except Exception as error:
            told.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told, key=str) == [ALL, [], []]
    empty_store.check()
