"""What people read of a missed deadline."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from alerting.channels import Message
from alerting.digest import Words, sections
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.render import Renderer

DUE = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
MISSED = AlertEvent(
    kind=EventKind.SLA_MISSED,
    occurred_at=DUE,
    dag_id="sales",
    run_id="scheduled__2026-11-22",
    started_at=DUE,
    due_at=DUE,
    summary="load and publish were not done by 2026-11-23 02:30:00 UTC.",
    error="extract is running since 2026-11-23 00:30:02 UTC, attempt 1 of 3",
    missed=("load", "publish"),
    blocking=("extract",),
    url="http://localhost:8080/dags/sales/runs/1",
    episode="17",
)


def render(event: AlertEvent) -> Message:
    return Renderer(lambda *_: [], str).render(event)


def test_a_mail_says_what_is_missed_by_when_and_what_blocks_it() -> None:
    message = render(MISSED)
    assert message.subject == "SLA missed: sales"
    for line in (
        "load and publish were not done by 2026-11-23 02:30:00 UTC.",
        "extract is running since 2026-11-23 00:30:02 UTC, attempt 1 of 3",
        "Due:          2026-11-23 02:30:00 UTC",
        "Missed:       load, publish",
        "Blocked by:   extract",
    ):
        assert line in message.text.splitlines()
    for word in (">Missed<", ">load, publish<", ">Blocked by<", ">extract<"):
        assert word in message.html
    assert "Ended:" not in message.text, "what is late has not ended"
    assert message.failed


def test_a_chat_message_names_them_too() -> None:
    chat = render(MISSED).chat
    assert "Missed: load, publish" in chat
    assert "Blocked by: extract" in chat


@pytest.mark.parametrize(
    ("task", "started", "told"),
    [
        ("load", None, ("Started", "Not started")),
        (None, None, ("Started", "Not started")),
        ("load", DUE, ("Started", "2026-11-23")),
        (None, DUE, ("Run started", "2026-11-23")),
    ],
)
def test_the_start_is_that_of_the_task_and_may_be_none(
    task: str | None, started: datetime | None, told: tuple[str, str]
) -> None:
    changes = {"task_id": task, "started_at": started, "kind": EventKind.SLA_MISSED}
    message = render(AlertEvent(**{**_fields(MISSED), **changes}))
    starts = [(fact.label, fact.value[:11].strip()) for fact in message.facts if "tarted" in fact.label]
    assert starts == [(told[0], told[1])]


def test_of_very_many_tasks_some_are_named_and_the_rest_is_counted() -> None:
    names = tuple(f"t{number}" for number in range(40))
    text = render(AlertEvent(kind=EventKind.SLA_MISSED, occurred_at=DUE, dag_id="d", missed=names, episode="1")).text
    assert "t11 and 28 more" in text
    assert "t12" not in text


def test_a_digest_names_what_an_event_of_several_tasks_is_about() -> None:
    (section,) = sections([MISSED], Words(str, str, str))
    (line,) = section.lines
    assert line == (
        "SLA missed load, publish: load and publish were not done by 2026-11-23 02:30:00 UTC: "
        "extract is running since 2026-11-23 00:30:02 UTC, attempt 1 of 3"
    )


def test_a_second_miss_of_the_same_run_is_another_event() -> None:
    assert MISSED.dedup_key != AlertEvent(**_fields(MISSED) | {"episode": "18"}).dedup_key


def _fields(event: AlertEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__}
