from __future__ import annotations

from datetime import UTC, datetime

import pytest

from alerting.addressees import ROUTING, TOGETHER, UNREADABLE, subject_of
from alerting.events import AlertEvent
from alerting.kinds import EventKind, Severity
from alerting.words import facts, sentence, verdict

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("subject", "begun", "over"),
    [
        (
            "ops-room",
            "Messages for this channel are not accepted, so somebody is not told.",
            "Messages for this channel are accepted again.",
        ),
        (
            subject_of("email", "ops@example.org"),
            "Messages for this address are not accepted, so somebody is not told.",
            "Messages for this address are accepted again.",
        ),
        (ROUTING, "Alerts cannot be routed, so nobody is told of them.", "Every alert is routed again."),
        (
            TOGETHER,
            "What is told together, or follows a message, cannot be told for now, so somebody is not told.",
            "Groups and follow-ups are told again.",
        ),
        (
            UNREADABLE,
            "Messages that wait to be sent cannot be read, so somebody is not told.",
            "No message is found any more that cannot be read.",
        ),
    ],
)
def test_a_trouble_with_deliveries_says_what_fails(subject: str, begun: str, over: str) -> None:
    told = (EventKind.DELIVERY_FAILING, EventKind.DELIVERY_RECOVERED)
    assert [sentence(AlertEvent(kind=kind, occurred_at=NOW, subject=subject)) for kind in told] == [begun, over]


@pytest.mark.parametrize(("severity", "begun"), [("critical", "Critical"), ("error", "Notice"), (None, "Notice")])
def test_a_notice_that_is_critical_begins_with_that(severity: Severity | None, begun: str) -> None:
    assert verdict(AlertEvent(kind=EventKind.NOTIFIED, occurred_at=NOW, severity=severity)) == begun


@pytest.mark.parametrize(
    ("operator", "told"),
    [
        ("_PythonDecoratedOperator", "@task"),
        ("_BranchPythonDecoratedOperator", "@task.branch"),
        ("_ShortCircuitDecoratedOperator", "@task.short_circuit"),
        ("DecoratedSensorOperator", "@task.sensor"),
        ("BashOperator", "BashOperator"),
    ],
)
def test_an_operator_is_called_as_a_dag_file_does(operator: str, told: str) -> None:
    event = AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=NOW, operator=operator)
    assert dict(facts(event))["Operator"] == told
