"""What may be shown of the rooms of alerting.yml."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.rooms import rooms

FILE = """\
channels:
  room: slack://TokenA/TokenB/TokenC
  rooms: {url: "tgram://123:secret/111/222", hmac_secret: secret}
  named: env:NAMED_URL
  unset: env:UNSET_URL
  email: {rate: {messages: 1, per: 1m}}
"""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("room", "slack://********"),
        ("rooms-2", "tgram://********"),
        ("named", "discord://********"),
        ("unset", "env:UNSET_URL"),
        ("email", ""),
        ("room-x", ""),
        ("slack-3f2a9c", ""),
    ],
)
def test_a_room_is_shown_by_its_service_and_never_by_its_tokens(tmp_path: Path, name: str, shown: str) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text(FILE, encoding="utf-8")
    assert rooms(path, {"NAMED_URL": "discord://secret/secret"})(name) == shown


@pytest.mark.parametrize("text", [None, "channels: [", "channels: text", "- a list", "\x00"])
def test_a_file_that_is_missing_or_wrong_names_no_rooms(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "alerting.yml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert rooms(path, {})("room") == ""
