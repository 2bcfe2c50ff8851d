"""Putting off: a group, a follow-up or a fallback that cannot be told must not hold up the others.

1. Where one of many raises what is no fault of the database's, they are done one by one.
2. One that raises alone is due again after :data:`PAUSE`, for as long as it takes: a file or a version may be mended.
3. What waits in such a group says why, and has waited in vain from then on. A follow-up says why in its own row, for
   it is no reason why the delivery that it is to follow was not sent. ``failing`` tells people of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select, update

from alerting.database import insert_new
from alerting.routes import Origin
from alerting.spans import span
from alerting.tables import alert_delivery, alert_follow_up, alert_group

PAUSE: Final = timedelta(minutes=5)
NAMES: Final[Mapping[str, str]] = {  # of what follows a message, by its Origin
    Origin.ESCALATION.value: "escalation",
    Origin.REPEAT.value: "repetition",
    Origin.FALLBACK.value: "fallback",
}
_d, _f, _g = alert_delivery.c, alert_follow_up.c, alert_group.c


def put_off_group(connection: Connection, now: datetime, group_id: int, why: str) -> str | None:
    """Its wave is tried again later; what cannot be told, in words. None where somebody has formed the wave."""
    due = update(alert_group).where(_g.id == group_id, _g.due_at <= now)
    if connection.execute(due.values(due_at=now + PAUSE)).rowcount != 1:
        return None
    waiting = (_d.group_id == group_id, _d.state == "waiting", _d.wave.is_(None))
    values = {"error": f"its group cannot be told: {why}", "waiting_since": func.coalesce(_d.waiting_since, now)}
    connection.execute(update(alert_delivery).where(*waiting).values(values))
    receiver = connection.execute(select(_g.receiver).where(_g.id == group_id)).scalar_one()
    return f"what waits in a group for {receiver}"


def put_off_follow_up(connection: Connection, now: datetime, follow_up_id: int, why: str) -> str | None:
    """It is tried again later; what cannot be told, in words. None where somebody has done it."""
    due = update(alert_follow_up).where(_f.id == follow_up_id, _f.due_at <= now)
    if connection.execute(due.values(due_at=now + PAUSE, error=why)).rowcount != 1:
        return None
    query = select(_f.origin, _d.event_id).join(alert_delivery, _d.id == _f.delivery_id)
    row = connection.execute(query.where(_f.id == follow_up_id)).one()
    return f"the {_name(row.origin)} of alert {row.event_id}"


def put_off_fallback(connection: Connection, now: datetime, delivery_id: int, why: str) -> str | None:
    """The same of a delivery that waits to be sent and is to fall back: nobody looks at it until then."""
    row = {"delivery_id": delivery_id, "origin": Origin.FALLBACK.value, "due_at": now}
    connection.execute(insert_new(connection, alert_follow_up, "delivery_id", "origin").values(row))
    its_step = (_f.delivery_id == delivery_id, _f.origin == Origin.FALLBACK.value)
    key: int = connection.execute(select(_f.id).where(*its_step)).scalar_one()
    return put_off_follow_up(connection, now, key, why)


def is_any_left(connection: Connection) -> bool:
    """Whether something is put off still, though nobody may have looked at it for long."""
    waiting = (_d.state == "waiting", _d.wave.is_(None), _d.waiting_since.is_not(None))
    queries = (select(_d.id).where(*waiting), select(_f.id).where(_f.error.is_not(None)))
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def sentence(origin: str, why: str) -> str:
    """What whoever looks at a delivery reads of a follow-up of it that is put off."""
    return f"its {_name(origin)} cannot be told: {why}; it is tried again every {span(PAUSE)}"


def _name(origin: str) -> str:
    """A newer version may know others."""
    return NAMES.get(origin, origin)
