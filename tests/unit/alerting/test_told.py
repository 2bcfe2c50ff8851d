"""Who was told and what came of it, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from alerting import told
from alerting.kinds import EventKind
from alerting.outbox import Entry

MAIL = Entry(
    event_id=17,
    delivery_id=40,
    kind="task_failed",
    dag_id="d",
    run_id="r",
    task_id="t",
    try_number=1,
    occurred_at=datetime(2026, 11, 23, tzinfo=UTC),
    channel="email",
    state="dead",
    attempts=2,
    due_at=None,
    delivered_at=None,
    error="550 gone",
    number="17.1",
    addresses=("a@example.org", "b@example.org"),
)
BEFORE = replace(MAIL, delivery_id=41, number="17.2", receiver="lead", state="delivered", error=None)


@pytest.mark.parametrize(
    ("entry", "receiver"),
    [
        (replace(MAIL, receiver="ops"), "ops"),
        (MAIL, "task's email"),
        (replace(MAIL, kind=EventKind.TEST.value), "the command"),
        (replace(MAIL, channel="slack-3f2a9c"), "settings"),
        (replace(MAIL, channel=""), "nobody"),
    ],
)
def test_the_receiver_has_a_name_also_where_no_file_names_it(entry: Entry, receiver: str) -> None:
    assert told.receiver_of(entry) == receiver


@pytest.mark.parametrize(
    ("entry", "way"),
    [
        (MAIL, "email a@example.org, b@example.org"),
        (replace(MAIL, channel="room", addresses=()), "room (slack://********)"),
        (replace(MAIL, channel="gone", addresses=()), "gone"),
        (replace(MAIL, channel="", addresses=()), ""),
    ],
)
def test_the_way_is_the_channel_and_where_it_leads(entry: Entry, way: str) -> None:
    assert told.way_of(entry, lambda name: "slack://********" if name == "room" else "") == way


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("waiting", "waits for its group, which is told at 11-23 19:12:44 UTC"),
        ("pending", "waits for the rate of email, until 11-23 19:12:44 UTC"),
    ],
)
def test_what_waits_on_purpose_says_for_what_and_until_when(state: str, words: str) -> None:
    until = datetime(2026, 11, 23, 19, 12, 44, tzinfo=UTC)
    assert told.remarks(replace(MAIL, state=state, error=None, held_until=until), []) == words


@pytest.mark.parametrize(
    ("before", "heard", "words"),
    [
        (BEFORE, (41,), "its fallback lead had heard of it already: 17.2"),
        (replace(BEFORE, state="dead"), (41,), "its fallback lead is not told twice: 17.2 is dead"),
        (BEFORE, (40,), "its fallback lead would be told by the same way"),
        (replace(BEFORE, origin="fallback"), (), "its fallback lead: 17.2 (delivered)"),
        (BEFORE, (), "its fallback lead has no way to be told of this"),
    ],
)
def test_what_became_of_the_fallback_is_said(before: Entry, heard: tuple[int, ...], words: str) -> None:
    dead = replace(MAIL, receiver="ops", fell_back_to="lead", heard_before=heard)
    assert told.remarks(dead, [dead, before]) == f"550 gone; {words}"


def test_attempts_are_counted_in_good_english() -> None:
    assert [told.tries(count) for count in (0, 1, 2)] == ["0 attempts", "1 attempt", "2 attempts"]


def test_what_went_wrong_and_what_is_put_off_are_both_said() -> None:
    delay = "its fallback cannot be told: unexpected; it is tried again every 5m"
    assert told.remarks(replace(MAIL, put_off=(delay,)), []) == f"550 gone; {delay}"
