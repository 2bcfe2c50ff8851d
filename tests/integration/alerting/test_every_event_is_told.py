"""The promise of delivery as a property: whatever fails in between, each event ends told, dead or suppressed.

A turned clock and the verbs themselves, in the order and with the outcomes that chance gives: refusals for now and for
good, single addresses that refuse, deliverers that die before sending and between acceptance and confirmation, clocks
that jump, a channel with a rate, channels that are down, silences, acknowledgements, changes of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from alerting import acks, digest, escalations, fallbacks, follow_ups, groups, outbox, patience, silences, throttle
from alerting.channels import Refusal
from alerting.config import read
from alerting.database import connect
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.outbox import Lease
from alerting.routes import Plan
from alerting.routing import Limit
from alerting.tables import TABLES, alert_delivery, alert_event, metadata

START: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEASE: Final = timedelta(minutes=1)
CHANNELS: Final = ("email", "room")
FILES: Final = (
    "route: {receiver: task-email}",
    """
    channels: {room: {url: 'json://127.0.0.1:9/', rate: {messages: 2, per: 1m}}}
    receivers:
      ops: {email: [a@b.org, b@b.org, c@b.org], channels: room, limit: {messages: 3, per: 1m}, fallback: lead,
            escalate: {after: 2m, to: lead}, repeat_interval: 5m}
      lead: {email: lead@b.org, send_resolved: false}
    route: {receiver: ops, routes: [{matchers: task=t1, receiver: lead, continue: true}, {matchers: 'task=~"t[23]"'}]}
    """,
    """
    channels: {room: 'json://127.0.0.1:9/'}
    receivers:
      ops: {channels: room, escalate: {after: 1m, to: lead}}
      lead: {email: lead@b.org, task_email: true, limit: {messages: 1, per: 2m}}
    fallback: lead
    route: {receiver: ops, group_by: [run], group_wait: 30s, group_interval: 1m}
    """,
)
PLANS: Final = (Plan(("room",)), *(Plan(routing=read(text, Path("alerting.yml"), {})) for text in FILES))
KINDS: Final = (
    *(EventKind.TASK_FAILED, EventKind.TASK_RETRY, EventKind.TASK_RECOVERED, EventKind.RUN_FAILED),
    *(EventKind.RUN_RECOVERED, EventKind.COMPONENT_DOWN, EventKind.COMPONENT_UP, EventKind.DAG_LATE),
)
OUTCOMES: Final = ("accept", "accept", "later", "never", "some refuse", "die before", "die between")


@dataclass
class World:
    """The outbox, a clock, and what the receivers have accepted."""

    engine: Engine
    plan: Plan
    now: datetime = START
    recorded: int = 0
    accepted: Counter[tuple[str, str, tuple[str, ...]]] = field(default_factory=Counter)
    died_between: Counter[tuple[str, str, tuple[str, ...]]] = field(default_factory=Counter)

    def record(self, kind: EventKind, n: int) -> None:
        about = {"dag_id": "daily"} if kind is EventKind.DAG_LATE else {"dag_id": "daily", "run_id": f"r{n % 2}"}
        if kind in (EventKind.COMPONENT_DOWN, EventKind.COMPONENT_UP):
            about = {"subject": f"scheduler {n % 2}"}
        if kind.value.startswith("task_"):
            about["task_id"] = f"t{n}"
        moment = START + timedelta(seconds=self.recorded)
        told = AlertEvent(kind=kind, occurred_at=moment, emails=("x@b.org",), try_number=self.recorded, **about)
        with self.engine.begin() as connection:
            self.recorded += outbox.record(connection, [told, told])

    def turn(self) -> None:
        """What a deliverer does between two looks at its channels."""
        with self.engine.begin() as connection:
            routed = outbox.route(connection, self.now, self.plan, 5)
            escalations.start(connection, self.now, self.plan, routed.channels)
        with self.engine.begin() as connection:
            wave = groups.flush(connection, self.now, self.plan)
            escalations.start(connection, self.now, self.plan, wave.channels if wave is not None else ())
        with self.engine.begin() as connection:
            follow_ups.follow_up(connection, self.now, self.plan)
            outbox.bury_orphans(connection, self.now, CHANNELS)
        with self.engine.begin() as connection:
            for channel in CHANNELS:
                if (rate := self._rate(channel)) is not None:
                    patience.excuse(connection, self.now, channel, rate, self.plan.give_up_after)
            late = patience.late(connection, self.now, self.plan, CHANNELS)
            fallbacks.fall_back_all(connection, self.now, self.plan, late)

    def down(self, channel: str) -> None:
        """A deliverer has not reached this channel for longer than any receiver lets it wait."""
        with self.engine.begin() as connection:
            stranded = fallbacks.stranded(connection, self.plan, channel, timedelta(minutes=10), self.now)
            fallbacks.fall_back_all(connection, self.now, self.plan, stranded)

    def _rate(self, channel: str) -> Limit | None:
        known = None if self.plan.routing is None else self.plan.routing.channel(channel)
        return None if known is None else known.rate

    def _is_free(self, connection: Connection, channel: str) -> bool:
        rate = self._rate(channel)
        pause = None if rate is None else throttle.pause(connection, self.now, channel, rate)
        assert rate is None or pause is None or timedelta(0) < pause <= rate.per
        return pause is None

    def deliver(self, outcome: str) -> None:
        with self.engine.begin() as connection:
            free = [channel for channel in CHANNELS if self._is_free(connection, channel)]
            leases = outbox.lease(connection, self.now, LEASE, 1, free)
            for lease in leases:
                if (rate := self._rate(lease.channel)) is not None:
                    throttle.count(connection, self.now, lease.channel, rate)
        for lease in leases:
            self._settle(lease, outcome)

    def _settle(self, lease: Lease, outcome: str) -> None:
        assert lease.event is not None
        key = digest.key((lease.event, *lease.others)) if lease.others else lease.event.dedup_key
        name = (lease.channel, key, lease.addresses)
        if outcome in ("accept", "some refuse", "die between"):
            self.accepted[name] += 1
        if outcome == "die between":
            self.died_between[name] += 1
        if outcome.startswith("die"):
            return
        with self.engine.begin() as connection:
            match outcome:
                case "later":
                    outbox.retry(connection, lease, self.now + timedelta(seconds=10), "503")
                case "never":
                    if outbox.bury(connection, lease, "550"):
                        follow_ups.schedule_for_dead(connection, self.now, lease, self.plan)
                        fallbacks.note(connection, self.now, self.plan, [lease.id])
                case _:
                    later, never = self._refusals(lease, outcome)
                    outbox.confirm(connection, lease, self.now, later=later, never=never)
                    follow_ups.schedule(connection, self.now, lease, self.plan)
                    follow_ups.schedule_for_refused(connection, self.now, lease, self.plan)

    def _refusals(self, lease: Lease, outcome: str) -> tuple[list[Refusal], list[Refusal]]:
        if outcome == "accept" or len(lease.addresses) < 3:
            return [], []
        return [Refusal(lease.addresses[:1], "451")], [Refusal(lease.addresses[1:2], "550")]

    def silence(self, task: str) -> None:
        with self.engine.begin() as connection:
            silences.add(
                connection, self.now, [parse_matcher(f"task={task}")],
                author="alice", comment="", starts_at=self.now, ends_at=self.now + timedelta(minutes=1),
            )  # fmt: skip

    def acknowledge(self) -> None:
        with self.engine.begin() as connection:
            acks.acknowledge(connection, self.now, acks.find_open(connection, "daily"), "alice", "")

    def settle_everything(self) -> None:
        """No more faults: what is open is delivered, however long it had to wait, and everybody acknowledges."""
        self.now = max(self.now, START) + timedelta(days=1)
        for _ in range(400):
            self.acknowledge()
            self.turn()
            self.deliver("accept")
            self.now += timedelta(minutes=1)
            with self.engine.begin() as connection:
                backlog = outbox.backlog(connection).count
            if backlog == 0 and "waiting" not in states(self.engine):
                return
        raise AssertionError(f"it does not come to rest: {states(self.engine)}")


def states(engine: Engine) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(connection.execute(select(alert_delivery.c.state)).scalars())


actions = st.one_of(
    st.tuples(st.just("record"), st.sampled_from(KINDS), st.integers(0, 4), st.integers(1, 5)),
    st.tuples(st.just("work"), st.sampled_from([1, 15, 30, 61, 121, 301]), st.lists(st.sampled_from(OUTCOMES))),
    st.tuples(st.just("work"), st.sampled_from([1, 15, 30, 61, 121, 301]), st.lists(st.sampled_from(OUTCOMES))),
    st.tuples(st.just("jump"), st.sampled_from([-3600, -60, 3600])),
    st.tuples(st.just("silence"), st.sampled_from(["t1", "t2"])),
    st.tuples(st.just("acknowledge")),
    st.tuples(st.just("down"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("reload"), st.integers(0, len(PLANS) - 1)),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('promise') / 'outbox.db'}")
    metadata.create_all(engine, tables=TABLES)
    yield engine
    engine.dispose()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(plan=st.integers(0, len(PLANS) - 1), steps=st.lists(actions, min_size=5, max_size=25))
def test_every_event_ends_told_dead_or_suppressed_and_nothing_is_told_twice(
    engine: Engine, plan: int, steps: list[tuple[object, ...]]
) -> None:
    with engine.begin() as connection:
        for table in (alert_delivery, alert_event, *TABLES):
            connection.execute(table.delete())
    world = World(engine, PLANS[plan])
    for step in steps:
        take(world, step)
    world.settle_everything()
    with engine.connect() as connection:
        joined = alert_event.outerjoin(alert_delivery, alert_delivery.c.event_id == alert_event.c.id)
        rows = connection.execute(select(alert_event.c.id, alert_delivery.c.state).select_from(joined)).all()
    assert len({row.id for row in rows}) == world.recorded
    assert {row.state for row in rows} <= {"delivered", "dead", "suppressed"}
    twice = {name: count for name, count in world.accepted.items() if count > 1 + world.died_between[name]}
    assert twice == {}
    event(f"duplicates after a death in between: {sum(count > 1 for count in world.accepted.values()) > 0}")


def take(world: World, step: tuple[object, ...]) -> None:
    match step:
        case ("record", EventKind() as kind, int(n), int(count)):
            for offset in range(count):
                world.record(kind, n + offset)
        case ("work", int(seconds), list(outcomes)):
            world.turn()
            world.now += timedelta(seconds=seconds)
            world.turn()
            for outcome in outcomes:
                world.deliver(outcome)
        case ("jump", int(seconds)):
            world.now += timedelta(seconds=seconds)
        case ("silence", str(task)):
            world.silence(task)
        case ("acknowledge",):
            world.acknowledge()
        case ("down", str(channel)):
            world.down(channel)
        case ("reload", int(number)):
            world.plan = PLANS[number]
        case _:
            raise AssertionError(step)
