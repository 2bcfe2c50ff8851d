from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import CAUSED_BY_TASKS, Plan, Suppressed, Target, match

PLAN = Plan(receivers=("slack-1", "json-2"))
CHAT = (Target("slack-1"), Target("json-2"))
MAIL = Target("email", ("alice@example.org", "bob@example.org"))


def an_event(kind: EventKind, **values: Any) -> AlertEvent:
    return AlertEvent(kind=kind, occurred_at=datetime(2026, 11, 23, tzinfo=UTC), dag_id="d", run_id="r", **values)


def mailed(kind: EventKind, **values: Any) -> AlertEvent:
    return an_event(kind, emails=("alice@example.org", "bob@example.org", "alice@example.org"), **values)


@pytest.mark.parametrize("kind", [EventKind.TASK_FAILED, EventKind.TEST])
def test_a_final_failure_is_told_by_mail_and_to_every_receiver(kind: EventKind) -> None:
    assert match(mailed(kind), PLAN) == (MAIL, *CHAT)
    assert match(an_event(kind), PLAN) == CHAT


def test_a_retry_is_told_by_mail_only() -> None:
    assert match(mailed(EventKind.TASK_RETRY), PLAN) == (MAIL,)
    assert isinstance(match(an_event(EventKind.TASK_RETRY), PLAN), Suppressed)


@pytest.mark.parametrize("cause", [None, CAUSED_BY_TASKS])
def test_a_failed_run_is_not_told_after_its_tasks_were(cause: str | None) -> None:
    assert isinstance(match(mailed(EventKind.RUN_FAILED, cause=cause), PLAN), Suppressed)


def test_a_run_that_failed_by_itself_is_told() -> None:
    assert match(an_event(EventKind.RUN_FAILED, cause="run timeout"), PLAN) == CHAT


def test_a_reason_claims_nothing_that_the_settings_do_not_say() -> None:
    def reason(kind: EventKind, plan: Plan) -> str:
        told = match(an_event(kind), plan)
        assert isinstance(told, Suppressed)
        return told.reason

    assert "chat" in reason(EventKind.TASK_RETRY, PLAN)
    assert "chat" not in reason(EventKind.TASK_RETRY, Plan())
    assert "told" not in reason(EventKind.RUN_FAILED, Plan())


@pytest.mark.parametrize("kind", EventKind)
def test_without_receivers_the_reason_is_kept(kind: EventKind) -> None:
    told = match(an_event(kind), Plan())
    assert isinstance(told, Suppressed)
    assert told.reason
