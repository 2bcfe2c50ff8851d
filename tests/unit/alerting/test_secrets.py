"""What is found in alerting.yml and the settings, whatever state they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.secrets import Secrets, secrets_of

ENVIRON = {"ROOM_URL": " slack://a/b/c ", "ROOM_HMAC": "signs", "INNER": "json://h/x?hmac=env:DEEPER", "DEEPER": "deep"}


def found(tmp_path: Path, text: str, *urls: str) -> Secrets:
    path = tmp_path / "alerting.yml"
    path.write_text(text, encoding="utf-8")
    return secrets_of(path, urls, ENVIRON)


def test_no_file_has_none(tmp_path: Path) -> None:
    assert secrets_of(tmp_path / "alerting.yml", [], ENVIRON) == Secrets()


def test_urls_and_keys_are_found_with_the_variables_that_hold_them(tmp_path: Path) -> None:
    text = "channels: {a: env:ROOM_URL, b: {url: 'json://h/literal', hmac_secret: env:ROOM_HMAC}, c: {hmac_secret: k}}"
    expected = Secrets({"ROOM_URL", "ROOM_HMAC"}, {"slack://a/b/c", "json://h/literal"}, {"signs", "k"})
    assert found(tmp_path, text) == expected


def test_a_url_may_say_what_signs(tmp_path: Path) -> None:
    assert found(tmp_path, "channels: {a: env:INNER}").names == {"INNER", "DEEPER"}
    assert found(tmp_path, "", "json://h/x?a=b&hmac=a%2Fb").keys == {"a/b"}
    assert found(tmp_path, "", "env:INNER").keys == {"deep"}


def test_a_variable_that_is_not_set_is_still_named(tmp_path: Path) -> None:
    assert found(tmp_path, "channels: {a: env:UNSET}").names == {"UNSET"}


def test_what_is_no_channel_is_no_secret(tmp_path: Path) -> None:
    assert found(tmp_path, "route: {matchers: 'label.url=\"http://host/env:NO\"', receiver: env:NEITHER}") == Secrets()


@pytest.mark.parametrize(
    "text",
    [
        "receivers: {ops: {channels: ['slack://a/b/c#room']}}",
        "route: {receiver: 'slack://a/b/c#room'}",
        "'slack://a/b/c#room': {}",
    ],
)
def test_a_url_is_a_secret_wherever_it_was_put(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == Secrets(urls={"slack://a/b/c#room"})


@pytest.mark.parametrize(
    "text",
    [
        "channels:\n  a: env:ROOM_URL\n  b: {url: 'json://h/literal', hmac_secret: \"k\"}\nroute: [",
        "- channels: {a: env:ROOM_URL, b: json://h/literal, hmac_secret: k}",
    ],
    ids=["no YAML", "no mapping"],
)
def test_a_file_that_is_wrong_gives_what_can_be_found(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == Secrets({"ROOM_URL"}, {"slack://a/b/c", "json://h/literal"}, {"k"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "channels:",
        "channels: 3",
        "channels: {[a, b]: {c: d}}",
        "{[a]: b}",
        "channels: &all {again: *all}",
        "\x00",
        "[" * 5_000,
        'a: "\\UFFFFFFFF"',
    ],
    ids=["empty", "nothing", "number", "odd key", "odd root", "endless", "zero", "deep", "no character"],
)
def test_no_file_stops_a_process(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == Secrets()


def test_a_folder_in_its_place_is_no_file(tmp_path: Path) -> None:
    assert secrets_of(tmp_path, [], ENVIRON) == Secrets()
