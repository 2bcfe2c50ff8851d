from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli.main import cli
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
