"""Alerts of Prometheus about what Windsock tells by itself: left out where it was told, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from alerting import groups, outbox, twins
from alerting.channels import Refusal
from alerting.config import read
from alerting.events import AlertEvent
from alerting.groups import Wave
from alerting.kinds import EventKind
from alerting.outbox import Lease
from alerting.routes import Plan
from alerting.tables import alert_delivery, alert_event
from tests.contract.alerting.conftest import NOW

EventMaker = Callable[..., AlertEvent]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
TO_OPS = "{receiver: ops, group_by: off}"
GROUPED = "{receiver: ops, group_by: [dag], group_wait: 30s, group_interval: 5m}"
RUN_INHIBITS_TASKS = (
    "inhibit: [{source_matchers: [event=run_failed], target_matchers: [event=task_failed], equal: [dag, run]}]\n"
)


def a_plan(route: str = TO_OPS, more: str = "") -> Plan:
    boss = ", boss: {email: boss@example.org}" if "boss" in route else ""
    receivers = f"{{ops: {{email: [ops@example.org, lead@example.org]}}{boss}}}"
    return Plan(routing=read(f"receivers: {receivers}\nroute: {route}\n{more}", Path("alerting.yml"), {}))


def an_alert(name: str = "WindsockTaskFailures", at: datetime = NOW, **changes: Any) -> AlertEvent:
    """One that Prometheus fires."""
    labels = {"alertname": name} | changes.pop("labels", {})
    values: dict[str, Any] = {
        "kind": EventKind.PROMETHEUS_FIRING,
        "occurred_at": at,
        "started_at": at,
        "subject": name,
        "dag_id": "daily",
        "labels": tuple(sorted(labels.items())),
        "episode": "0123456789abcdef",
    }
    return AlertEvent(**values | changes)


def an_end(of: AlertEvent) -> AlertEvent:
    fields = {name: getattr(of, name) for name in of.__struct_fields__}
    return AlertEvent(**fields | {"kind": EventKind.PROMETHEUS_RESOLVED, "occurred_at": of.occurred_at + SECOND})


def routed(engine: Engine, now: datetime, *events: AlertEvent, plan: Plan | None = None) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, now, plan or a_plan())


def flushed(engine: Engine, now: datetime, plan: Plan | None = None) -> Wave | None:
    with engine.begin() as connection:
        return groups.flush(connection, now, plan or a_plan())


def leased(engine: Engine, now: datetime) -> list[Lease]:
    with engine.begin() as connection:
        return outbox.lease(connection, now, MINUTE, 10, ["email"])


def accepted(engine: Engine, now: datetime, **refused: Any) -> None:
    """Everything that is due is sent, and accepted."""
    for lease in leased(engine, now):
        with engine.begin() as connection:
            outbox.confirm(connection, lease, now, **refused)


def fates(engine: Engine, subject: str = "WindsockTaskFailures") -> list[tuple[str, str | None]]:
    """State and reason of each delivery of the alerts of Prometheus, oldest first."""
    query = (
        select(alert_delivery.c.state, alert_delivery.c.error, alert_event.c.payload)
        .join(alert_event, alert_event.c.id == alert_delivery.c.event_id)
        .where(alert_event.c.kind.like("prometheus%"))
        .order_by(alert_delivery.c.id)
    )
    with engine.connect() as connection:
        return [(row.state, row.error) for row in connection.execute(query) if subject in row.payload]


def test_what_windsock_has_told_is_not_told_again_and_the_record_says_why(engine: Engine, an_event: EventMaker) -> None:
    routed(engine, NOW, an_event(1))
    accepted(engine, NOW)
    routed(engine, NOW + MINUTE, an_alert(at=NOW + MINUTE))
    ((state, why),) = fates(engine)
    assert state == "suppressed"
    assert why is not None
    assert why.startswith("Windsock itself told of this: failed (daily.t1), alert ")
    routed(engine, NOW + 2 * MINUTE, an_end(an_alert(at=NOW + MINUTE)))
    assert fates(engine)[1:] == [("suppressed", "nobody was told of what this ends")]


def test_an_alert_that_tells_more_than_windsock_did_is_told(engine: Engine, an_event: EventMaker) -> None:
    """Of another DAG, of an alert without a twin, long after, or where nothing was told."""
    routed(engine, NOW, an_event(1))
    accepted(engine, NOW)
    late = NOW + twins.TWINS["WindsockTaskFailures"].lead + 2 * SECOND
    routed(engine, NOW, an_alert(dag_id="other"))
    routed(engine, NOW, an_alert("WindsockQueueStuck"))
    routed(engine, late, an_alert(at=late, episode="later"))
    assert fates(engine) == [("pending", None), ("pending", None)]
    assert fates(engine, "WindsockQueueStuck") == [("pending", None)]


@pytest.mark.parametrize("how", ["nobody is told", "it is dead", "one of two is dead", "others are told"])
def test_what_windsock_could_not_tell_is_told_by_the_alert(engine: Engine, an_event: EventMaker, how: str) -> None:
    if how == "others are told":
        plan = a_plan(
            "{receiver: ops, group_by: off, routes: [{matchers: 'event=task_failed', receiver: boss, group_by: off}]}"
        )
    elif how == "nobody is told":
        plan = a_plan("{receiver: ops, group_by: off, routes: [{matchers: 'event=task_failed', receiver: nobody}]}")
    else:
        plan = a_plan()
    routed(engine, NOW, an_event(1), *((an_event(2),) if how == "one of two is dead" else ()), plan=plan)
    leases = leased(engine, NOW)
    with engine.begin() as connection:
        for number, lease in enumerate(leases):
            if "is dead" in how and number == 0:
                outbox.bury(connection, lease, "refused")
            else:
                outbox.confirm(connection, lease, NOW)
    routed(engine, NOW + SECOND, an_alert(at=NOW + SECOND), plan=plan)
    assert fates(engine) == [("pending", None)]


def test_an_alert_is_told_where_nobody_can_read_who_had_windsocks_own_message(
    engine: Engine, an_event: EventMaker
) -> None:
    routed(engine, NOW, an_event(1, kind=EventKind.RUN_FAILED, task_id=None, emails=()))
    accepted(engine, NOW)
    with engine.begin() as connection:
        connection.execute(update(alert_delivery).values(address="{"))
    routed(engine, NOW, an_alert("WindsockRunFailed"))
    assert [lease.addresses for lease in leased(engine, NOW)] == [("ops@example.org", "lead@example.org")]


def test_who_of_a_mail_did_not_get_it_is_told_by_the_alert(engine: Engine, an_event: EventMaker) -> None:
    routed(engine, NOW, an_event(1))
    accepted(engine, NOW, never=[Refusal(("lead@example.org",), "no such mailbox")])
    routed(engine, NOW + SECOND, an_alert(at=NOW + SECOND))
    assert fates(engine) == [("pending", None)]


@pytest.mark.parametrize("route", [TO_OPS, GROUPED])
def test_an_alert_and_its_end_are_told_where_windsocks_own_message_is_on_its_way(
    engine: Engine, an_event: EventMaker, route: str
) -> None:
    """Also where it is accepted before the group is told."""
    plan = a_plan(route)
    routed(engine, NOW, an_event(1), plan=a_plan())
    routed(engine, NOW, an_alert(), plan=plan)
    accepted(engine, NOW)
    routed(engine, NOW + SECOND, an_end(an_alert()), plan=plan)
    flushed(engine, NOW + MINUTE, plan)
    accepted(engine, NOW + MINUTE)
    assert fates(engine) == [("delivered", None), ("delivered", None)]


def test_an_alert_leaves_the_pace_of_its_group_alone(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(GROUPED)
    routed(engine, NOW, an_event(1), an_alert(), plan=plan)
    assert flushed(engine, NOW + 30 * SECOND, plan) == Wave(("email",))
    routed(engine, NOW + MINUTE, an_event(2), plan=plan)
    assert flushed(engine, NOW + 5 * MINUTE, plan) is None
    assert flushed(engine, NOW + 30 * SECOND + 5 * MINUTE, plan) == Wave(("email",))


def test_without_an_alerting_yml_it_is_the_same(engine: Engine, an_event: EventMaker) -> None:
    plan = Plan(receivers=("chat",))
    routed(engine, NOW, an_event(1, emails=()), plan=plan)
    with engine.begin() as connection:
        for lease in outbox.lease(connection, NOW, MINUTE, 10, ["chat"]):
            outbox.confirm(connection, lease, NOW)
    routed(engine, NOW + SECOND, an_alert(), plan=plan)
    assert [state for state, _ in fates(engine)] == ["suppressed"]


def test_a_failed_run_that_its_tasks_tell_needs_no_alert_and_one_whose_task_is_not_told_does(
    engine: Engine, an_event: EventMaker
) -> None:
    run = an_event(0, kind=EventKind.RUN_FAILED, task_id=None, try_number=None, cause="task_failures")
    routed(engine, NOW, an_event(1), run)
    accepted(engine, NOW)
    routed(engine, NOW + SECOND, an_alert("WindsockRunFailed", at=NOW + SECOND))
    ((state, why),) = fates(engine, "WindsockRunFailed")
    assert state == "suppressed"
    assert "failed (daily.t1), alert" in (why or "")  # the one that was told, and not the run
    alone = an_event(5, kind=EventKind.RUN_FAILED, dag_id="other", task_id=None, try_number=None, cause="task_failures")
    routed(engine, NOW, alone)
    routed(engine, NOW + SECOND, an_alert("WindsockRunFailed", at=NOW + SECOND, dag_id="other", episode="other"))
    assert fates(engine, "WindsockRunFailed")[1] == ("pending", None)


@pytest.mark.parametrize("ops_hear_of_the_run", [True, False])
def test_a_task_that_its_run_inhibits_is_told_by_the_alert_where_the_run_was_not(
    engine: Engine, an_event: EventMaker, ops_hear_of_the_run: bool
) -> None:
    elsewhere = "{receiver: ops, group_by: off, routes: [{matchers: [event=run_failed], receiver: boss}]}"
    plan = a_plan(TO_OPS if ops_hear_of_the_run else elsewhere, RUN_INHIBITS_TASKS)
    run = an_event(2, run_id="r2", kind=EventKind.RUN_FAILED, task_id=None, try_number=None, cause="timed_out")
    for own in (an_event(1), run, an_event(3, run_id="r2")):
        routed(engine, NOW, own, plan=plan)
    accepted(engine, NOW)
    routed(engine, NOW + MINUTE, an_alert(at=NOW + MINUTE), plan=plan)
    assert [state for state, _ in fates(engine)] == ["suppressed" if ops_hear_of_the_run else "pending"]


@pytest.mark.parametrize(
    ("name", "labels", "kind", "subject", "other"),
    [
        ("WindsockAlertsDead", {"channel": "pager"}, EventKind.DELIVERY_FAILING, "pager", "room"),
        ("WindsockSchedulerHeartbeatMissing", {}, EventKind.COMPONENT_DOWN, "scheduler on a", "dag-processor on a"),
        (
            "WindsockProcessSilent",
            {"component": "dag_processor", "hostname": "a"},
            EventKind.COMPONENT_DOWN,
            "dag-processor on a",
            "dag-processor on b",
        ),
    ],
)
def test_troubles_of_the_house_are_known_by_what_they_are_about(
    engine: Engine, name: str, labels: dict[str, str], kind: EventKind, subject: str, other: str
) -> None:
    def own(about: str) -> AlertEvent:
        return AlertEvent(kind=kind, occurred_at=NOW, subject=about)

    routed(engine, NOW, own(other))
    accepted(engine, NOW)
    routed(engine, NOW, an_alert(name, dag_id=None, labels=labels, episode="first"))
    routed(engine, NOW, own(subject))
    accepted(engine, NOW)
    routed(engine, NOW, an_alert(name, dag_id=None, labels=labels, episode="second"))
    assert [state for state, _ in fates(engine, name)] == ["delivered", "suppressed"]


@pytest.mark.parametrize("kind", [EventKind.SLA_AT_RISK, EventKind.SLA_MISSED])
def test_whoever_was_told_of_a_deadline_by_windsock_is_not_told_that_it_is_near(
    engine: Engine, an_event: EventMaker, kind: EventKind
) -> None:
    routed(engine, NOW, an_event(1, kind=kind))
    accepted(engine, NOW)
    routed(engine, NOW + MINUTE, an_alert("WindsockSlaAtRisk", at=NOW + MINUTE))
    assert [state for state, _ in fates(engine, "WindsockSlaAtRisk")] == ["suppressed"]


LEAD_FAILS = AlertEvent(kind=EventKind.DELIVERY_FAILING, occurred_at=NOW, subject="email to lead@example.org")


@pytest.mark.parametrize(
    ("name", "fate"),
    [
        ("WindsockAlertsDead", "suppressed"),
        ("WindsockAlertsStuck", "suppressed"),
        ("WindsockAlertsDelayed", "pending"),  # it comes before Windsock has told that mail itself is late
        ("WindsockDeliveryFails", "pending"),
    ],
)
def test_what_an_address_did_not_take_is_told_once(engine: Engine, name: str, fate: str) -> None:
    """Of the receiver's two addresses one fails, and only the other one hears of that: nobody else is to hear of it."""
    routed(engine, NOW, LEAD_FAILS)
    assert [lease.addresses for lease in leased(engine, NOW)] == [("ops@example.org",)]
    accepted(engine, NOW + MINUTE)
    routed(engine, NOW + MINUTE, an_alert(name, at=NOW + MINUTE, dag_id=None, labels={"channel": "email"}))
    ((state, why),) = fates(engine, name)
    assert state == fate
    if fate == "suppressed":
        assert str(why).startswith("Windsock itself told of this: ")
        assert "(email to lead@example.org), alert " in str(why)


def test_an_address_does_not_stand_for_another_channel_nor_for_mail_that_fails(engine: Engine) -> None:
    routed(engine, NOW, LEAD_FAILS)
    accepted(engine, NOW)
    of_pager = an_alert("WindsockAlertsDead", dag_id=None, labels={"channel": "pager"}, episode="pager")
    routed(engine, NOW, AlertEvent(kind=EventKind.DELIVERY_FAILING, occurred_at=NOW, subject="email"))  # nobody hears
    of_mail = an_alert("WindsockAlertsDead", dag_id=None, labels={"channel": "email"}, episode="mail")
    routed(engine, NOW, of_pager, of_mail)
    assert [state for state, _ in fates(engine, "WindsockAlertsDead")] == ["pending", "pending"]


def test_to_whom_nobody_told_that_its_address_fails_the_alert_is_told(engine: Engine) -> None:
    lead = Plan(routing=read("receivers: {a: {email: lead@example.org}}\nroute: {receiver: a}", Path("a.yml"), {}))
    routed(engine, NOW, LEAD_FAILS)
    accepted(engine, NOW)
    routed(engine, NOW, an_alert("WindsockAlertsDead", dag_id=None, labels={"channel": "email"}), plan=lead)
    assert [state for state, _ in fates(engine, "WindsockAlertsDead")] == ["pending"]


def test_every_broken_file_must_be_told_before_the_alert_about_all_of_them_is_left_out(engine: Engine) -> None:
    def broken(path: str, **changes: Any) -> AlertEvent:
        return AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=NOW, subject=path, **changes)

    plan = a_plan(
        "{receiver: ops, group_by: off, routes: [{matchers: 'subject=b.py', receiver: nobody}]}",
    )
    routed(engine, NOW, broken("a.py"), broken("b.py"), plan=plan)
    accepted(engine, NOW)
    routed(engine, NOW + MINUTE, an_alert("WindsockImportErrors", at=NOW + MINUTE, dag_id=None), plan=plan)
    assert fates(engine, "WindsockImportErrors") == [("pending", None)]
    repaired = AlertEvent(kind=EventKind.DAG_REPAIRED, occurred_at=NOW + MINUTE, subject="b.py")
    routed(engine, NOW + MINUTE, repaired, plan=plan)
    again = an_alert("WindsockImportErrors", at=NOW + 2 * MINUTE, dag_id=None, episode="again")
    routed(engine, NOW + 2 * MINUTE, again, plan=plan)
    assert fates(engine, "WindsockImportErrors")[1][0] == "suppressed"


def test_too_much_to_look_at_is_told(engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "MOST_EVENTS", 2)
    routed(engine, NOW, *(an_event(number) for number in range(3)))
    accepted(engine, NOW)
    routed(engine, NOW + SECOND, an_alert(at=NOW + SECOND))
    assert fates(engine) == [("pending", None)]


def test_alerts_that_ask_the_same_are_answered_by_one_look(engine: Engine, an_event: EventMaker) -> None:
    routed(engine, NOW, an_event(1))
    accepted(engine, NOW)
    looks: list[str] = []

    def listen(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if "ended_by IS NULL" in sql and "occurred_at >=" in sql:
            looks.append(sql)

    event.listen(engine, "before_cursor_execute", listen)
    alerts = [an_alert(at=NOW + n * SECOND, episode=f"{n}") for n in range(5)]
    routed(engine, NOW + MINUTE, *alerts, an_alert(dag_id="other", episode="x"))
    event.remove(engine, "before_cursor_execute", listen)
    assert len(looks) == 2
    assert [state for state, _ in fates(engine)] == ["suppressed"] * 5 + ["pending"]


def test_the_look_at_one_dag_goes_through_the_index_of_its_open_troubles(engine: Engine) -> None:
    rows = [
        {"dedup_key": f"k{n}", "kind": "task_failed", "dag_id": f"d{n % 50}", "occurred_at": NOW + n * SECOND}
        for n in range(2_000)
    ]
    query = twins._open(twins._About(twins.TWINS["WindsockRunFailed"], "d3", None), NOW + 1_900 * SECOND)
    with engine.begin() as connection:
        connection.execute(alert_event.insert(), [row | {"payload": "{}", "routed_at": NOW} for row in rows])
        connection.exec_driver_sql("ANALYZE TABLE alert_event" if engine.name in ("mysql", "mariadb") else "ANALYZE")
        sql = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
        command = "EXPLAIN QUERY PLAN" if engine.name == "sqlite" else "EXPLAIN"
        told = str(connection.exec_driver_sql(f"{command} {sql}".replace("%", "%%")).all())
    assert "ix_alert_event_dag_open" in told
