"""Settings told to people, without their secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.config import Settings, describe, load, reference_page
from engine.config.masking import hide_password
from engine.config.sections import all_keys
from engine.stack.inventory import all_components


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {
        "WINDSOCK__SMTP__SMTP_PASSWORD": "topsecret",
        "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": "postgresql://me:topsecret@db/x",
        "WINDSOCK__ALERTING__APPRISE_URLS": "slack://topsecret/x,json://topsecret",
        "WINDSOCK__CORE__DAG_CONCURRENCY": "3",
    }
    return load(environ, home=tmp_path)


def test_every_key_is_listed_with_value_origin_and_default(settings: Settings) -> None:
    listed = {setting.name: setting for setting in describe(settings)}
    assert list(listed) == [key.dotted for key in all_keys()]
    tasks = listed["core.max_active_tasks_per_dag"]
    assert (tasks.value, tasks.origin, tasks.default) == ("3", "WINDSOCK__CORE__DAG_CONCURRENCY", "16")
    assert listed["core.load_examples"].value == "true"
    assert listed["core.load_examples"].origin == "default"


def test_secrets_are_listed_masked(settings: Settings) -> None:
    listed = {setting.name: setting.value for setting in describe(settings)}
    assert listed["smtp.smtp_password"] == "********"
    assert listed["database.sql_alchemy_conn"] == "postgresql+psycopg://me:********@db/x"
    assert listed["alerting.apprise_urls"] == "slack://********, json://********"
    assert listed["alerting.heartbeat_url"] == ""  # none is set, and none is hidden


def test_an_unset_secret_is_seen_to_be_unset(tmp_path: Path) -> None:
    listed = {setting.name: setting.value for setting in describe(load({}, home=tmp_path))}
    assert listed["smtp.smtp_password"] == ""


def test_repr_tells_no_secret(settings: Settings) -> None:
    assert "topsecret" not in repr(settings)
    assert "parallelism='32'" in repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://u:p@ss:w@rd@h/d", "mysql://u:********@h/d"),
        ("mysql://u@h/d", "mysql://u@h/d"),
        ("postgresql://h/d?user=u&password=p&x=1", "postgresql://h/d?user=u&password=********&x=1"),
        ("not a url with pw@", "********"),
    ],
)
def test_a_database_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_the_reference_page_tells_every_key_and_every_section() -> None:
    page = reference_page()
    for key in all_keys():
        assert f"`{key.name}`<br>`{key.variable}`" in page
        assert f"## [{key.section}]" in page
        assert key.about.help in page
    assert "| whole number from 1 to 65535 | `9125` |" in page
    assert "Also written `dag_concurrency`." in page


def test_every_help_is_a_sentence() -> None:
    for key in all_keys():
        assert key.about.help.endswith("."), key.dotted
        assert key.about.help[0].isupper(), key.dotted


def test_the_address_of_the_pages_follows_the_port(tmp_path: Path) -> None:
    assert load({}, home=tmp_path).webserver.url == "http://localhost:8080"
    told = load({"WINDSOCK__WEBSERVER__BASE_URL": "https://w.example.org/"}, home=tmp_path)
    assert told.webserver.url == "https://w.example.org"


def test_the_block_that_moves_the_ports_moves_all_of_them_and_keeps_them_together(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", reference_page(), re.DOTALL)
    (tmp_path / "windsock.toml").write_text(block)
    before, after = load({}, home=tmp_path / "other"), load({}, home=tmp_path)

    def ports(settings: Settings) -> list[tuple[str, int]]:
        return [(port.protocol, port.number) for one in all_components(settings) for port in one.ports]

    assert [(protocol, number + 10_000) for protocol, number in ports(before)] == ports(after)
    assert after.metrics.statsd_port == after.exporter.statsd_port
