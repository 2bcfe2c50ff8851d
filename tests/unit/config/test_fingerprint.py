"""Telling whether settings changed, without telling them."""

from __future__ import annotations

from pathlib import Path

from engine.config import Settings, load
from engine.config.fingerprint import DELIVERY, fingerprint, matches


def settings(home: Path, **variables: str) -> Settings:
    return load({f"WINDSOCK__{name}": value for name, value in variables.items()}, home)


def test_the_same_settings_match_and_their_fingerprint_differs_each_time(tmp_path: Path) -> None:
    told = fingerprint(settings(tmp_path))
    assert matches(told, settings(tmp_path))
    assert told != fingerprint(settings(tmp_path))


def test_a_secret_counts_and_is_not_told(tmp_path: Path) -> None:
    before, after = settings(tmp_path, SMTP__SMTP_PASSWORD="one"), settings(tmp_path, SMTP__SMTP_PASSWORD="two")
    told = fingerprint(before, DELIVERY)
    assert matches(told, before, DELIVERY)
    assert not matches(told, after, DELIVERY)


def test_only_the_sections_that_were_asked_for_count(tmp_path: Path) -> None:
    before, after = settings(tmp_path), settings(tmp_path, CORE__PARALLELISM="3")
    assert matches(fingerprint(before, DELIVERY), after, DELIVERY)
    assert not matches(fingerprint(before), after)


def test_what_another_version_wrote_counts_as_a_match(tmp_path: Path) -> None:
    assert matches("", settings(tmp_path))
    assert matches("v2:whatever", settings(tmp_path))
