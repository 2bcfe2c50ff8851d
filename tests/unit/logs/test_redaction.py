"""Masking secrets in text."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import load
from engine.logs.redaction import Redactor, environment_secrets


def test_a_known_secret_is_masked_wherever_it_stands() -> None:
    redactor = Redactor(["hunter22"])
    assert redactor.redact("hunter22 and xhunter22x") == "******** and x********x"


def test_the_longest_of_overlapping_secrets_wins() -> None:
    assert Redactor(["secret", "secret-and-more"]).redact("secret-and-more") == "********"


@pytest.mark.parametrize("printed", ["p@ss/w&rd", "p%40ss%2Fw%26rd", "p%40ss/w%26rd"])
def test_a_secret_is_masked_in_the_forms_that_urls_give_it(printed: str) -> None:
    assert Redactor(["p@ss/w&rd"]).redact(f"a {printed} b") == "a ******** b"


def test_a_secret_is_masked_in_json_and_repr() -> None:
    secret = 'quo"te\\back'
    redactor = Redactor([secret])
    assert "te" not in redactor.redact(json.dumps(secret))
    assert "back" not in redactor.redact(repr(secret))


def test_each_line_of_a_key_is_masked() -> None:
    redactor = Redactor(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQE\n-----END KEY-----"])
    assert redactor.redact("kqhkiG9w0BAQE") == "********"


def test_a_value_too_short_to_be_secret_masks_nothing() -> None:
    assert Redactor(["root", ""]).redact("root cause") == "root cause"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pw@db/x", "postgresql://me:********@db/x"),
        ("redis://:pw@cache:6379", "redis://:********@cache:6379"),
        ("mysql://me:p@ss@db/x", "mysql://me:********@db/x"),
        ("see http://host:8080/a@b", "see http://host:8080/a@b"),
        ("https://github.com/a/b", "https://github.com/a/b"),
        ("a://u:p@h b://v:q@i", "a://u:********@h b://v:********@i"),
    ],
)
def test_passwords_in_urls_are_masked_though_nobody_named_them(text: str, shown: str) -> None:
    assert Redactor([]).redact(text) == shown


def test_the_settings_secrets_are_masked(tmp_path: Path) -> None:
    environ = {
        "WINDSOCK__SMTP__SMTP_PASSWORD": "mail-secret",
        "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": "postgresql://me:data%40secret@db/x",
        "WINDSOCK__ALERTING__APPRISE_URLS": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#alerts",
    }
    redactor = Redactor.from_settings(load(environ, home=tmp_path), environ={})
    told = redactor.redact("mail-secret data%40secret data@secret TIiajkdnlazkcOXrIdevi7FQ #alerts")
    assert told == "******** ******** ******** ******** #alerts"


def test_the_token_of_the_webhook_and_the_url_of_the_switch_are_masked(tmp_path: Path) -> None:
    environ = {
        "WINDSOCK__ALERTING__WEBHOOK_TOKEN": "a-token-of-24-characters",
        "WINDSOCK__ALERTING__HEARTBEAT_URL": "https://hc.example.org/4f1c2d7e-secret-part",
    }
    redactor = Redactor.from_settings(load(environ, home=tmp_path), environ={})
    assert redactor.redact("a-token-of-24-characters 4f1c2d7e-secret-part") == "******** ********"


def test_the_host_of_a_webhook_is_no_secret(tmp_path: Path) -> None:
    environ = {"WINDSOCK__ALERTING__APPRISE_URLS": "json://a-long-name.internal.example.org/hook"}
    redactor = Redactor.from_settings(load(environ, home=tmp_path), environ={})
    assert redactor.redact("cannot reach a-long-name.internal.example.org") == (
        "cannot reach a-long-name.internal.example.org"
    )


@pytest.mark.parametrize("name", ["DB_PASSWORD", "GITHUB_TOKEN", "client_secret", "OPENAI_API_KEY", "AWS_ACCESS_KEY"])
def test_variables_with_secret_names_are_masked(name: str) -> None:
    assert list(environment_secrets({name: "value"})) == ["value"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOME", "/root"), ("DB_PASSWORD_FILE", "/run/secrets/db"), ("ALLOW_EMPTY_PASSWORD", "False")],
)
def test_variables_that_only_sound_secret_are_not(name: str, value: str) -> None:
    assert list(environment_secrets({name: value})) == []


def test_the_password_of_a_url_variable_is_masked_by_itself() -> None:
    redactor = Redactor(environment_secrets({"BROKER": "amqp://me:rabbit-hole@mq"}))
    assert redactor.redact("login with rabbit-hole") == "login with ********"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer s3cret-Tok8n!and+more:tail", "Authorization: Bearer ********"),
        ("Authorization: Bearer abcd1234s3cret-Tok8n!and+more:tail", "Authorization: Bearer ********"),
        ("redis://me:s3cret-Tok8n!and+more:tail@cache", "redis://me:********@cache"),
        ("redis://me:their-s3cret-Tok8n!and+more:tail@cache", "redis://me:********@cache"),
        ("redis://s3cret-Tok8n!and+more:tail@cache", "redis://********@cache"),
        ("redis://me:bearer=abcd/1234@cache", "redis://me:********@cache"),
    ],
)
def test_a_known_secret_is_masked_whole_where_a_part_of_it_is_a_token_or_a_password(text: str, shown: str) -> None:
    assert Redactor(["s3cret-Tok8n!and+more:tail"]).redact(text) == shown


def test_a_password_is_masked_whole_though_its_end_and_its_host_are_a_known_secret() -> None:
    assert Redactor(["word@cache"]).redact("redis://me:password@cache") == "redis://me:********"


def test_a_token_is_masked_where_its_kind_is_called_a_secret() -> None:
    assert Redactor(["Bearer"]).redact("Authorization: Bearer abcd1234") == "Authorization: ******** ********"


def test_a_known_secret_is_masked_whole_where_another_one_ends_within_it() -> None:
    assert Redactor(["first-one", "one-and-only"]).redact("a first-one-and-only b") == "a ******** b"


@given(st.lists(st.text("ab", min_size=5, max_size=9), min_size=1, max_size=4), st.text("ab", max_size=40))
def test_every_letter_of_every_known_secret_is_masked_and_no_other(secrets: list[str], text: str) -> None:
    masked = {
        place
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
        for place in range(start, start + len(secret))
    }
    left = "".join(letter for place, letter in enumerate(text) if place not in masked)
    assert Redactor(secrets).redact(text).replace("*", "") == left


def test_a_text_that_is_secrets_one_within_the_other_takes_little_memory() -> None:
    redactor, text = Redactor(["aaaaaaaa"]), "a" * 100_000
    tracemalloc.start()
    try:
        assert redactor.redact(text) == "********"
        assert tracemalloc.get_traced_memory()[1] < len(text)
    finally:
        tracemalloc.stop()


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    redactor = Redactor(["hunter22"])
    once = redactor.redact(text)
    assert redactor.redact(once) == once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer ya29.a0AfH6SMBx-_w==", "Authorization: Bearer ********"),
        ("{'Authorization': 'bearer 0123456789abcdef'}", "{'Authorization': 'bearer ********'}"),
        ("bearer=abcdefg1, next", "bearer=********, next"),
        ("the bearer certificate has expired", "the bearer certificate has expired"),
        ("bearer abc1", "bearer abc1"),
        ("BEARER 0123456789abcdef", "BEARER ********"),
    ],
)
def test_a_bearers_token_is_masked_though_nobody_named_it(text: str, shown: str) -> None:
    assert Redactor([]).redact(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Basic bWU6aHVudGVyMjI=", "Authorization: Basic ********"),
        ("{'authorization': 'basic bWU6aHVudGVyMjI='}", "{'authorization': 'basic ********'}"),
        ('"Proxy-Authorization": "BASIC bWU6eA=="', '"Proxy-Authorization": "BASIC ********"'),
        ("HTTP_AUTHORIZATION: Basic bWU6aHVudGVyMjI=", "HTTP_AUTHORIZATION: Basic ********"),
        ("{'HTTP_AUTHORIZATION': 'basic bWU6eA=='}", "{'HTTP_AUTHORIZATION': 'basic ********'}"),
        ("basic python3.11 is there", "basic python3.11 is there"),
        ("the authorization is basic", "the authorization is basic"),
    ],
)
def test_user_and_password_in_a_header_are_masked_though_nobody_named_them(text: str, shown: str) -> None:
    assert Redactor([]).redact(text) == shown


def test_a_secret_that_is_not_utf_8_is_masked() -> None:
    assert Redactor(["hunter22\udcff"]).redact("login with hunter22\udcff") == "login with ********"


@given(st.text(), st.text(st.characters(exclude_characters="*\0"), min_size=5), st.text())
def test_no_secret_survives(before: str, secret: str, after: str) -> None:
    stripped = secret.strip()
    if len(stripped) >= 5:
        assert stripped not in Redactor([secret]).redact(f"{before}{stripped}{after}").replace("********", "\0")


@pytest.mark.parametrize(
    "unit",
    [
        "://",
        "://a:",
        ":",
        "a",
        "://:",
        "://a:b",
        "@",
        "://a@",
        "hunter2",
        "h",
        "bearer ",
        "bearer=",
        "bearer=a1",
        "uthorization basic ",
        "uthorization: basic a",
        "UTHORIZATION: BASIC ",
        "bearer",
    ],
)
def test_time_grows_with_the_length_and_not_faster(unit: str) -> None:
    redactor = Redactor(["hunter22", "hunter2" * 4, "h" * 40])
    small, large = (_fastest(redactor, unit * (size // len(unit))) for size in (20_000, 320_000))
    assert large < small * 16 * 4 + 0.02  # sixteen times the text; quadratic would be 256 times


def _fastest(redactor: Redactor, text: str) -> float:
    def once() -> float:
        began = time.thread_time()  # whoever else runs meanwhile does not count
        redactor.redact(text)
        return time.thread_time() - began

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    "value",
    [
        '{"conn_type": "postgres", "login": "me", "password": "rabbit-hole"}',
        '{"conn_type": "http", "extra": {"headers": [{"api_key": "rabbit-hole"}]}}',
        json.dumps({"conn_type": "aws", "extra": json.dumps({"aws_secret_access_key": "rabbit-hole"})}),
        "aws://?aws_access_key_id=AKIA&aws_secret_access_key=rabbit-hole",
        "http://host/?__extra__=%7B%22token%22%3A+%22rabbit-hole%22%7D",
        '{"secrets": ["x", {"any": "rabbit-hole"}]}',
    ],
)
def test_a_connection_in_a_variable_is_masked_however_it_is_written(value: str) -> None:
    redactor = Redactor(environment_secrets({"AIRFLOW_CONN_DB": value}))
    assert redactor.redact("login with rabbit-hole as me") == "login with ******** as me"


@pytest.mark.parametrize("value", ["{", "{}", "[" * 100_000, "{" + '"a":{' * 100_000, "http://host/?q=never"])
def test_a_variable_that_is_no_connection_is_no_secret(value: str) -> None:
    assert list(environment_secrets({"ORDINARY": value})) == []


def test_the_kind_of_a_token_and_the_path_of_a_key_are_no_secrets() -> None:
    told = {"token_type": "Bearer", "private_key_path": "/opt/keys/k.pem", "api_key": 12345678}
    redactor = Redactor(environment_secrets({"AIRFLOW_CONN_DB": json.dumps(told)}))
    assert redactor.redact("Authorization: Bearer eyJhbGciOi1234567890") == "Authorization: Bearer ********"
    assert redactor.redact("read /opt/keys/k.pem with 12345678") == "read /opt/keys/k.pem with ********"
