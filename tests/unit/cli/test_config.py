from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli.main import cli


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def call(home: Path, *words: str, **environment: str) -> Result:
    return CliRunner(env={"WINDSOCK_HOME": str(home), **environment}).invoke(cli, words, prog_name="windsock")


def test_list_shows_value_and_origin(home: Path) -> None:
    (home / "windsock.toml").write_text("[core]\nparallelism = 7\n")
    result = call(home, "config", "list", "--section", "core", "-o", "json", WINDSOCK__CORE__DAGS_FOLDER="/d")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert (rows["core.parallelism"]["value"], rows["core.parallelism"]["origin"]) == ("7", str(home / "windsock.toml"))
    assert rows["core.dags_folder"]["origin"] == "WINDSOCK__CORE__DAGS_FOLDER"
    assert rows["core.load_examples"]["origin"] == "default"
    assert all(name.startswith("core.") for name in rows)


def test_no_secret_is_ever_shown(home: Path) -> None:
    secrets = {
        "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": "postgresql://u:hunter2@h/d",
        "WINDSOCK__SMTP__SMTP_PASSWORD": "hunter2",
        "WINDSOCK__ALERTING__APPRISE_URLS": "slack://hunter2/b/c",
    }
    for words in (("config", "list"), ("config", "list", "-o", "json"), ("config", "get", "smtp.smtp_password")):
        result = call(home, *words, **secrets)
        assert result.exit_code == 0
        assert "hunter2" not in result.output
        assert "***" in result.output


def test_changed_shows_only_what_somebody_set(home: Path) -> None:
    result = call(home, "config", "list", "--changed", "-o", "json", WINDSOCK__CORE__PARALLELISM="3")
    assert [row["name"] for row in json.loads(result.stdout)] == ["core.parallelism"]


def test_nothing_changed_is_said(home: Path) -> None:
    assert call(home, "config", "list", "--changed").stderr == "Every setting has its default.\n"


def test_get_prints_the_bare_value(home: Path) -> None:
    assert call(home, "config", "get", "core.parallelism").stdout == "32\n"
    assert call(home, "config", "get", "--show-origin", "core.parallelism").stdout == "32  (default)\n"


def test_a_wrong_name_is_answered_with_the_right_one(home: Path) -> None:
    result = call(home, "config", "get", "core.paralelism")
    assert result.exit_code == 2
    assert result.stderr == "windsock: there is no setting core.paralelism; did you mean core.parallelism?\n"


def test_a_wrong_section_is_answered_with_the_right_one(home: Path) -> None:
    assert "did you mean scheduler?" in call(home, "config", "list", "--section", "schedular").stderr


def test_list_tells_of_a_variable_that_nearly_is_a_setting(home: Path) -> None:
    result = call(home, "config", "list", "-o", "json", AIRFLOW__CORE__PARALLELISM="3")
    assert json.loads(result.stdout)
    told = "windsock: AIRFLOW__CORE__PARALLELISM sets nothing; did you mean WINDSOCK__CORE__PARALLELISM?\n"
    assert result.stderr == told
