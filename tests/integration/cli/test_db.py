from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli.main import cli
from engine.metastore import processes
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.web.users import ensure_admin, verify

Command = Callable[..., Result]


@pytest.fixture
def bare(tmp_path: Path) -> Command:
    """The command in an empty home."""

    def call(*words: str, answer: str | None = None) -> Result:
        runner = CliRunner(env={"WINDSOCK_HOME": str(tmp_path)})
        return runner.invoke(cli, words, prog_name="windsock", input=answer)

    return call


def test_init_makes_the_tables_and_a_second_time_does_nothing(bare: Command) -> None:
    assert "is up to date now" in bare("db", "init").stdout
    assert "was up to date" in bare("db", "init").stdout
    assert "was up to date" in bare("db", "upgrade").stdout
    assert "is ready" in bare("db", "check").stdout


def test_reset_asks_and_takes_no_for_an_answer(bare: Command, tmp_path: Path) -> None:
    bare("db", "init")
    before = (tmp_path / "windsock.db").read_bytes()
    result = bare("db", "reset", answer="n\n")
    assert result.exit_code == 1
    assert "will be lost" in result.stdout
    assert (tmp_path / "windsock.db").read_bytes() == before


def test_reset_with_yes_does_not_ask(windsock: Command, store: Store) -> None:
    ensure_admin(store)
    result = windsock("db", "reset", "--yes")
    assert result.exit_code == 0, result.output
    assert ensure_admin(store) is not None  # nobody is left


def test_reset_is_refused_while_somebody_works_on_the_metastore(windsock: Command, store: Store) -> None:
    ensure_admin(store)
    identity = processes.identify(ProcessKind.DAG_PROCESSOR)  # this very process, which surely lives
    store.run(lambda tx: processes.register(tx, identity))
    result = windsock("db", "reset", "--yes")
    assert result.exit_code == 1
    assert result.stderr == "windsock: dag-processor is running; first: windsock down\n"
    assert ensure_admin(store) is None
    store.run(lambda tx: processes.end(tx, [identity.id]))
    assert windsock("db", "reset", "--yes").exit_code == 0


def test_reset_helps_where_there_are_no_tables_and_where_all_processes_are_dead(
    bare: Command, windsock: Command, store: Store
) -> None:
    assert bare("db", "reset", "--yes").exit_code == 0
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as scheduler:
        identity = processes.identify(ProcessKind.SCHEDULER, scheduler.pid)
        store.run(lambda tx: processes.register(tx, identity))
        assert windsock("db", "reset", "--yes").exit_code == 1
    assert windsock("db", "reset", "--yes").exit_code == 0


def test_reset_says_that_the_users_go_too(bare: Command) -> None:
    assert "users" in bare("db", "reset", answer="n\n").stdout
    assert "the next windsock up makes admin anew" in bare("db", "reset", "--yes").stdout


def test_a_new_password_is_made_and_kept_for_the_owner(windsock: Command, store: Store, home: Path) -> None:
    ensure_admin(store)
    result = windsock("users", "reset-password")
    assert result.exit_code == 0, result.output
    path = home / "admin-password"
    assert str(path) in result.stdout
    assert path.stat().st_mode & 0o077 == 0
    password = path.read_text().strip()
    assert password not in result.output
    assert verify(store, "admin", password)


def test_an_unknown_user_is_told(windsock: Command, store: Store) -> None:
    result = windsock("users", "reset-password", "nobody")
    assert result.exit_code == 1
    assert "there is no user 'nobody'" in result.stderr


def test_check_asks_for_the_heartbeat_of_this_host_only(windsock: Command, store: Store) -> None:
    silent = windsock("db", "check", "--alive", "dag-processor")
    assert (silent.exit_code, "start it: windsock dag-processor" in silent.stderr) == (1, True)
    identity = processes.identify(ProcessKind.DAG_PROCESSOR)
    store.run(lambda tx: processes.register(tx, identity))
    assert windsock("db", "check", "--alive", "dag-processor").exit_code == 0
    assert windsock("db", "check", "--alive", "scheduler").exit_code == 1
    store.run(
        lambda tx: processes.register(tx, replace(identity, id="elsewhere", hostname="another", kind="scheduler"))
    )
    assert windsock("db", "check", "--alive", "scheduler").exit_code == 1
    store.run(lambda tx: processes.end(tx, [identity.id]))
    assert windsock("db", "check", "--alive", "dag-processor").exit_code == 1


def test_check_tells_of_a_heartbeat_that_is_too_old(windsock: Command, store: Store) -> None:
    identity = processes.identify(ProcessKind.NOTIFIER)
    store.run(lambda tx: processes.register(tx, identity))
    long_ago = "2026-01-01 00:00:00.000000"
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE process SET heartbeat_at = ?", (long_ago,))
    done = windsock("db", "check", "--alive", "notifier")
    assert done.exit_code == 1
    assert "the notifier of this host was last heard of" in done.stderr
