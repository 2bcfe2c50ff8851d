from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from engine.cli.main import COMMANDS, cli


@pytest.fixture
def runner(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"WINDSOCK_HOME": str(tmp_path)})


def test_help_names_every_command(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name} " in result.output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_says_what_it_does(name: str) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


def test_help_and_config_load_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from engine.cli.main import cli;"
        "[CliRunner().invoke(cli, words) for words in (['--help'], ['config', 'get', 'core.parallelism'])];"
        "print({'sqlalchemy', 'rich', 'psutil', 'pendulum', 'starlette', 'apprise'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_wrong_command_is_answered_with_the_right_one(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["dgas"], prog_name="windsock")
    assert result.exit_code == 2
    assert result.stderr == "windsock: there is no command windsock dgas; did you mean windsock dags?\n"


def test_a_command_unlike_any_other_is_answered_with_all_of_them(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["xyzzy"], prog_name="windsock")
    assert result.exit_code == 2
    assert "scheduler" in result.stderr


def test_a_wrong_option_is_misuse(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["status", "--outptu", "json"])
    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_an_airflow_database_is_read_by_the_metastore_exporter_only(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["exporter", "--airflow", "sqlite:////a.db"])
    assert result.exit_code == 2
    assert "windsock exporter --metastore --airflow URL" in result.stderr


def test_a_variable_that_should_hold_a_url_and_is_not_set_is_told_with_the_nearest_name(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_DATABASE_URL", "sqlite:////a.db")
    result = runner.invoke(cli, ["exporter", "--metastore", "--airflow", "env:AIRFLOW_DATABASE_UR"])
    assert result.exit_code == 2
    assert 'is not set; did you mean "AIRFLOW_DATABASE_URL"?' in result.stderr


def test_an_airflow_url_that_cannot_be_used_is_refused_without_its_password(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_DATABASE_URL", "oracle://u:hunter2@h/d")
    result = runner.invoke(cli, ["exporter", "--metastore", "--airflow", "env:AIRFLOW_DATABASE_URL"])
    assert result.exit_code == 1
    assert "this is no database URL" in result.stderr
    assert "hunter2" not in result.output
