"""What Alertmanager's webhook brings, and the Watchdog, on each database."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event, select

from alerting import alertmanager, database, outbox, watchdog
from alerting.alertmanager import PayloadError, Received
from alerting.config import read
from alerting.database import transact
from alerting.events import AlertEvent, decode
from alerting.kinds import EventKind
from alerting.routes import Plan
from alerting.tables import alert_event
from tests.contract.alerting.conftest import NOW

FIRING, RESOLVED = EventKind.PROMETHEUS_FIRING, EventKind.PROMETHEUS_RESOLVED
MINUTE = timedelta(minutes=1)
START = NOW - MINUTE


def an_alert(name: str = "WindsockQueueStuck", **changes: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": name, "severity": "warning", "dag_id": "daily", "pool_name": "small"},
        "annotations": {
            "summary": "A task has been ready for long and does not run.",
            "description": "load waits for 12 min.",
            "runbook_url": "http://localhost:8080/runbooks/WindsockQueueStuck.md",
            "dashboard_url": "http://localhost:3000/d/windsock-work",
        },
        "startsAt": START.isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://localhost:9090/graph?g0.expr=1",
        "fingerprint": "0123456789abcdef",
    } | changes


def a_body(*alerts: dict[str, Any], **changes: Any) -> bytes:
    whole = {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "windsock"}
    return msgspec.json.encode(whole | {"alerts": alerts, "externalURL": "http://am:9093"} | changes)


def an_end(**changes: Any) -> dict[str, Any]:
    return an_alert(**{"status": "resolved", "endsAt": NOW.isoformat()} | changes)


def call(engine: Engine, *alerts: dict[str, Any], now: datetime = NOW) -> Received:
    payload = alertmanager.read(a_body(*alerts))
    return transact(engine, lambda connection, _: alertmanager.receive(connection, now, payload))


def recorded(engine: Engine) -> list[AlertEvent]:
    with engine.connect() as connection:
        payloads = connection.execute(select(alert_event.c.payload).order_by(alert_event.c.id)).scalars()
        return [event for payload in payloads if (event := decode(payload))]


def test_an_alert_becomes_an_event_that_says_what_where_since_when_and_what_to_do(engine: Engine) -> None:
    assert call(engine, an_alert()) == Received(alerts=1, new=1, watchdog=False)
    (event,) = recorded(engine)
    assert (event.kind, event.subject, event.dag_id, event.pool) == (FIRING, "WindsockQueueStuck", "daily", "small")
    assert (event.severity, event.occurred_at, event.started_at) == ("warning", START, START)
    assert event.summary == "A task has been ready for long and does not run."
    assert event.error == "load waits for 12 min."
    assert dict(event.labels) == {
        "alertname": "WindsockQueueStuck",
        "severity": "warning",
        "dag_id": "daily",
        "pool_name": "small",
        "runbook_url": "http://localhost:8080/runbooks/WindsockQueueStuck.md",
        "dashboard_url": "http://localhost:3000/d/windsock-work",
    }


def test_a_body_with_very_many_alerts_is_looked_up_in_parts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database takes only so many parameters in one statement."""
    monkeypatch.setattr(database, "BATCH", 2)
    many = [an_alert(fingerprint=f"{n:016x}") for n in range(5)]
    call(engine, *many)
    asked: list[int] = []

    def look(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT alert_event.dedup_key"):
            asked.append(len(parameters))

    event.listen(engine, "before_cursor_execute", look)
    ends = [end | {"fingerprint": alert["fingerprint"]} for end, alert in zip([an_end()] * 5, many, strict=True)]
    assert call(engine, *ends) == Received(alerts=5, new=5, watchdog=False)
    assert asked == [2, 2, 1]


def test_what_alertmanager_repeats_is_one_event_and_its_end_another(engine: Engine) -> None:
    assert [call(engine, an_alert()).new, call(engine, an_alert()).new] == [1, 0]
    assert [call(engine, an_end()).new, call(engine, an_end(), an_alert("Other", fingerprint="f")).new] == [1, 1]
    events = recorded(engine)
    assert [event.kind for event in events] == [FIRING, RESOLVED, FIRING]
    assert events[0].episode_key == events[1].episode_key != events[2].episode_key
    assert events[1].ended_at == NOW


def test_what_begins_anew_is_told_anew(engine: Engine) -> None:
    later = (START + MINUTE / 2).isoformat()
    for alert in (an_alert(), an_end(), an_alert(startsAt=later), an_end(startsAt=later)):
        assert call(engine, alert).new == 1


def test_what_was_called_resolved_and_fires_on_is_told_again_until_its_end(engine: Engine) -> None:
    """Alertmanager lost touch with Prometheus: the alert comes back with the beginning that it had."""
    told = [call(engine, alert).new for alert in (an_alert(), an_end(), an_alert(), an_alert(), an_end(), an_end())]
    assert told == [1, 1, 1, 0, 1, 0]
    keys = [event.episode_key for event in recorded(engine)]
    assert (keys[0] == keys[1], keys[2] == keys[3], keys[0] == keys[2]) == (True, True, False)


def test_an_end_whose_beginning_was_never_heard_of_is_told_too(engine: Engine) -> None:
    assert call(engine, an_end()).new == 1


@pytest.mark.parametrize(
    ("label", "severity"),
    [("critical", "critical"), ("page", "critical"), ("Info", "info"), ("none", "info"), ("sev1", None)],
)
def test_the_severity_is_that_of_the_label_where_it_is_one_that_is_known(label: str, severity: str | None) -> None:
    payload = alertmanager.read(a_body(an_alert(labels={"alertname": "A", "severity": label})))
    assert alertmanager.event_of(payload.alerts[0], NOW).severity == severity


def test_a_sender_whose_clock_is_ahead_tells_of_nothing_in_the_future() -> None:
    payload = alertmanager.read(a_body(an_alert(startsAt=(NOW + MINUTE).isoformat())))
    assert alertmanager.event_of(payload.alerts[0], NOW).occurred_at == NOW


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00"])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_moment_at_the_end_of_the_calendar_is_routed_too(engine: Engine, moment: str, zone: str) -> None:
    call(engine, an_alert("WindsockRunFailed", startsAt=moment), an_end(startsAt=moment, endsAt=moment))
    text = f"mute_windows: {{n: {{time_zone: {zone}, windows: [{{days: [sat], times: 22:00-06:00}}]}}}}\n"
    text += "receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops, mute: n}"
    plan = Plan(routing=read(text, Path("alerting.yml"), {}))
    with engine.begin() as connection:
        assert len(outbox.route(connection, NOW, plan).kinds) == 2


def test_only_pages_become_links() -> None:
    links = {"runbook_url": "javascript:alert(1)", "dashboard_url": "file:///etc/passwd"}
    payload = alertmanager.read(a_body(an_alert(annotations=links, generatorURL="x" * 10)))
    event = alertmanager.event_of(payload.alerts[0], NOW)
    assert event.url is None
    assert not {"runbook_url", "dashboard_url"} & dict(event.labels).keys()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not what Alertmanager's webhook sends"),
        (b"[]", "not what Alertmanager's webhook sends"),
        (b"\xff", "not what Alertmanager's webhook sends"),
        (a_body(an_alert(), version="5"), "version '5'; only version '4'"),
        (a_body(an_alert(labels={})), "alert 0 has no label alertname"),
        (a_body(an_alert(startsAt="yesterday")), r"Invalid RFC3339.*alerts\[0\].startsAt"),
        (a_body(an_alert(startsAt="2026-01-01T00:00:00")), "startsAt has no time zone"),
        (a_body(an_alert(status="silenced")), "Invalid enum value 'silenced'"),
    ],
    ids=["nothing", "a list", "no text", "another version", "no name", "no time", "no zone", "no status"],
)
def test_what_is_no_payload_is_refused_with_the_reason(body: bytes, complaint: str) -> None:
    with pytest.raises(PayloadError, match=complaint):
        alertmanager.read(body)


# --- The Watchdog -----------------------------------------------------------------------------------------------------


def miss(engine: Engine, now: datetime, since: datetime = START) -> bool:
    return transact(engine, lambda connection, _: watchdog.miss(connection, now, 5 * MINUTE, since))


def test_the_watchdog_is_remembered_and_not_told(engine: Engine) -> None:
    assert call(engine, an_alert("WindsockWatchdog")) == Received(alerts=1, new=0, watchdog=True)
    assert recorded(engine) == []


def test_its_absence_is_told_once_and_its_return_once(engine: Engine) -> None:
    call(engine, an_alert("Watchdog"))
    assert [miss(engine, NOW + 4 * MINUTE), recorded(engine)] == [False, []]
    assert [miss(engine, NOW + 6 * MINUTE), miss(engine, NOW + 7 * MINUTE)] == [True, False]
    for minutes in (8, 9):
        call(engine, an_alert("Watchdog"), now=NOW + minutes * MINUTE)
    down, up = recorded(engine)
    assert (down.kind, up.kind) == (EventKind.COMPONENT_DOWN, EventKind.COMPONENT_UP)
    assert down.summary is not None
    assert down.summary.startswith("Watchdog missed: the alert that always fires has not come for 6 min.")
    assert down.episode_key == up.episode_key
    assert [miss(engine, NOW + 13 * MINUTE), miss(engine, NOW + 15 * MINUTE)] == [False, True]


def test_a_watchdog_that_was_never_received_is_not_missed_unless_it_is_expected(engine: Engine) -> None:
    assert not miss(engine, NOW + 60 * MINUTE)
    transact(engine, lambda connection, _: watchdog.expect(connection, NOW))
    transact(engine, lambda connection, _: watchdog.expect(connection, NOW + 3 * MINUTE))
    assert [miss(engine, NOW + 4 * MINUTE), miss(engine, NOW + 6 * MINUTE)] == [False, True]


def test_what_was_not_heard_while_nobody_listened_is_not_missed(engine: Engine) -> None:
    call(engine, an_alert("Watchdog"))
    morning = NOW + 600 * MINUTE
    assert not miss(engine, morning + MINUTE, since=morning)
    assert miss(engine, morning + 6 * MINUTE, since=morning)


def test_a_watchdog_that_is_resolved_does_not_count_as_heard(engine: Engine) -> None:
    assert call(engine, an_end(name="Watchdog", labels={"alertname": "Watchdog"})) == Received(1, 0, watchdog=False)


def test_an_alert_that_ended_before_it_was_sent_says_that_it_is_over(engine: Engine) -> None:
    """Its channel was away, or its group waited: nobody is to look for what is no more."""
    plan = Plan(receivers=("chat",))
    ended_at = NOW + MINUTE
    call(engine, an_alert())
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
    call(engine, an_end(endsAt=ended_at.isoformat()), now=ended_at)
    with engine.begin() as connection:
        outbox.route(connection, ended_at, plan)
        leases = outbox.lease(connection, ended_at, MINUTE, 10, ["chat"])
    told = [(lease.event.kind, lease.event.over_at) for lease in leases if lease.event]
    assert told == [(FIRING, ended_at), (RESOLVED, None)]
