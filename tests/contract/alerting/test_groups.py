"""Groups, waves, limits and silences as rows, on every database."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select, update

from alerting import failing, groups, heartbeat, outbox, silences
from alerting.channels import Refusal
from alerting.config import read
from alerting.database import transact
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.groups import Wave
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.outbox import Lease
from alerting.routes import Plan
from alerting.tables import alert_delivery, alert_group
from tests.contract.alerting.conftest import NOW

EventMaker = Callable[..., AlertEvent]
MINUTE = timedelta(minutes=1)


def a_plan(
    route: str = "{receiver: ops, group_by: [dag], group_wait: 30s, group_interval: 5m}", limit: int = 1000
) -> Plan:
    text = f"receivers: {{ops: {{email: ops@example.org, limit: {{messages: {limit}, per: 1m}}}}}}\nroute: {route}\n"
    return Plan(routing=read(text, Path("alerting.yml"), {}))


def recorded(engine: Engine, plan: Plan, now: datetime, *events: AlertEvent) -> outbox.Routed:
    with engine.begin() as connection:
        outbox.record(connection, events)
        return outbox.route(connection, now, plan)


def flushed(engine: Engine, plan: Plan, now: datetime) -> Wave | None:
    with engine.begin() as connection:
        return groups.flush(connection, now, plan)


def leased(engine: Engine, now: datetime, limit: int = 10) -> list[Lease]:
    with engine.begin() as connection:
        return outbox.lease(connection, now, MINUTE, limit, ["email"])


def confirmed(engine: Engine, lease: Lease, now: datetime, **refused: Any) -> bool:
    with engine.begin() as connection:
        return outbox.confirm(connection, lease, now, **refused)


def states(engine: Engine) -> Counter[str]:
    with engine.begin() as connection:
        return Counter(connection.execute(select(alert_delivery.c.state)).scalars())


def test_an_interval_of_an_older_file_may_lead_out_of_the_calendar(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1))
    with engine.begin() as connection:
        connection.execute(update(alert_group).values(interval_seconds=timedelta(days=9_999_999).total_seconds()))
    assert flushed(engine, plan, NOW + MINUTE) is not None


def test_a_group_waits_and_is_told_in_one_message(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    recorded(engine, plan, NOW + timedelta(seconds=20), an_event(3))
    assert states(engine) == {"waiting": 3}
    assert flushed(engine, plan, NOW + timedelta(seconds=29)) is None
    later = NOW + timedelta(seconds=30)
    assert flushed(engine, plan, later) == Wave(("email",))
    (lease,) = leased(engine, later)
    assert lease.event is not None
    assert [event.task_id for event in (lease.event, *lease.others)] == ["t1", "t2", "t3"]
    assert confirmed(engine, lease, later)
    assert states(engine) == {"delivered": 3}


def test_what_waits_says_when_its_group_is_told(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    assert told_until(engine) == [NOW + timedelta(seconds=30)] * 2
    flushed(engine, plan, NOW + MINUTE)
    recorded(engine, plan, NOW + MINUTE, an_event(3))
    assert told_until(engine) == [NOW + 6 * MINUTE, None, None]  # the others are in a message that is under way


def told_until(engine: Engine) -> list[datetime | None]:
    """Until when each line waits for its group, the newest first."""
    with engine.begin() as connection:
        return [entry.held_until for entry in outbox.listing(connection)]


def test_what_comes_after_the_first_message_waits_for_the_interval_and_then_the_group_rests(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1))
    first = NOW + timedelta(seconds=30)
    flushed(engine, plan, first)
    recorded(engine, plan, first + MINUTE, an_event(2))
    assert flushed(engine, plan, first + 4 * MINUTE) is None
    assert flushed(engine, plan, first + 5 * MINUTE) == Wave(("email",))
    assert flushed(engine, plan, first + 10 * MINUTE) == Wave()
    with engine.begin() as connection:
        assert groups.next_due(connection) is None
    recorded(engine, plan, first + 20 * MINUTE, an_event(3))
    assert flushed(engine, plan, first + 20 * MINUTE + timedelta(seconds=30)) == Wave(("email",))


def test_what_waited_on_purpose_is_young_when_it_is_sent(engine: Engine, an_event: EventMaker) -> None:
    """Its age, as a message that is given up or that shows a failing channel, begins with its wave."""
    plan = a_plan("{receiver: ops, group_by: [dag], group_wait: 7d}")
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    later = NOW + timedelta(days=7)
    assert flushed(engine, plan, later) == Wave(("email",))
    with engine.begin() as connection:
        assert failing.look(connection, later, timedelta(minutes=15), ["email"]) == 0
        assert heartbeat.oldest_untold(connection) == later
        ages = connection.execute(select(alert_delivery.c.give_up_at, alert_delivery.c.waiting_since)).all()
    assert set(ages) == {(later + plan.give_up_after, later)}
    (lease,) = leased(engine, later)
    assert lease.give_up_at > later


def test_what_is_replayed_is_young_again(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, Plan(), NOW, an_event(1))
    (lease,) = leased(engine, NOW)
    later = NOW + timedelta(days=7)
    with engine.begin() as connection:
        assert heartbeat.oldest_untold(connection) == NOW
        outbox.bury(connection, lease, "550 no")
        outbox.replay(connection, later, timedelta(days=1))
        assert failing.look(connection, later, timedelta(minutes=15), ["email"]) == 0
        assert heartbeat.oldest_untold(connection) == later


@pytest.mark.parametrize("told_before", [True, False])
def test_a_file_that_changed_holds_for_groups_that_are_there(
    engine: Engine, an_event: EventMaker, *, told_before: bool
) -> None:
    slow = a_plan("{receiver: ops, group_by: [dag], group_wait: 6h, group_interval: 7d}")
    recorded(engine, slow, NOW, an_event(1))
    if told_before:
        flushed(engine, slow, NOW + timedelta(hours=6))
        recorded(engine, slow, NOW + timedelta(hours=6), an_event(2))
    later = NOW + timedelta(hours=7 if told_before else 1)
    recorded(engine, a_plan(), later, an_event(3))
    assert flushed(engine, a_plan(), later + timedelta(seconds=30)) == Wave(("email",))
    with engine.begin() as connection:
        assert groups.next_due(connection) == later + timedelta(seconds=30) + 5 * MINUTE


def test_a_file_that_changed_asks_for_no_message_before_its_own_interval(engine: Engine, an_event: EventMaker) -> None:
    slow = a_plan("{receiver: ops, group_by: [dag], group_wait: 0s, group_interval: 7d}")
    recorded(engine, slow, NOW, an_event(1))
    flushed(engine, slow, NOW)
    recorded(engine, a_plan(), NOW + MINUTE, an_event(2))
    with engine.begin() as connection:
        assert groups.next_due(connection) == NOW + 5 * MINUTE


def test_a_wave_takes_its_locks_in_the_order_of_a_router(engine: Engine, an_event: EventMaker) -> None:
    """First the receiver's pace, then its group: two that take them the other way round wait for each other."""
    plan = a_plan(limit=5)
    recorded(engine, plan, NOW, an_event(1))
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, k, statement, *_: seen.append(statement))
    assert flushed(engine, plan, NOW + MINUTE) == Wave(("email",))
    tables = [table for one in seen for table in ("alert_group", "alert_pace") if f"FROM {table}" in one]
    assert [table for table, _ in itertools.groupby(tables)][:3] == ["alert_group", "alert_pace", "alert_group"]
    if engine.dialect.name != "sqlite":  # which locks the whole file
        assert "alert_pace" in next(one for one in seen if "FOR UPDATE" in one)


def test_groups_differ_by_the_chosen_labels(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1), an_event(2, dag_id="hourly"), an_event(3))
    later = NOW + MINUTE
    while flushed(engine, plan, later):
        pass
    told = [
        sorted(event.task_id or "" for event in (lease.event, *lease.others) if event)
        for lease in leased(engine, later)
    ]
    assert sorted(told) == [["t1", "t3"], ["t2"]]


def test_a_dead_message_is_dead_for_all_that_it_told_of_and_is_replayed_as_one(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, *(an_event(n) for n in range(3)))
    flushed(engine, plan, NOW + MINUTE)
    (lease,) = leased(engine, NOW + MINUTE)
    with engine.begin() as connection:
        assert outbox.bury(connection, lease, "550 no")
    assert states(engine) == {"dead": 3}
    with engine.begin() as connection:
        one = connection.execute(
            select(alert_delivery.c.id).where(alert_delivery.c.id != lease.id).limit(1)
        ).scalar_one()
        assert outbox.replay(connection, NOW + MINUTE, timedelta(days=1), [one]) == 3
    (again,) = leased(engine, NOW + MINUTE)
    assert len(again.others) == 2
    assert confirmed(engine, again, NOW + MINUTE)
    assert states(engine) == {"delivered": 3}


def test_an_address_that_refused_a_message_about_several_gets_it_again_as_one(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, *(an_event(n) for n in range(3)))
    flushed(engine, plan, NOW + MINUTE)
    (lease,) = leased(engine, NOW + MINUTE)
    refused = {"later": [Refusal(("slow@example.org",), "451")], "never": [Refusal(("gone@example.org",), "550")]}
    assert confirmed(engine, lease, NOW + MINUTE, **refused)
    assert states(engine) == {"delivered": 3, "dead": 3, "pending": 1, "waiting": 2}
    (again,) = leased(engine, NOW + MINUTE)
    assert (again.addresses, len(again.others)) == (("slow@example.org",), 2)
    assert confirmed(engine, again, NOW + MINUTE)
    assert states(engine) == {"delivered": 6, "dead": 3}


def test_a_failed_run_is_told_together_with_its_tasks_that_still_wait(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan("{receiver: ops, group_by: [task], group_wait: 30s}")
    run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, try_number=None, cause="task_failures")
    recorded(engine, plan, NOW, an_event(1), an_event(2), an_event(3, run_id="another"))
    recorded(engine, plan, NOW + timedelta(seconds=1), run)
    while flushed(engine, plan, NOW + MINUTE):
        pass
    sizes = sorted(1 + len(lease.others) for lease in leased(engine, NOW + MINUTE))
    assert sizes == [1, 3]


def test_beyond_the_limit_the_rest_becomes_one_digest_that_names_all(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan("{receiver: ops}", limit=5)
    recorded(engine, plan, NOW, *(an_event(n) for n in range(4)))
    recorded(engine, plan, NOW, *(an_event(n) for n in range(4, 50)))
    assert states(engine) == {"pending": 5, "waiting": 45}
    assert flushed(engine, plan, NOW + MINUTE) == Wave(("email",))
    told = leased(engine, NOW + MINUTE)
    assert sorted(1 + len(lease.others) for lease in told) == [1, 1, 1, 1, 1, 45]
    recorded(engine, plan, NOW + MINUTE, an_event(50))
    assert states(engine)["waiting"] == 44


def test_groups_beyond_the_limit_become_one_digest(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan("{receiver: ops, group_by: [task], group_wait: 30s}", limit=2)
    recorded(engine, plan, NOW, *(an_event(n) for n in range(10)))
    now = NOW + timedelta(seconds=30)
    while flushed(engine, plan, now):
        pass
    assert states(engine) == {"pending": 2, "waiting": 8}
    assert flushed(engine, plan, now + MINUTE) == Wave(("email",))
    assert states(engine) == {"pending": 3, "waiting": 7}


def test_a_wave_is_bounded_and_the_rest_follows_at_once(
    engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "WAVE_MOST", 4)
    plan = a_plan()
    recorded(engine, plan, NOW, *(an_event(n) for n in range(10)))
    waves = 0
    while (wave := flushed(engine, plan, NOW + MINUTE)) is not None:
        waves += len(wave.channels)
    assert waves == 3
    assert sorted(1 + len(lease.others) for lease in leased(engine, NOW + MINUTE)) == [2, 4, 4]


def test_several_at_once_form_each_wave_once_and_lose_nothing(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan("{receiver: ops, group_by: [task], group_wait: 0s}")
    failures: list[BaseException] = []

    def work(part: int) -> None:
        try:
            for n in range(part, 60, 3):
                events = [an_event(n, run_id=f"r{part}", task_id=f"t{n % 5}")]
                transact(engine, lambda connection, _now, events=events: outbox.record(connection, events))
                transact(engine, lambda connection, _now: outbox.route(connection, NOW, plan))
                transact(engine, lambda connection, _now: groups.flush(connection, NOW + MINUTE, plan))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with engine.begin() as connection:
        connection.execute(update(alert_group).values(due_at=NOW))
    while flushed(engine, plan, NOW + MINUTE):
        pass
    told = leased(engine, NOW + MINUTE, limit=100)
    with engine.begin() as connection:
        rows = connection.execute(select(alert_delivery.c.wave, alert_delivery.c.state)).all()
    recorded_events = {event.dedup_key for lease in told for event in (lease.event, *lease.others) if event}
    assert sum(1 + len(lease.others) for lease in told) == len(rows) == len(recorded_events)


def test_a_wave_that_was_rolled_back_is_formed_anew(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    with engine.connect() as connection:  # closing it rolls back, as a death does
        assert groups.flush(connection, NOW + MINUTE, plan) == Wave(("email",))
    assert states(engine) == {"waiting": 2}
    assert flushed(engine, plan, NOW + MINUTE) == Wave(("email",))


def test_what_waits_is_told_after_the_file_is_gone(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, a_plan(), NOW, an_event(1), an_event(2))
    assert flushed(engine, Plan(), NOW + MINUTE) == Wave(("email",))


def test_a_group_that_has_been_idle_for_a_day_is_forgotten(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1))
    flushed(engine, plan, NOW + MINUTE)
    with engine.begin() as connection:
        assert groups.forget_idle(connection, NOW + timedelta(days=2)) == 0
    flushed(engine, plan, NOW + 10 * MINUTE)
    with engine.begin() as connection:
        assert groups.forget_idle(connection, NOW + timedelta(hours=1)) == 0
        assert groups.forget_idle(connection, NOW + timedelta(days=2)) == 1


def a_silence(connection: Connection, now: datetime, *matchers: str, minutes: int = 60) -> int:
    return silences.add(
        connection,
        now,
        [parse_matcher(matcher) for matcher in matchers],
        author="alice",
        comment="migration",
        starts_at=now,
        ends_at=now + timedelta(minutes=minutes),
    )


def test_a_silence_holds_back_until_it_ends_and_what_it_held_back_stays_so(
    engine: Engine, an_event: EventMaker
) -> None:
    with engine.begin() as connection:
        a_silence(connection, NOW, "dag=daily", minutes=1)
    routed = recorded(engine, Plan(), NOW, an_event(1))
    assert [reason.value for reason in routed.suppressed] == ["silence"]
    recorded(engine, Plan(), NOW + MINUTE, an_event(2))
    assert states(engine) == {"suppressed": 1, "pending": 1}
    with engine.begin() as connection:
        told = {entry.state: entry.error for entry in outbox.listing(connection)}
    assert "of alice" in (told["suppressed"] or "")


def test_a_silence_that_comes_while_a_group_waits_holds_back_too(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    with engine.begin() as connection:
        a_silence(connection, NOW, "task=t1")
    assert flushed(engine, plan, NOW + MINUTE) == Wave(("email",), 1)
    assert states(engine) == {"suppressed": 1, "pending": 1}


def test_an_expired_silence_holds_nothing_back(engine: Engine, an_event: EventMaker) -> None:
    with engine.begin() as connection:
        key = a_silence(connection, NOW, "dag=daily")
        assert [silence.id for silence in silences.listing(connection, NOW)] == [key]
        assert silences.expire(connection, NOW + MINUTE, [key]) == 1
        assert silences.expire(connection, NOW + MINUTE, [key]) == 0
        assert silences.listing(connection, NOW + MINUTE) == []
        assert len(silences.listing(connection, NOW + MINUTE, expired=True)) == 1
    recorded(engine, Plan(), NOW + MINUTE, an_event(1))
    assert states(engine) == {"pending": 1}


def test_a_silence_of_everything_by_mistake_or_in_the_past_is_refused(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(AlertingError, match="needs matchers"):
        a_silence(connection, NOW)
    with engine.begin() as connection, pytest.raises(AlertingError, match="must end after it starts"):
        a_silence(connection, NOW, "dag=d", minutes=0)
