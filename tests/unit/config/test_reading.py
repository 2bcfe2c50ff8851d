"""Which values are allowed."""

# ruff: noqa: E501 - whole sentences in a table

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ConfigError, load


def read(home: Path, dotted: str, text: str) -> Any:
    section, key = dotted.split(".")
    return operator.attrgetter(dotted)(load({f"WINDSOCK__{section}__{key}".upper(): text, "DATA": "/data"}, home=home))


def refusal(home: Path, dotted: str, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(home, dotted, text)
    (problem,) = refused.value.problems
    return problem


LINKED = (
    "webserver.base_url",
    "grafana.url",
    *(f"prometheus.{name}" for name in ("base_url", "alertmanager_base_url", "runbook_base", "board_base")),
)


@pytest.mark.parametrize(
    ("dotted", "text", "value"),
    [
        ("core.executor", "sequentialexecutor", "SequentialExecutor"),
        ("core.parallelism", " 7 ", 7),
        ("core.killed_task_cleanup_time", "0", 0.0),
        ("core.load_examples", "OFF", False),
        ("core.load_examples", "1", True),
        ("core.default_timezone", "utc", "UTC"),
        ("core.default_timezone", "Europe/Berlin", "Europe/Berlin"),
        ("core.dags_folder", "$DATA/dags", Path("/data/dags")),
        ("core.dags_folder", "${DATA}/dags", Path("/data/dags")),
        ("logging.logging_level", "debug", "DEBUG"),
        ("metrics.statsd_host", "::1", "::1"),
        ("metrics.statsd_host", "statsd.example.org", "statsd.example.org"),
        ("metrics.statsd_prefix", "air.flow", "air.flow"),
        ("smtp.smtp_password", " spaces count ", " spaces count "),
        ("smtp.smtp_mail_from", "Alerts <alerts@example.org>", "Alerts <alerts@example.org>"),
        ("webserver.base_url", "https://flow.example.org/w/", "https://flow.example.org/w"),
        ("prometheus.runbook_base", "https://wiki.example.org/~me@home/", "https://wiki.example.org/~me@home"),
        ("prometheus.retention", "1h30m", "1h30m"),
        ("alerting.apprise_urls", "", ()),
        ("alerting.apprise_urls", "json://a/b, slack://c/d?to=x%2Cy", ("json://a/b", "slack://c/d?to=x%2Cy")),
        ("alerting.heartbeat_url", "https://hc.example.org/ping/1f2e?rid=1", "https://hc.example.org/ping/1f2e?rid=1"),
        ("alerting.heartbeat_url", "env:SWITCH_URL", "env:SWITCH_URL"),
        ("alerting.webhook_token", "0123456789abcdef", "0123456789abcdef"),
        ("database.sql_alchemy_conn", "postgresql://u:p$HOME@h/d", "postgresql+psycopg://u:p$HOME@h/d"),
        ("database.sql_alchemy_conn", "postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("database.sql_alchemy_conn", "mariadb://h/d?charset=utf8mb4", "mariadb+pymysql://h/d?charset=utf8mb4"),
        ("database.sql_alchemy_conn", "sqlite:////data/w.db", "sqlite:////data/w.db"),
        ("database.sql_alchemy_conn", "sqlite:///$DATA/w.db?timeout=5", "sqlite:////data/w.db?timeout=5"),
    ],
)
def test_an_allowed_value_is_read(dotted: str, text: str, value: Any, tmp_path: Path) -> None:
    assert read(tmp_path, dotted, text) == value


def test_relative_paths_are_taken_from_the_home(tmp_path: Path) -> None:
    assert read(tmp_path, "core.dags_folder", "mine") == tmp_path / "mine"
    assert read(tmp_path, "database.sql_alchemy_conn", "sqlite:///w.db") == f"sqlite:///{tmp_path}/w.db"


def test_a_tilde_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read(tmp_path, "core.dags_folder", "~/dags") == Path("/home/me/dags")


@pytest.mark.parametrize(
    ("dotted", "text", "said"),
    [
        ("core.executor", "LocalExecuter", "LocalExecutor or SequentialExecutor, not 'LocalExecuter' (*); did you mean LocalExecutor?"),
        ("core.parallelism", "many", "a whole number of at least 1, not 'many' (*)."),
        ("core.parallelism", "0", "a whole number of at least 1, not '0' (*)."),
        ("core.parallelism", "1.5", "a whole number of at least 1, not '1.5' (*)."),
        ("core.callback_timeout", "0", "a number greater than 0, not '0' (*)."),
        ("core.callback_timeout", "nan", "a number greater than 0, not 'nan' (*)."),
        ("core.callback_timeout", "inf", "a number greater than 0, not 'inf' (*)."),
        ("core.load_examples", "maybe", "true or false, not 'maybe' (*)."),
        ("core.dags_folder", "$NOWHERE/dags", "a path whose $VARIABLES are all set ('NOWHERE' is not), not '$NOWHERE/dags' (*)."),
        ("core.dags_folder", " ", "a path, not ' ' (*)."),
        ("core.dags_folder", "~nobody-here/x", "a path whose ~user exists, not '~nobody-here/x' (*)."),
        ("core.default_timezone", "Europe/Berlim", "a time zone such as Europe/Berlin, not 'Europe/Berlim' (*); did you mean Europe/Berlin?"),
        ("core.default_timezone", "../etc/passwd", "a time zone such as Europe/Berlin, not '../etc/passwd' (*)."),
        ("logging.logging_level", "WARN", "DEBUG, INFO, WARNING, ERROR or CRITICAL, not 'WARN' (*); did you mean WARNING?"),
        ("metrics.statsd_host", "http://x", "a host name or an IP address, without scheme and port, not 'http://x' (*)."),
        ("metrics.statsd_port", "65536", "a whole number from 1 to 65535, not '65536' (*)."),
        ("metrics.statsd_prefix", "9x", "letters, digits, underscores and dots, and start with a letter, not '9x' (*)."),
        ("smtp.smtp_mail_from", "nobody", "an email address: name@example.org or Name <name@example.org>, not 'nobody' (*)."),
        ("smtp.smtp_user", "a\nb", r"text without line breaks and control characters, not 'a\nb' (*)."),
        ("webserver.base_url", "flow.example.org", "empty or a URL that starts with http:// or https://, not 'flow.example.org' (*)."),
        *((name, "https://me:pw@h.example.org", "a URL without user and password (take out what stands before the @), not 'https://********@h.example.org' (*).") for name in LINKED),
        ("prometheus.base_url", "https://token@h", "a URL without user and password (take out what stands before the @), not 'https://********@h' (*)."),
        ("prometheus.retention", "two weeks", "a duration such as 15d, 12h or 1h30m, not 'two weeks' (*)."),
        ("prometheus.node_targets", "a:9100,http://b:9100", "addresses of the form host:port, without scheme and path, not 'a:9100,http://b:9100' (*)."),
        ("database.sql_alchemy_conn", "postgres://me:pw@h/d", "a URL that starts with sqlite://, postgresql://, mysql:// or mariadb://, not postgres://me:********@h/d (*); did you mean postgresql?"),
        ("database.sql_alchemy_conn", "postgresql+psycopg2://h/d", "a URL that starts with postgresql:// (there is no driver psycopg2 here), not postgresql+psycopg2://h/d (*)."),
        ("database.sql_alchemy_conn", "mysql://me:pw@h", "a URL that names a database: mysql://user:password@host/database, not mysql://me:********@h (*)."),
        ("database.sql_alchemy_conn", "sqlite://", "a SQLite URL with a file: sqlite:////absolute/path.db, not sqlite:// (*)."),
        ("alerting.heartbeat_url", "hc.example.org/secret", "empty, env:NAME, or a URL that starts with http:// or https://, not ******** (*)."),
        ("alerting.webhook_token", "too short", "empty, or 16 to 500 letters, digits and signs without blanks, not ******** (*)."),
        ("alerting.apprise_urls", "json://a,discord:/x/tok", "URLs of the form service://… (item 2 is not one; a comma in a URL is written %2C), not json://******** (*)."),
    ],
)  # fmt: skip
def test_a_value_that_is_not_allowed_is_refused_in_one_sentence(dotted, text, said, tmp_path: Path) -> None:
    variable = f"WINDSOCK__{dotted.replace('.', '__')}".upper()
    assert refusal(tmp_path, dotted, text) == f"{dotted} must be {said.replace('(*)', f'(set by {variable})')}"


@pytest.mark.parametrize(
    "line",
    [
        "parallelism = true",
        "parallelism = 1.0",
        "executor = 1",
        "load_examples = 1",
        "dags_folder = 1",
        "callback_timeout = []",
    ],
)
def test_the_file_must_use_the_right_type(line: str, tmp_path: Path) -> None:
    (tmp_path / "windsock.toml").write_text(f"[core]\n{line}\n")
    with pytest.raises(ConfigError, match="must be"):
        load({}, home=tmp_path)


def test_the_file_gives_lists_as_lists(tmp_path: Path) -> None:
    (tmp_path / "windsock.toml").write_text('[alerting]\napprise_urls = ["json://a", "json://b"]\n')
    assert load({}, home=tmp_path).alerting.apprise_urls == ("json://a", "json://b")


def test_the_file_must_give_lists_of_texts(tmp_path: Path) -> None:
    (tmp_path / "windsock.toml").write_text("[alerting]\napprise_urls = [1]\n")
    with pytest.raises(ConfigError, match="must be a list of texts"):
        load({}, home=tmp_path)


@pytest.mark.parametrize(
    ("dotted", "text"),
    [
        ("database.sql_alchemy_conn", "postgresql:me:topsecret@h/d"),
        ("database.sql_alchemy_conn", "postgres://me:top@secret/@h/d"),
        ("smtp.smtp_password", "topsecret\n"),
        ("alerting.apprise_urls", "slack:/topsecret"),
    ],
)
def test_no_refusal_tells_a_secret(dotted: str, text: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, dotted, text)
    assert "topsecret" not in said
    assert "secret/" not in said
