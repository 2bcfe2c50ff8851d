"""Components that show no heartbeat any more, and those that are back, as events.

A component is a kind of process on a host: a scheduler on a machine that has two is there while one of them lives. It
is down when none of its processes lives, and the last of them neither signed off nor has shown a heartbeat for so long.
Who is stopped in good order is not down, and one that is restarted within that time is never told. A supervisor goes
with its scheduler, so it is down by itself only where that one lives.

:func:`judge` decides, without a database; :func:`look` reads, and writes what is new. A row stands for each component
that is down (:mod:`alerting.troubles`), so of several who look one tells it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from sqlalchemy import or_, select

from alerting import outbox, troubles
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from engine.metastore.database import Tx
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process

_FORGOTTEN: Final = timedelta(days=1)  # what was last heard of before that is a machine that went out of service


class Health(Enum):
    """How a component is."""

    UP = "up"
    DOWN = "down"
    STOPPED = "stopped"  # in good order, or silent for less than the threshold


@dataclass(frozen=True, slots=True)
class Beat:
    """A process as its row says."""

    kind: str
    hostname: str
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None = None
    is_lost: bool | None = None
    id: str | None = None

    @property
    def component(self) -> Component:
        return Component(self.kind, self.hostname)


@dataclass(frozen=True, slots=True, order=True)
class Component:
    """A kind of process on a host."""

    kind: str
    hostname: str

    @property
    def name(self) -> str:
        return f"{self.kind.replace('_', '-')} on {self.hostname}"


def judge(beats: Iterable[Beat], now: datetime, down_after: timedelta) -> dict[Component, Health]:
    """How each component is."""
    by_component: dict[Component, list[Beat]] = defaultdict(list)
    for beat in beats:
        by_component[beat.component].append(beat)
    health = {component: _health(group, now, down_after) for component, group in by_component.items()}
    return {component: state for component, state in health.items() if not _goes_with_another(component, health)}


def _health(group: Sequence[Beat], now: datetime, down_after: timedelta) -> Health:
    if any(beat.ended_at is None and now - beat.heartbeat_at < down_after for beat in group):
        return Health.UP
    last = max(group, key=lambda beat: beat.started_at)
    signed_off = last.ended_at is not None and not last.is_lost
    return Health.STOPPED if signed_off or now - last.heartbeat_at < down_after else Health.DOWN


def _goes_with_another(component: Component, health: Mapping[Component, Health]) -> bool:
    if component.kind != ProcessKind.SUPERVISOR:
        return False
    return health.get(Component(ProcessKind.SCHEDULER, component.hostname)) is not Health.UP


def look(tx: Tx, down_after: timedelta, me: str) -> int:
    """Tell what has gone down or come back since the last look; returns how many events. Two statements if nothing.

    `me` is the process that looks. While its own heartbeat is not there, those of others may be missing for the same
    reason, and nothing is told.
    """
    beats = _beats(tx)
    if not any(beat.id == me and tx.now - beat.heartbeat_at < down_after for beat in beats):
        return 0
    told = {subject for _, subject in troubles.since(tx.connection, [EventKind.COMPONENT_DOWN])}
    events = []
    for component, state in sorted(judge(beats, tx.now, down_after).items()):
        known = troubles.key_of(component.name) in told
        if state is Health.DOWN and not known:
            if troubles.begin(tx.connection, tx.now, EventKind.COMPONENT_DOWN, component.name):
                events.append(_down(component, beats, tx.now))
        elif state is Health.UP and known and troubles.end(tx.connection, EventKind.COMPONENT_DOWN, [component.name]):
            events.append(_up(component, tx.now))
    return outbox.record(tx.connection, events)


def _beats(tx: Tx) -> list[Beat]:
    columns = [getattr(Process, name) for name in Beat.__slots__]
    recent = Process.heartbeat_at > tx.now - _FORGOTTEN
    lately = or_(Process.ended_at.is_(None), Process.ended_at > tx.now - _FORGOTTEN)
    statement = select(*columns).where(Process.kind.in_(sorted(ProcessKind)), lately, recent)
    return [Beat(*row) for row in tx.connection.execute(statement)]


def _down(component: Component, beats: Iterable[Beat], now: datetime) -> AlertEvent:
    last = max(beat.heartbeat_at for beat in beats if beat.component == component)
    return AlertEvent(
        kind=EventKind.COMPONENT_DOWN,
        occurred_at=now,
        subject=component.name,
        hostname=component.hostname,
        summary=(
            f"The {component.name} has shown no heartbeat since {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC. "
            f"See its log and `windsock status` there; `windsock up --detach` starts what is missing."
        ),
    )


def _up(component: Component, now: datetime) -> AlertEvent:
    return AlertEvent(
        kind=EventKind.COMPONENT_UP,
        occurred_at=now,
        subject=component.name,
        hostname=component.hostname,
        summary=f"The {component.name} shows heartbeats again.",
    )
