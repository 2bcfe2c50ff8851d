from __future__ import annotations

import sqlite3
from importlib import import_module

import pytest
from sqlalchemy.exc import OperationalError

from engine.cli.errors import _WORDED, Failure, Misuse, failure_of
from engine.config import ConfigError
from engine.metastore.errors import Unreachable
from engine.stack.control import StackError


@pytest.mark.parametrize("error", [ConfigError(["do this"]), Unreachable("do this"), StackError("do this")])
def test_an_error_worded_for_people_is_shown_as_it_is(error: Exception) -> None:
    assert failure_of(error).message == "do this"
    assert failure_of(error).exit_code == 1


def test_a_missing_file_is_told_with_its_name() -> None:
    assert (
        failure_of(FileNotFoundError(2, "No such file or directory", "/x")).message == "/x: No such file or directory"
    )


def test_a_database_error_is_told_without_its_statement() -> None:
    error = OperationalError("SELECT secret", {"a": "b"}, sqlite3.OperationalError("disk I/O error"))
    message = failure_of(error).message
    assert "disk I/O error" in message
    assert "SELECT" not in message


def test_an_error_that_nobody_foresaw_points_to_debug() -> None:
    message = failure_of(KeyError("x")).message
    assert message.startswith("unexpected KeyError: 'x'.")
    assert "--debug" in message


def test_a_failure_stays_what_it_is() -> None:
    misuse = Misuse("no")
    assert failure_of(misuse) is misuse
    assert misuse.exit_code == 2
    assert isinstance(misuse, Failure)


def test_several_problems_are_several_lines(capsys: pytest.CaptureFixture[str]) -> None:
    failure_of(ConfigError(["first.", "second."])).show()
    assert capsys.readouterr().err == "windsock: first.\nwindsock: second.\n"


@pytest.mark.parametrize(("module", "name"), _WORDED)
def test_every_error_that_is_worded_for_people_is_where_it_is_looked_for(module: str, name: str) -> None:
    assert issubclass(getattr(import_module(module), name), Exception)
