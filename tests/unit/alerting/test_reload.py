"""A file that is wrong changes nothing, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.meters import NoMeter
from alerting.reload import Watch

GOOD = """\
channels: {room: 'json://127.0.0.1:9/room'}
receivers:
  ops: {channels: room}
route: {receiver: ops}
"""
MISTAKES = {
    "an unknown key": ("{channels: room}", "{chanels: room}", 3, "receivers.ops.chanels", "did you mean channels?"),
    "an unknown receiver": ("receiver: ops", "receiver: opps", 4, "route.receiver", "did you mean ops?"),
    "a bad expression": (
        "{receiver: ops}",
        "{receiver: ops, routes: [{matchers: 'dag=~(x'}]}",
        4,
        "route.routes[0].matchers",
        "no regular expression of RE2",
    ),
    "an unknown calendar": (
        "{receiver: ops}",
        "{receiver: ops, mute: nigths}\nmute_windows: {nights: {windows: [{days: mon}]}}",
        4,
        "route.mute",
        "did you mean nights?",
    ),
    "a wrong time of day": (
        "{receiver: ops}",
        "{receiver: ops, mute: nights}\nmute_windows: {nights: {windows: [{times: 25:00-06:00}]}}",
        5,
        "mute_windows.nights.windows",
        "a day goes from 00:00 to 24:00",
    ),
    "a circle": (
        "{channels: room}",
        "{channels: room, escalate: {after: 1m, to: lead}}\n  lead: {channels: room, escalate: {after: 1m, to: ops}}",
        3,
        "receivers.ops.escalate",
        "escalates in a circle (ops → lead → ops)",
    ),
    "a placeholder": ("'json://127.0.0.1:9/room'", "{{ ROOM_URL }}", 1, "channels.room: a key must", "{{ NAME }}"),
    "an endless length": ("{channels: room}", "{channels: room, repeat_interval: 9999999d}", 3, "receivers.ops", "too"),
    "a receiver that cannot be": ("json://127", "jsn://127", 1, "channels.room", "did you mean json://?"),
    "a variable that is not set": (
        "'json://127.0.0.1:9/room'",
        "env:ROOM_URL",
        1,
        "channels.room",
        "the environment variable ROOM_URL is not set; set it where windsock is started",
    ),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_leaves_the_old_configuration_in_force_and_names_line_key_and_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mistake: str
) -> None:
    right, wrong, line, key, told = MISTAKES[mistake]
    path = tmp_path / "alerting.yml"
    path.write_text(GOOD, encoding="utf-8")
    watch = Watch(path, {}, NoMeter())
    before, channels = watch.routing, watch.channels
    path.write_text(GOOD.replace(right, wrong), encoding="utf-8")
    assert watch.refresh(force=True) is False
    assert watch.routing is before
    assert [channel.name for channel in watch.channels] == [channel.name for channel in channels] == ["room"]
    (logged,) = [record.getMessage() for record in caplog.records if f"line {line}: {key}" in record.getMessage()]
    assert told in logged
    assert logged.endswith("; alerts go by what was read before until it is right")


@pytest.mark.parametrize(
    "wrong", ["channels: {a: {{ URL }}}", 'a: "\\UFFFFFFFF"', f"route: {'[' * 3000}"], ids=["key", "escape", "deep"]
)
def test_a_file_that_is_wrong_at_the_start_ends_nobody(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text(wrong, encoding="utf-8")
    watch = Watch(path, {}, NoMeter())
    assert watch.routing is None
    path.write_text(GOOD, encoding="utf-8")
    assert watch.refresh(force=True)


def test_what_is_refused_is_known_with_since_when_until_it_is_corrected(tmp_path: Path) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text(GOOD.replace("receiver: ops", "receiver: opps"), encoding="utf-8")
    watch = Watch(path, {}, NoMeter())
    first = watch.refusal
    assert first is not None
    assert first.in_force == "the settings"
    assert any("line 4: route.receiver: there is no receiver 'opps'" in line for line in first.lines)
    path.write_text("route: {}", encoding="utf-8")
    watch.refresh(force=True)
    assert watch.refusal is not None
    assert watch.refusal.lines != first.lines
    assert watch.refusal.since == first.since
    path.write_text(GOOD, encoding="utf-8")
    watch.refresh(force=True)
    assert watch.refusal is None
    path.write_text("route: {}", encoding="utf-8")
    watch.refresh(force=True)
    assert watch.refusal is not None
    assert watch.refusal.in_force == "what was read before"


def test_a_channel_that_did_not_change_is_the_same_object_and_one_of_the_settings_is_none_of_the_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text(GOOD, encoding="utf-8")
    watch = Watch(path, {}, NoMeter())
    (room,) = watch.channels
    path.write_text(f"{GOOD}fallback: settings\n", encoding="utf-8")
    assert watch.refresh(force=True)
    assert watch.channels == [room]
    slower = "{room: {url: 'json://127.0.0.1:9/room', rate: {messages: 1, per: 1s}}, email: {concurrency: 1}}"
    path.write_text(GOOD.replace("{room: 'json://127.0.0.1:9/room'}", slower), encoding="utf-8")
    assert watch.refresh(force=True)
    (changed,) = watch.channels
    assert changed is not room
