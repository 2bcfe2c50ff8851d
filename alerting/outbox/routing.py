"""Routing: recorded events become deliveries, or a row that says why nobody is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from alerting import groups, inhibitions, recoveries, silences, twins
from alerting.errors import Unreadable
from alerting.events import AlertEvent, decode
from alerting.groups import Draft
from alerting.kinds import KINDS, EventKind
from alerting.outbox.deliveries import DeliveryState, add
from alerting.outbox.leasing import UNREADABLE
from alerting.routes import Plan, Suppressed, SuppressedBy, Target, hold, match
from alerting.tables import alert_event

_e: Final = alert_event.c
_UNROUTED: Final = (
    select(_e.id, _e.payload, _e.ended_by)
    .where(_e.routed_at.is_(None))
    .order_by(_e.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_ROUTED: Final = (
    update(alert_event)
    .where(_e.id.in_(bindparam("ids", expanding=True)), _e.routed_at.is_(None))
    .values(routed_at=bindparam("now"))
)


@dataclass(frozen=True)
class Routed:
    """What one call of route() did."""

    kinds: tuple[EventKind, ...] = ()  # of the events it routed
    channels: tuple[str, ...] = ()  # of the deliveries that may be sent at once
    suppressed: tuple[SuppressedBy, ...] = ()  # why some are not told


def route(connection: Connection, now: datetime, plan: Plan, limit: int = 500, only: int | None = None) -> Routed:
    """Turns up to ``limit`` recorded events, oldest first, or ``only`` this one, into deliveries.

    1. Lock events that nobody has routed; those that another deliverer has locked are passed over.
    2. Ask the plan, the silences, the inhibitions and the twins who is to be told; a suppressed row keeps the reason
       where somebody is not.
    3. What goes beyond a receiver's limit waits for its digest; what is grouped waits in its group.
    4. Write the rows. Then do the same for events that end a trouble: they go to whoever has a row about it.
    5. Mark the events. All writing passes over what is there already, so a second router does no harm.

    Raises Unreadable where this version cannot read one of them: see ``setting_aside``.
    """
    query = _UNROUTED if only is None else _UNROUTED.where(_e.id == only)
    found = connection.execute(query, {"most": limit}).all()
    if not found:
        return Routed()
    events = [(row.id, _event(row.payload)) for row in found]
    endings = {event_id: event for event_id, event in events if KINDS[event.kind].ends}
    silenced = silences.active(connection, now)
    others = [(event_id, event) for event_id, event in events if event_id not in endings]
    over = {row.id for row in found if row.ended_by is not None}
    drafts, rows = _add(connection, now, _drafts(connection, now, others, plan, silenced, over), plan)
    if endings:
        told = recoveries.end_episodes(connection, endings, plan)
        ends = [Draft(key, event, target) for key, event in endings.items() for target in told[key]]
        more = _add(connection, now, [_unless_silenced(draft, plan, silenced) for draft in ends], plan)
        drafts, rows = drafts + more[0], rows + more[1]
    connection.execute(_ROUTED, {"ids": [row.id for row in found], "now": now})
    return Routed(
        tuple(event.kind for _, event in events),
        tuple(row["channel"] for row in rows if row["state"] == DeliveryState.PENDING.value),
        tuple(draft.target.held.by for draft in drafts if draft.target.held is not None),
    )


def _event(payload: str) -> AlertEvent:
    event = decode(payload)
    if event is None:
        raise Unreadable(UNREADABLE)
    return event


def _drafts(
    connection: Connection,
    now: datetime,
    events: Sequence[tuple[int, AlertEvent]],
    plan: Plan,
    silenced: Sequence[silences.Silence],
    over: set[int],
) -> list[Draft]:
    """``over`` are those of the events that were ended before they were routed: nothing is explained by them."""
    told = [(event_id, event, _targets(event, plan, silenced)) for event_id, event in events]
    kinds = {event.kind for _, event in events}
    if inhibitions.concerns(plan.inhibitions, kinds):
        rules, severity = plan.inhibitions, plan.severity
        sources = inhibitions.Sources(rules, inhibitions.open_sources(connection, now, rules, severity))
        fresh = [(key, event, targets) for key, event, targets in told if key not in over]
        inhibitions.add_fresh(fresh, sources, severity, now - inhibitions.MOST_OPEN)
        told = [(key, event, _unless_explained(key, event, targets, plan, sources)) for key, event, targets in told]
    told = twins.unless_told(connection, told)
    return [Draft(event_id, event, target) for event_id, event, targets in told for target in targets]


def _targets(event: AlertEvent, plan: Plan, silenced: Sequence[silences.Silence]) -> tuple[Target, ...]:
    targets = match(event, plan, silenced)
    return (Target("", held=targets),) if isinstance(targets, Suppressed) else targets


def _unless_explained(
    event_id: int, event: AlertEvent, targets: tuple[Target, ...], plan: Plan, sources: inhibitions.Sources
) -> tuple[Target, ...]:
    why = groups.why_held(event_id, event, plan, (), sources)
    return targets if why is None else hold(targets, why)


def _unless_silenced(draft: Draft, plan: Plan, silenced: Sequence[silences.Silence]) -> Draft:
    why = None if draft.event is None else groups.why_held(draft.event_id, draft.event, plan, silenced)
    return draft if why is None else replace(draft, target=hold((draft.target,), why)[0])


def _add(
    connection: Connection, now: datetime, drafts: list[Draft], plan: Plan
) -> tuple[list[Draft], list[dict[str, Any]]]:
    if plan.routing is not None:
        drafts = groups.divert_storms(connection, now, drafts, plan.routing)
    return drafts, add(connection, now, drafts, plan.give_up_after)
