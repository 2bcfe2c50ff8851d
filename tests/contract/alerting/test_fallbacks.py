"""Who is told instead where a receiver cannot be: on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select, update

from alerting import database, fallbacks, follow_ups, groups, outbox
from alerting.channels import Refusal
from alerting.cleaning import shorten
from alerting.config import read
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.render import Renderer
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.tables import alert_delivery, alert_event
from alerting.telling import Told
from alerting.told import fallback
from tests.contract.alerting.conftest import MINUTE, NOW, buried
from tests.contract.alerting.following import a_plan, delivered, history, recorded, rows, told_to
from tests.integration.alerting.running import NoMail

EventMaker = Callable[..., AlertEvent]
HELD_BY = {"silence": SuppressedBy.SILENCE.value, "inhibition": SuppressedBy.INHIBITED.value}
BY_ADDRESS = "SELECT alert_delivery.id, alert_delivery.event_id, alert_delivery.channel, alert_delivery.address"


def spoilt(engine: Engine, task_id: str = "t1") -> str:
    """This version cannot read the event of this task; returns what was written of it."""
    about = alert_event.c.task_id == task_id
    with engine.begin() as connection:
        written = connection.execute(select(alert_event.c.payload).where(about)).scalar_one()
        connection.execute(update(alert_event).where(about).values(payload="{}"))
    return str(written)


def mended(engine: Engine, written: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(alert_event).values(payload=written))


def fallen_back_from(connection: Connection, plan: Plan, down_for: timedelta, answer: str = "") -> Told | None:
    """Mail has been down for so long."""
    found = fallbacks.stranded(connection, plan, "email", down_for, NOW, answer)
    return fallbacks.fall_back_all(connection, NOW, plan, found)


class TestFallback:
    def test_is_told_once_of_what_died_and_says_why(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        (lease,) = delivered(engine, plan, NOW)
        assert lease.addresses == ("lead@example.org",)
        assert lease.event is not None
        assert lease.event.note == "Meant for ops, which could not be told through email: 550 no such user"
        (dead,) = [row.id for row in rows(engine) if row.state == "dead"]
        with engine.begin() as connection:
            assert fallbacks.fall_back(connection, NOW, plan, [dead]) == Told()

    def test_that_dies_itself_goes_no_further(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead", lead="fallback: ops")
        recorded(engine, plan, NOW, an_event(1))
        buried(engine, plan, NOW)
        assert buried(engine, plan, NOW) == Told()
        assert told_to(engine) == {("ops", "dead"): 1, ("lead", "dead"): 1}

    def test_of_the_whole_file_holds_where_a_receiver_has_none_of_its_own(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(top="fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))

    def test_is_told_of_an_event_when_a_version_can_read_it(self, engine: Engine, an_event: EventMaker) -> None:
        """What died unread is replayed after an upgrade, as its error says, and refused then."""
        plan = a_plan("fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        written = spoilt(engine)
        assert buried(engine, plan, NOW) == Told()
        assert [list(fallback(entry, [entry])) for entry in history(engine)] == [[]]
        mended(engine, written)
        with engine.begin() as connection:
            assert outbox.replay(connection, NOW + MINUTE, timedelta(days=1)) == 1
        assert [row.fell_back_at for row in rows(engine)] == [None]
        assert buried(engine, plan, NOW + MINUTE) == Told((Origin.FALLBACK,), ("email",))
        assert told_to(engine) == {("ops", "dead"): 1, ("lead", "pending"): 1}

    def test_is_told_of_the_part_of_a_message_that_can_be_read(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead", route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        spoilt(engine, "t2")
        (first, second) = rows(engine)
        with engine.begin() as connection:
            assert fallbacks.fall_back(connection, NOW, plan, [first.id]) == Told((Origin.FALLBACK,), ("email",))
        assert [row.fell_back_to for row in rows(engine)] == ["lead", None, None]
        (told,) = [row for row in rows(engine) if row.origin == Origin.FALLBACK]
        assert told.event_id == first.event_id != second.event_id

    def test_is_not_asked_again_and_again_for_what_waits_and_cannot_be_read(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan("fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, an_event(1))
        written = spoilt(engine)
        with engine.begin() as connection:
            assert fallen_back_from(connection, plan, 6 * MINUTE) == Told()
            assert fallen_back_from(connection, plan, 6 * MINUTE) is None
        mended(engine, written)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))

    def test_gets_a_dead_group_as_one_message(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead", route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(3)))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        (lease,) = delivered(engine, plan, NOW)
        assert len(lease.others) == 2

    def test_is_not_told_what_it_was_told_already(self, engine: Engine, an_event: EventMaker) -> None:
        text = (
            "receivers: {ops: {email: ops@example.org, fallback: lead}, lead: {email: lead@example.org}}\n"
            "route: {receiver: ops, routes: [{receiver: ops, continue: true}, {receiver: lead}]}"
        )
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1))
        assert told_to(engine) == {("ops", "pending"): 1, ("lead", "pending"): 1}
        assert buried(engine, plan, NOW) == Told()
        dead, lead = history(engine)
        assert (dead.fell_back_to, dead.heard_before) == ("lead", (lead.delivery_id,))
        assert lead.fell_back_to is None

    @pytest.mark.parametrize("held_by", ["mute window", "silence", "inhibition"])
    def test_is_told_what_was_kept_from_it_for_a_time(self, engine: Engine, an_event: EventMaker, held_by: str) -> None:
        """Nobody else was told; and its line, which said why it was not, is the message."""
        mute = ", mute: always" if held_by == "mute window" else ""
        text = f"""
receivers: {{ops: {{email: ops@example.org, fallback: lead}}, lead: {{email: lead@example.org}}}}
mute_windows: {{always: {{windows: [{{dates: [2026-01-01..2027-01-01]}}]}}}}
route: {{receiver: ops, routes: [{{receiver: ops, continue: true}}, {{receiver: lead{mute}}}]}}
"""
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1))
        if not mute:  # it was held back before; what holds it back is over
            why = {"state": "suppressed", "due_at": None, "error": "held", "held_by": HELD_BY[held_by]}
            of_lead = alert_delivery.c.receiver == "lead"
            with engine.begin() as connection:
                connection.execute(update(alert_delivery).where(of_lead).values(**why))
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        dead, lead = history(engine)
        assert (lead.receiver, lead.state, lead.origin, lead.error) == ("lead", "pending", "fallback", None)
        assert list(fallback(dead, [dead, lead])) == [f"its fallback lead: {lead.number} (pending)"]

    @pytest.mark.parametrize("held_by", ["unwanted", "told_itself", "failing_channel"])
    def test_is_not_told_what_it_does_not_want_or_knows_or_cannot_be_told(
        self, engine: Engine, an_event: EventMaker, held_by: str
    ) -> None:
        text = (
            "receivers: {ops: {email: ops@example.org, fallback: lead}, lead: {email: lead@example.org}}\n"
            "route: {receiver: ops, routes: [{receiver: ops, continue: true}, {receiver: lead}]}"
        )
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1))
        why = {"state": "suppressed", "due_at": None, "error": "held", "held_by": held_by}
        with engine.begin() as connection:
            connection.execute(update(alert_delivery).where(alert_delivery.c.receiver == "lead").values(**why))
        assert buried(engine, plan, NOW) == Told()
        assert told_to(engine) == {("ops", "dead"): 1, ("lead", "suppressed"): 1}

    def test_that_has_heard_of_a_part_of_a_message_is_told_the_rest(self, engine: Engine, an_event: EventMaker) -> None:
        text = (
            "receivers: {ops: {email: ops@example.org, fallback: lead}, lead: {email: lead@example.org}}\n"
            "route:\n"
            "  receiver: ops\n"
            "  routes:\n"
            "    - {matchers: task=t1, receiver: lead, continue: true}\n"
            "    - {receiver: ops, group_by: [dag], group_wait: 0s}\n"
        )
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        delivered(engine, plan, NOW)
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        of_ops = {entry.task_id: entry for entry in history(engine) if entry.receiver == "ops"}
        of_lead = {entry.task_id: entry for entry in history(engine) if entry.receiver == "lead"}
        assert {entry.fell_back_to for entry in of_ops.values()} == {"lead"}
        assert of_ops["t1"].heard_before == (of_lead["t1"].delivery_id,)
        assert of_ops["t2"].heard_before == ()
        assert of_lead["t2"].origin == "fallback"

    def test_gets_what_single_addresses_refused_for_good(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        with engine.begin() as connection:
            (lease,) = outbox.lease(connection, NOW, MINUTE, 10, ["email"])
            outbox.confirm(connection, lease, NOW, never=[Refusal(("gone@example.org",), "550 gone")])
            (step,) = follow_ups.schedule_for_refused(connection, NOW, lease, plan)
            assert follow_ups.follow_up(connection, NOW, plan, step) == Told((Origin.FALLBACK,), ("email",))
        assert told_to(engine) == {("ops", "delivered"): 1, ("gone", "dead"): 1, ("lead", "pending"): 1}

    def test_gets_what_waits_for_a_channel_that_is_down_and_the_channel_gets_it_too(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan("fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, an_event(1), an_event(2))

        def down(span: timedelta) -> Told | None:
            with engine.begin() as connection:
                return fallen_back_from(connection, plan, span)

        assert down(4 * MINUTE) is None
        assert down(6 * MINUTE) == Told((Origin.FALLBACK,) * 2, ("email",) * 2)
        assert down(7 * MINUTE) is None
        assert told_to(engine) == {("ops", "pending"): 2, ("lead", "pending"): 2}
        (note,) = {row.note for row in rows(engine) if row.origin == "fallback"}
        assert (
            note == "Meant for ops, which could not be told through email: it has taken nothing for 6m; it is tried on"
        )

    @pytest.mark.parametrize("length", [10, 1000])
    def test_is_told_what_the_channel_answers_and_that_it_is_tried_on(
        self, engine: Engine, an_event: EventMaker, length: int
    ) -> None:
        plan = a_plan("fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, an_event(1))
        answer = f"error 429: {'x' * length}"
        with engine.begin() as connection:
            fallen_back_from(connection, plan, 6 * MINUTE, answer)
        note = rows(engine)[-1].note
        assert note.startswith("Meant for ops, which could not be told through email: it has taken nothing for 6m (")
        assert note.endswith(f"({shorten(answer, fallbacks.ANSWER_LIMIT)}); it is tried on")

    def test_of_many_takes_few_statements_and_one_batch_at_a_time(self, engine: Engine, an_event: EventMaker) -> None:
        ops = "limit: {messages: 100}, fallback: {to: lead, after: 5m}"
        plan = a_plan(ops, lead="limit: {messages: 45, per: 1h}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(60)))
        seen: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda c, k, statement, *_: seen.append(statement))
        with engine.begin() as connection:
            told = fallen_back_from(connection, plan, 6 * MINUTE)
        assert told == Told((Origin.FALLBACK,) * 50, ("email",) * 45)
        assert len(seen) < 20
        assert told_to(engine) == {("ops", "pending"): 60, ("lead", "pending"): 45, ("lead", "waiting"): 5}

    def test_of_groups_with_very_many_alerts_looks_in_parts_for_what_was_told(
        self, engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A database takes only so many parameters in one statement, and a digest may tell of thousands of alerts."""
        monkeypatch.setattr(database, "BATCH", 4)
        plan = a_plan("fallback: lead", route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(9)))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        asked: list[int] = []

        def look(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
            if statement.startswith(BY_ADDRESS):
                asked.append(len(parameters))

        event.listen(engine, "before_cursor_execute", look)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        assert asked == [4, 4, 1] * 2  # before it writes, and to note who had heard

    def test_of_a_channel_that_is_down_leaves_each_turn_time_for_the_others(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan("limit: {messages: 100}, fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(60)))
        with engine.begin() as connection:
            connection.execute(update(alert_delivery).values(attempts=1))
        subject = Deliverer(engine, [NoMail()], Renderer(lambda *_: [], str), plan)
        told: list[tuple[bool, int]] = []
        for _ in range(3):
            more = subject._fall_back_from("email", 6 * MINUTE)
            told.append((more, sum(row.origin == "fallback" for row in rows(engine))))
        assert told == [(True, 50), (True, 60), (False, 60)]
