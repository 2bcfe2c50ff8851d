"""The outbox's verbs, the same on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import Connection, Engine, event, select, text, update
from sqlalchemy.exc import IntegrityError

from alerting import outbox
from alerting.channels import Refusal
from alerting.clock import database_now
from alerting.config import read
from alerting.database import transact
from alerting.errors import Unreadable
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import Lease, leasing, orphans, recording
from alerting.routes import Plan
from alerting.tables import alert_delivery, alert_event

EventMaker = Callable[..., AlertEvent]

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN = Plan(receivers=("json-1",))


def record(engine: Engine, *events: AlertEvent) -> int:
    with engine.begin() as connection:
        return outbox.record(connection, events)


def route(engine: Engine, plan: Plan = PLAN, limit: int = 500, now: datetime = NOW) -> outbox.Routed:
    with engine.begin() as connection:
        return outbox.route(connection, now, plan, limit)


def lease(engine: Engine, limit: int = 10, now: datetime = NOW, channels: tuple[str, ...] = ("email",)) -> list[Lease]:
    with engine.begin() as connection:
        return outbox.lease(connection, now, MINUTE, limit, channels)


def settle(engine: Engine, verb: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
    with engine.begin() as connection:
        return verb(connection, *args, **kwargs)


def rows(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_delivery).order_by(alert_delivery.c.id)))


def history(engine: Engine) -> list[outbox.Entry]:
    with engine.begin() as connection:
        return outbox.listing(connection)


class TestRecord:
    def test_counts_what_is_new(self, engine: Engine, an_event: EventMaker) -> None:
        assert record(engine, an_event(1), an_event(2)) == 2

    def test_passes_over_what_is_already_there(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        assert record(engine, an_event(1), an_event(2)) == 1
        assert len(history(engine)) == 2

    def test_takes_the_same_event_twice_in_one_call(self, engine: Engine, an_event: EventMaker) -> None:
        assert record(engine, an_event(1), an_event(1)) == 1

    def test_of_nothing_does_nothing(self, engine: Engine) -> None:
        assert record(engine) == 0

    def test_goes_away_with_the_callers_transaction(self, engine: Engine, an_event: EventMaker) -> None:
        with engine.connect() as connection, connection.begin() as transaction:
            outbox.record(connection, [an_event(1)])
            transaction.rollback()
        assert history(engine) == []

    def test_takes_thousands_in_few_statements(self, engine: Engine, an_event: EventMaker) -> None:
        inserts: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda c, k, statement, *_: inserts.append(statement[:6].upper()))
        assert record(engine, *(an_event(n) for n in range(1200))) == 1200
        assert inserts.count("INSERT") == 3

    def test_swallows_no_other_error(self, engine: Engine, an_event: EventMaker, monkeypatch: Any) -> None:
        real = recording._event_row
        monkeypatch.setattr(recording, "_event_row", lambda key, event: real(key, event) | {"payload": None})
        with pytest.raises(IntegrityError):
            record(engine, an_event(1))

    def test_keeps_every_field_and_any_text(self, engine: Engine, an_event: EventMaker) -> None:
        told = an_event(1, error="Ошибка 💥 \x00\x1b[31m", occurred_at=NOW, blocked=("a", "b"), exit_code=-9)
        record(engine, told)
        route(engine)
        held = lease(engine)[0].event
        assert held is not None
        assert held.number == rows(engine)[0].event_id
        assert structs.replace(held, number=None) == told

    def test_takes_text_that_is_not_utf8(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1, error=b"caf\xe9".decode(errors="surrogateescape")))
        route(engine)
        told = lease(engine)[0].event
        assert told is not None
        assert told.error == "caf?"

    def test_takes_ids_longer_than_the_column(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1, run_id="r" * 400))
        assert history(engine)[0].run_id == "r" * 250


class TestRoute:
    def test_writes_one_delivery_per_target(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        routed = route(engine)
        assert routed.kinds == (EventKind.TASK_FAILED,)
        assert sorted(routed.channels) == ["email", "json-1"]
        assert [(row.channel, row.state) for row in rows(engine)] == [("email", "pending"), ("json-1", "pending")]

    def test_routes_each_event_once(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        assert route(engine) == outbox.Routed()
        assert len(rows(engine)) == 2

    def test_is_bounded_and_takes_the_oldest_first(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, *(an_event(n) for n in range(5)))
        assert len(route(engine, limit=2).kinds) == 2
        assert [entry.task_id for entry in history(engine) if entry.state == "pending"] == ["t1", "t1", "t0", "t0"]

    def test_keeps_what_nobody_wants_with_its_reason(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1, emails=()))
        route(engine, Plan())
        entry = history(engine)[0]
        assert entry.state == "suppressed"
        assert "APPRISE_URLS" in (entry.error or "")

    def test_does_not_pass_over_an_event_that_it_cannot_read(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1), an_event(2))
        with engine.begin() as connection:
            bad = update(alert_event).where(alert_event.c.task_id == "t1").values(payload='{"kind": "from 2031"}')
            connection.execute(bad)
        with pytest.raises(Unreadable, match="upgrade, then replay"):
            route(engine)
        assert rows(engine) == []

    def test_twice_at_once_writes_no_delivery_twice(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, *(an_event(n) for n in range(200)))
        at_once(
            lambda: transact(engine, lambda connection, now: outbox.route(connection, now, PLAN, 50)),
            threads=3,
            times=5,
        )
        route(engine)
        assert len(rows(engine)) == 400


class TestLease:
    def test_takes_what_is_due_with_a_token_and_an_attempt(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        held = lease(engine)[0]
        assert held.addresses == ("alice@example.org",)
        assert held.attempts == 1
        row = rows(engine)[0]
        assert (row.state, row.token, row.due_at) == ("sending", held.token, NOW + MINUTE)

    def test_takes_only_the_channels_it_is_asked_for(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        assert [held.channel for held in lease(engine, channels=("json-1",))] == ["json-1"]

    def test_takes_nothing_before_it_is_due(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine, now=NOW + MINUTE)
        assert lease(engine) == []
        assert len(lease(engine, now=NOW + MINUTE)) == 1

    def test_takes_nothing_that_is_leased(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        lease(engine)
        assert lease(engine, now=NOW + MINUTE / 2) == []

    def test_takes_an_expired_lease_again_and_says_why(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        first = lease(engine)[0]
        second = lease(engine, now=NOW + MINUTE)[0]
        assert second.id == first.id
        assert second.token != first.token
        assert second.attempts == 2
        assert rows(engine)[0].error == outbox.LEASE_RAN_OUT

    def test_takes_at_once_what_a_dead_deliverer_held(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1), an_event(2))
        route(engine)
        with engine.begin() as connection:
            for holder in ("11111111-1111-1111-dead", "11111111-1111-2222-alive"):
                assert len(outbox.lease(connection, NOW, MINUTE, 1, ("email",), holder)) == 1
            assert outbox.end_leases_of(connection, NOW, "11111111-1111-1111-dead") == 1
        assert [held.attempts for held in lease(engine)] == [2]
        assert lease(engine) == []

    def test_takes_the_longest_due_first(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine, now=NOW + MINUTE)
        record(engine, an_event(2))
        route(engine)
        taken = lease(engine, limit=1, now=NOW + 2 * MINUTE)[0].event
        assert taken is not None
        assert taken.task_id == "t2"

    def test_by_several_at_once_gives_each_delivery_to_one(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, *(an_event(n) for n in range(100)))
        route(engine)
        taken: list[int] = []

        def take(connection: Connection, now: datetime) -> list[int]:
            return [held.id for held in outbox.lease(connection, NOW, MINUTE, 5, ["email"])]

        at_once(lambda: taken.extend(transact(engine, take)), threads=4, times=10)
        assert len(taken) == len(set(taken)) == 100

    def test_without_locks_is_kept_apart_by_its_guards(
        self, engine: Engine, an_event: EventMaker, monkeypatch: Any
    ) -> None:
        """Two deliverers that saw the same candidates: the second UPDATE finds them gone."""
        record(engine, an_event(1))
        route(engine)
        first = lease(engine)
        with engine.begin() as connection:
            assert leasing._leased(connection, [first[0].id], "another token") == []


class TestOutcomes:
    @pytest.fixture
    def held(self, engine: Engine, an_event: EventMaker) -> Lease:
        record(engine, an_event(1))
        route(engine, Plan())
        return lease(engine)[0]

    def test_confirm_ends_it(self, engine: Engine, held: Lease) -> None:
        assert settle(engine, outbox.confirm, held, NOW)
        row = rows(engine)[0]
        assert (row.state, row.delivered_at, row.token, row.due_at) == ("delivered", NOW, None, None)

    def test_retry_makes_it_due_later(self, engine: Engine, held: Lease) -> None:
        assert settle(engine, outbox.retry, held, NOW + MINUTE, "451 later")
        row = rows(engine)[0]
        assert (row.state, row.due_at, row.error) == ("pending", NOW + MINUTE, "451 later")

    def test_release_does_not_charge_the_attempt(self, engine: Engine, held: Lease) -> None:
        assert settle(engine, outbox.release, held, NOW)
        assert lease(engine)[0].attempts == 1

    def test_bury_ends_it_visibly(self, engine: Engine, held: Lease) -> None:
        assert settle(engine, outbox.bury, held, "550 no")
        assert [(entry.state, entry.error) for entry in history(engine)] == [("dead", "550 no")]

    @pytest.mark.parametrize("verb", ["retry", "release", "bury"])
    def test_a_lost_lease_changes_nothing(self, engine: Engine, held: Lease, verb: str) -> None:
        lease(engine, now=NOW + MINUTE)
        before = rows(engine)
        args = {"retry": (NOW, "x"), "release": (NOW,), "bury": ("x",)}[verb]
        assert not settle(engine, getattr(outbox, verb), held, *args)
        assert rows(engine) == before

    @pytest.mark.parametrize("verb", ["retry", "release", "bury"])
    def test_what_is_accepted_after_the_lease_is_delivered_whatever_the_next_holder_says(
        self, engine: Engine, held: Lease, verb: str
    ) -> None:
        next_held = lease(engine, now=NOW + MINUTE)[0]
        assert settle(engine, outbox.confirm, held, NOW + MINUTE)
        args = {"retry": (NOW, "x"), "release": (NOW,), "bury": ("x",)}[verb]
        assert not settle(engine, getattr(outbox, verb), next_held, *args)
        assert [(row.state, row.token, row.due_at) for row in rows(engine)] == [("delivered", None, None)]

    def test_what_is_accepted_after_it_was_given_up_is_delivered(self, engine: Engine, held: Lease) -> None:
        next_held = lease(engine, now=NOW + MINUTE)[0]
        assert settle(engine, outbox.bury, next_held, "given up")
        assert settle(engine, outbox.confirm, held, NOW + MINUTE)
        assert [(entry.state, entry.error) for entry in history(engine)] == [("delivered", None)]

    def test_the_next_holder_knows_the_error_before(self, engine: Engine, held: Lease) -> None:
        assert settle(engine, outbox.retry, held, NOW, "451 later")
        assert lease(engine)[0].error == "451 later"

    def test_confirming_twice_counts_once(self, engine: Engine, held: Lease) -> None:
        assert settle(engine, outbox.confirm, held, NOW)
        assert not settle(engine, outbox.confirm, held, NOW)

    def test_refused_addresses_live_on_alone(self, engine: Engine, held: Lease) -> None:
        later = [Refusal(("bob@example.org",), "451 greylisted")]
        never = [Refusal(("carol@example.org",), "550 unknown")]
        assert settle(engine, outbox.confirm, held, NOW, later=later, never=never)
        assert [(row.state, row.error) for row in rows(engine)] == [
            ("delivered", None),
            ("pending", "451 greylisted"),
            ("dead", "550 unknown"),
        ]
        assert lease(engine)[0].addresses == ("bob@example.org",)


class TestReplay:
    def test_makes_the_dead_pending_and_gives_them_new_time(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1), an_event(2))
        route(engine, Plan())
        for held in lease(engine):
            settle(engine, outbox.bury, held, "no SMTP host")
        later = NOW + timedelta(days=3)
        with engine.begin() as connection:
            assert outbox.replay(connection, later, timedelta(days=1)) == 2
        held = lease(engine, now=later)[0]
        assert held.attempts == 1
        assert held.give_up_at == later + timedelta(days=1)

    def test_of_chosen_ones_leaves_the_rest(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1), an_event(2))
        route(engine, Plan())
        buried = lease(engine)
        for held in buried:
            settle(engine, outbox.bury, held, "x")
        with engine.begin() as connection:
            assert outbox.replay(connection, NOW, MINUTE, [buried[0].id]) == 1
            assert outbox.replay(connection, NOW, MINUTE, [buried[0].id]) == 0

    def test_to_another_receiver_tells_it_once_of_each_event(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1), an_event(2))
        route(engine, Plan(receivers=("json-old", "slack-old")))
        for channel in ("json-old", "slack-old", "email"):
            for held in lease(engine, channels=(channel,)):
                settle(engine, outbox.bury, held, "gone")
        with engine.begin() as connection:
            assert outbox.replay(connection, NOW, MINUTE, to="json-new") == 2
            assert outbox.replay(connection, NOW, MINUTE, to="json-new") == 0
        assert len(lease(engine, channels=("json-new",))) == 2
        assert {row.state for row in rows(engine) if row.channel == "email"} == {"dead"}

    def test_gives_up_few_at_once_of_what_nobody_sends(
        self, engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orphans, "BURIED_AT_ONCE", 2)
        record(engine, *(an_event(n) for n in range(3)))
        route(engine, Plan())
        for expected in (2, 1, 0):
            with engine.begin() as connection:
                assert len(outbox.bury_orphans(connection, NOW + PLAN.give_up_after, [])) == expected

    def test_buries_what_has_no_receiver_any_more_at_its_age(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        with engine.begin() as connection:
            assert outbox.bury_orphans(connection, NOW, ["email"]) == []
            ((_, channel),) = outbox.bury_orphans(connection, NOW + PLAN.give_up_after, ["email"])
        assert channel == "json-1"
        assert [(row.channel, row.state) for row in rows(engine)] == [("email", "pending"), ("json-1", "dead")]
        assert rows(engine)[1].error.startswith("given up: receiver json-1 is no longer in the settings: ")
        assert rows(engine)[1].error.endswith(
            ", restart (windsock down, windsock up --detach), then windsock alerts replay"
        )

    def test_says_what_those_wait_for_whose_receiver_is_gone(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        with engine.begin() as connection:
            assert outbox.explain_orphans(connection, NOW, ["email", "json-1"]) == 0
            assert outbox.explain_orphans(connection, NOW - MINUTE, ["json-2"]) == 0
            assert outbox.explain_orphans(connection, NOW, ["json-2"]) == 2
            assert outbox.explain_orphans(connection, NOW, ["json-2"]) == 0
        mail, chat = rows(engine)
        assert "set WINDSOCK__SMTP__SMTP_HOST" in mail.error
        assert "receiver json-1 is no longer in the settings" in chat.error
        assert [(row.state, row.due_at, row.attempts) for row in (mail, chat)] == [("pending", NOW, 0)] * 2

    def test_says_of_a_channel_of_the_file_that_the_file_is_to_be_corrected(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        text = "channels: {room: json://a/b}\nreceivers: {ops: {channels: [room]}}\nroute: {receiver: ops}"
        record(engine, an_event(1))
        route(engine, Plan(routing=read(text, Path("alerting.yml"), {})))
        with engine.begin() as connection:
            assert outbox.explain_orphans(connection, NOW, ["email"]) == 1
        what = "channel room is no longer in alerting.yml: send it to another one (windsock alerts replay --to NAME)"
        assert rows(engine)[0].error == f"{what}, or name it there again, and it is sent"
        with engine.begin() as connection:
            outbox.bury_orphans(connection, NOW + PLAN.give_up_after, ["email"])
        assert rows(engine)[0].error == f"given up: {what}, or name it there again, then windsock alerts replay"

    def test_takes_over_what_a_dead_deliverer_held_for_a_receiver_that_is_gone(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        record(engine, an_event(1))
        route(engine, Plan())
        lease(engine)
        with engine.begin() as connection:
            assert outbox.explain_orphans(connection, NOW, ["json-1"]) == 0
            assert outbox.explain_orphans(connection, NOW + MINUTE, ["json-1"]) == 1
        assert [(row.state, row.token) for row in rows(engine)] == [("pending", None)]


class TestQuestions:
    def test_next_due_tells_each_channels_first_moment(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        lease(engine)
        with engine.begin() as connection:
            assert outbox.next_due(connection, ["email", "json-1"]) == {"email": NOW + MINUTE, "json-1": NOW}

    def test_backlog_counts_the_unrouted_and_the_open(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine)
        record(engine, an_event(2))
        with engine.begin() as connection:
            happened_at = NOW + timedelta(seconds=1)
            assert outbox.backlog(connection) == outbox.Backlog(3, happened_at, happened_at)

    def test_what_the_rate_of_its_channel_holds_is_as_old_as_its_wait_in_vain(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        record(engine, an_event(1))
        route(engine)
        later = NOW + timedelta(hours=2)
        with engine.begin() as connection:
            connection.execute(update(alert_delivery).values(waiting_since=later))
            assert outbox.backlog(connection) == outbox.Backlog(2, later, NOW + timedelta(seconds=1))

    def test_backlog_of_nothing_is_empty(self, engine: Engine) -> None:
        with engine.begin() as connection:
            assert outbox.backlog(connection) == outbox.Backlog()

    def test_listing_is_newest_first_and_shows_what_is_not_routed(self, engine: Engine, an_event: EventMaker) -> None:
        record(engine, an_event(1))
        route(engine, Plan())
        record(engine, an_event(2))
        assert [(entry.task_id, entry.state) for entry in history(engine)] == [("t2", "recorded"), ("t1", "pending")]


class TestSchema:
    @pytest.mark.parametrize(
        "change",
        [
            {"state": "delivered"},
            {"state": "sending"},
            {"due_at": None},
            {"token": "x"},
        ],
    )
    def test_refuses_a_state_that_contradicts_itself(
        self, engine: Engine, an_event: EventMaker, change: dict[str, Any]
    ) -> None:
        record(engine, an_event(1))
        route(engine, Plan())
        with pytest.raises(Exception, match=r"(?i)constraint"), engine.begin() as connection:
            connection.execute(update(alert_delivery).values(**change))


class TestClock:
    def test_is_aware_utc_with_microseconds_and_moves(self, engine: Engine) -> None:
        with engine.begin() as connection:
            first = database_now(connection)
            connection.execute(text("SELECT 1"))
            assert database_now(connection) > first
        assert first.tzinfo is UTC
        assert abs(first - datetime.now(UTC)) < timedelta(seconds=60)


def at_once(work: Callable[[], Any], threads: int, times: int) -> None:
    """Runs `work` in several threads that start together; an error in any of them is raised."""
    gate, errors = threading.Barrier(threads), list[BaseException]()

    def run() -> None:
        try:
            gate.wait(60)
            for _ in range(times):
                work()
        except BaseException as error:
            errors.append(error)

    runners = [threading.Thread(target=run) for _ in range(threads)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(60)
    if errors:
        raise errors[0]
