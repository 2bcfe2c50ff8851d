"""The door: what a person reads when it does not open, and what it does about conflicts and lost connections."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import insert, make_url, select, update
from sqlalchemy.exc import DBAPIError

from engine.metastore.errors import AccessDenied, Damaged, MetastoreError, Unreachable
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Budget
from tests.servers.processes import free_port, wait_until

SECRET = "hunter2-secret"


def message(url: str, error: type[MetastoreError]) -> str:
    """What ping() says; it must be one line without the password."""
    store = Store(url)
    try:
        with pytest.raises(error) as caught:
            store.ping()
        with pytest.raises(error):
            store.run(lambda tx: None)
    finally:
        store.close()
    said = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "postgresql",
        f"postgresql://user:{SECRET}@host:port/database",
        f"oracle://user:{SECRET}@host/database",
        f"postgresql+nodriver://user:{SECRET}@host:x/database",
    ],
)
def test_a_url_that_makes_no_sense_is_told_as_such(url: str) -> None:
    with pytest.raises(MetastoreError, match=r"database\.sql_alchemy_conn") as caught:
        Store(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_an_unreachable_server_is_told_as_such(scheme: str) -> None:
    port = free_port()
    said = message(f"{scheme}://windsock:{SECRET}@127.0.0.1:{port}/windsock", Unreachable)
    assert f"127.0.0.1:{port}" in said
    assert "Start it, or correct WINDSOCK__DATABASE__SQL_ALCHEMY_CONN" in said


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_host_that_does_not_resolve_is_told_as_such(scheme: str) -> None:
    message(f"{scheme}://windsock:{SECRET}@no-such-host.invalid/windsock", Unreachable)


@pytest.mark.postgresql
def test_a_wrong_password_is_told_as_such_by_postgresql(postgresql_url: str, postgresql_server) -> None:
    """The test server trusts everybody but this user."""
    url = make_url(postgresql_url)
    rules = Path(postgresql_server.folder.path) / "data" / "pg_hba.conf"
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    postgresql_server.run("CREATE ROLE locked LOGIN PASSWORD 'right'")
    postgresql_server.run("SELECT pg_reload_conf()")
    wrong = url.set(username="locked", password=SECRET).render_as_string(hide_password=False)
    wait_until(lambda: refused(wrong), "the server to read its rules again")
    assert "Correct user, password and database" in message(wrong, AccessDenied)


def refused(url: str) -> bool:
    store = Store(url)
    try:
        store.ping()
    except AccessDenied:
        return True
    finally:
        store.close()
    return False


@pytest.mark.mariadb
def test_a_wrong_password_is_told_as_such_by_mariadb(mariadb_url: str) -> None:
    wrong = make_url(mariadb_url).set(password=SECRET).render_as_string(hide_password=False)
    assert "Correct user, password and database" in message(wrong, AccessDenied)


@pytest.mark.postgresql
def test_an_unknown_database_is_told_as_such_by_postgresql(postgresql_url: str) -> None:
    wrong = make_url(postgresql_url).set(database="nowhere", password=SECRET).render_as_string(hide_password=False)
    assert "createdb nowhere" in message(wrong, AccessDenied)


@pytest.mark.postgresql
def test_an_unknown_user_is_told_as_such_by_postgresql(postgresql_url: str) -> None:
    wrong = make_url(postgresql_url).set(username="nobody", password=SECRET).render_as_string(hide_password=False)
    assert "nobody" in message(wrong, AccessDenied)


@pytest.mark.mariadb
def test_an_unknown_database_is_told_as_such_by_mariadb(mariadb_url: str) -> None:
    wrong = make_url(mariadb_url).set(database="nowhere").render_as_string(hide_password=False)
    assert "CREATE DATABASE nowhere" in message(wrong, AccessDenied)


def test_a_sqlite_file_in_a_folder_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "windsock.db"
    assert str(path) in message(f"sqlite:///{path}", Unreachable)


def test_a_folder_in_the_place_of_the_file_is_told_as_such(tmp_path: Path) -> None:
    assert str(tmp_path) in message(f"sqlite:///{tmp_path}", Unreachable)


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "windsock.db"
    path.write_text("not a database, and long enough to be looked at " * 40)
    assert str(path) in message(f"sqlite:///{path}", Damaged)


def test_nobody_waits_for_a_damaged_file_to_become_whole(tmp_path: Path) -> None:
    path = tmp_path / "windsock.db"
    path.write_text("not a database, and long enough to be looked at " * 40)
    damaged, away = Store(f"sqlite:///{path}"), Store(f"sqlite:///{tmp_path}/missing/windsock.db")
    passing = []
    for store in (damaged, away):
        with pytest.raises(MetastoreError) as caught:
            store.run(lambda tx: None)
        passing.append(store.is_passing(caught.value))
        store.close()
    assert passing == [False, True]


def test_a_missing_table_is_not_taken_for_a_refusal(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    try:
        with pytest.raises(DBAPIError) as caught:
            store.run(lambda tx: tx.connection.execute(select(Budget.name)))
        assert not isinstance(caught.value, MetastoreError)
    finally:
        store.close()


def test_a_store_shows_itself_without_its_password() -> None:
    store = Store(f"postgresql://user:{SECRET}@host/database")
    assert str(store) == "postgresql://user:***@host/database"


# -- transactions


def slots(store: Store) -> int:
    with store.read() as connection:
        return connection.execute(select(Budget.slots).where(Budget.name == "default_pool")).scalar_one()


def set_slots(tx: Tx, value: int, name: str = "default_pool") -> None:
    tx.connection.execute(update(Budget).where(Budget.name == name).values(slots=value))


def test_an_exception_rolls_back_and_is_passed_on(store: Store) -> None:
    def work(tx: Tx) -> None:
        set_slots(tx, 7)
        raise LookupError

    with pytest.raises(LookupError):
        store.run(work)
    assert slots(store) == 128


def test_run_returns_what_the_work_returns(store: Store) -> None:
    assert store.run(lambda tx: tx.dialect.name) == store.dialect.name


def test_readers_do_not_wait_for_an_open_writer(store: Store) -> None:
    with store.begin() as tx:
        set_slots(tx, 7)
        assert slots(store) == 128
    assert slots(store) == 7


def test_writers_wait_for_one_another_and_lose_nothing(store: Store) -> None:
    def count(tx: Tx) -> None:
        tx.connection.execute(update(Budget).values(slots=Budget.slots + 1))

    in_threads(4, lambda _: [store.run(count) for _ in range(10)])
    assert slots(store) == 168


def in_threads(number: int, work) -> list[BaseException]:
    errors: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    return errors


def test_a_deadlock_is_repeated_until_both_are_through(server_store: Store) -> None:
    """Two transactions take two rows in opposite order, each waiting until the other holds its first."""
    row = {"kind": "pool", "slots": 0, "used": 0}
    server_store.run(lambda tx: tx.connection.execute(insert(Budget), [{**row, "name": name} for name in "ab"]))
    barrier = threading.Barrier(2)
    tries = Counter[str]()

    def work(tx: Tx, first: str, second: str) -> None:
        tries[first] += 1
        bump(tx, first)
        if tries[first] == 1:
            barrier.wait(60)
        bump(tx, second)

    def bump(tx: Tx, name: str) -> None:
        tx.connection.execute(update(Budget).where(Budget.name == name).values(slots=Budget.slots + 1))

    orders = ["ab", "ba"]
    in_threads(2, lambda index: server_store.run(lambda tx: work(tx, *orders[index])))
    assert tries.total() >= 3
    with server_store.read() as connection:
        names = select(Budget.slots).where(Budget.name.in_(["a", "b"]))
        assert connection.execute(names).scalars().all() == [2, 2]


def kill_session(tx: Tx, killer: Store) -> None:
    """End the session of a transaction from another one."""
    if tx.dialect.name == "postgresql":
        session = tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        statement = f"SELECT pg_terminate_backend({session})"
    else:
        session = tx.connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        statement = f"KILL {session}"
    with killer.begin() as other:
        other.connection.exec_driver_sql(statement)


def test_a_lost_connection_is_repeated_with_a_new_one(server_store: Store) -> None:
    tries = []

    def work(tx: Tx) -> None:
        tries.append(tx.now)
        set_slots(tx, len(tries))
        if len(tries) == 1:
            kill_session(tx, server_store)
            set_slots(tx, 99)

    server_store.run(work)
    assert len(tries) == 2
    assert slots(server_store) == 2


def test_connections_that_died_in_the_pool_are_replaced(server_store: Store) -> None:
    sessions = Store(server_store.url.render_as_string(hide_password=False))
    try:
        server_store.run(lambda tx: None)
        end_all_others(sessions)
        server_store.run(lambda tx: set_slots(tx, 5))
        assert slots(server_store) == 5
    finally:
        sessions.close()


def end_all_others(store: Store) -> None:
    with store.begin() as tx:
        if tx.dialect.name == "postgresql":
            tx.connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        ids = tx.connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        ).scalars()
        for session in ids.all():
            tx.connection.exec_driver_sql(f"KILL {session}")


def test_a_connection_that_keeps_dying_is_given_up(server_store: Store) -> None:
    tries = []

    def work(tx: Tx) -> None:
        tries.append(1)
        kill_session(tx, server_store)
        set_slots(tx, 99)

    with pytest.raises(Unreachable):
        server_store.run(work)
    assert len(tries) == 5
    assert slots(server_store) == 128


@pytest.mark.postgresql
def test_a_restarted_postgresql_is_used_again(postgresql_server, postgresql_url: str) -> None:
    store = Store(postgresql_url)
    try:
        store.run(lambda tx: tx.now)
        postgresql_server.stop_process()
        with pytest.raises(Unreachable):
            store.run(lambda tx: tx.now)
        postgresql_server.start()
        assert store.run(lambda tx: 1) == 1
    finally:
        store.close()


def test_sessions_are_read_committed_and_speak_utc(store: Store) -> None:
    with store.read() as connection:
        match store.dialect.name:
            case "postgresql":
                assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
                assert connection.exec_driver_sql("SHOW timezone").scalar() == "UTC"
            case "mysql":
                assert connection.exec_driver_sql("SELECT @@tx_isolation").scalar() == "READ-COMMITTED"
                assert connection.exec_driver_sql("SELECT @@time_zone").scalar() == "+00:00"
            case _:
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
