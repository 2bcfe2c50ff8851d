"""What the database fixtures promise to every other test."""

from __future__ import annotations

from sqlalchemy import inspect, text

from engine.metastore.store import Store
from tests.servers.databases import MariaDB, PostgreSQL


def test_a_metastore_holds_the_current_schema(metastore_url: str) -> None:
    store = Store(metastore_url)
    try:
        store.check()
        assert store.upgrade() == []
    finally:
        store.close()


def test_a_clone_shares_nothing_with_the_next_one(metastore_url: str, request) -> None:
    server = request.getfixturevalue(f"{request.node.callspec.params['metastore_url']}_server")
    other = server.clone()
    try:
        _tick(metastore_url)
        assert _wakeups(metastore_url) == 1
        assert _wakeups(other) == 0
    finally:
        server.drop(other)


def test_a_clone_keeps_foreign_keys_and_checks(metastore_url: str, request) -> None:
    server = request.getfixturevalue(f"{request.node.callspec.params['metastore_url']}_server")
    upgraded = server.create()
    try:
        store = Store(upgraded)
        store.upgrade()
        store.close()
        assert _constraints(metastore_url) == _constraints(upgraded)
    finally:
        server.drop(upgraded)


def test_an_empty_database_has_no_table(empty_database_url: str) -> None:
    assert _inspect(empty_database_url, lambda tables: tables.get_table_names()) == []


def test_postgresql_comes_back_with_its_data_after_a_kill(postgresql_server: PostgreSQL, postgresql_url: str) -> None:
    _tick(postgresql_url)
    postgresql_server.stop_process()
    postgresql_server.start()
    assert _wakeups(postgresql_url) == 1


def test_mariadb_comes_back_with_its_data_after_a_kill(mariadb_server: MariaDB, mariadb_url: str) -> None:
    _tick(mariadb_url)
    mariadb_server.stop_process()
    mariadb_server.start()
    assert _wakeups(mariadb_url) == 1


def _tick(url: str) -> None:
    _execute(url, "INSERT INTO wakeup (topic, changes) VALUES ('clone', 1)")


def _wakeups(url: str) -> int:
    return _execute(url, "SELECT count(*) FROM wakeup WHERE topic = 'clone'")


def _execute(url: str, statement: str) -> int:
    store = Store(url)
    try:
        with store.begin() as tx:
            result = tx.connection.execute(text(statement))
            return result.scalar_one() if result.returns_rows else 0
    finally:
        store.close()


def _constraints(url: str) -> dict[str, object]:
    def read(tables) -> dict[str, object]:
        return {
            table: (
                sorted(str(sorted(key["constrained_columns"])) for key in tables.get_foreign_keys(table)),
                sorted(str(check["name"]) for check in tables.get_check_constraints(table)),
                sorted(str(index["name"]) for index in tables.get_indexes(table)),
            )
            for table in tables.get_table_names()
        }

    return _inspect(url, read)


def _inspect(url: str, read):
    store = Store(url)
    try:
        with store.engine.connect() as connection:
            return read(inspect(connection))
    finally:
        store.close()
