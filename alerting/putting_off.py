"""Putting off: a group, a follow-up or a fallback that cannot be told must not hold up the others.

1. Where one of many raises what is no fault of the database's, they are done one by one.
2. One that raises alone is due again after :data:`PAUSE`, for as long as it takes: a file or a version may be mended.
3. What waits in such a group says why, and has waited in vain from then on. What a follow-up is to follow says why,
   until it is done, or until something else is written there. ``failing`` tells people of both.
4. What is said so is for those who look at the delivery. It is no reason why that was not sent: see :func:`reason`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, or_, select, update

from alerting.database import insert_new
from alerting.routes import Origin
from alerting.spans import span
from alerting.tables import alert_delivery, alert_follow_up, alert_group

PAUSE: Final = timedelta(minutes=5)
_AGAIN: Final = f"; it is tried again every {span(PAUSE)}"
_NAMES: Final[Mapping[str, str]] = {
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
    if connection.execute(due.values(due_at=now + PAUSE)).rowcount != 1:
        return None
    query = select(_f.origin, _d.event_id, _d.id, _d.error).join(alert_delivery, _d.id == _f.delivery_id)
    row = connection.execute(query.where(_f.id == follow_up_id)).one()
    said = (_without(row.error, row.origin), f"{_begin(row.origin)}{why}{_AGAIN}")
    _say(connection, row.id, "; ".join(part for part in said if part))
    return f"the {_name(row.origin)} of alert {row.event_id}"


def put_off_fallback(connection: Connection, now: datetime, delivery_id: int, why: str) -> str | None:
    """The same of a delivery that waits to be sent and is to fall back: nobody looks at it until then."""
    row = {"delivery_id": delivery_id, "origin": Origin.FALLBACK.value, "due_at": now}
    connection.execute(insert_new(connection, alert_follow_up, "delivery_id", "origin").values(row))
    its_step = (_f.delivery_id == delivery_id, _f.origin == Origin.FALLBACK.value)
    key: int = connection.execute(select(_f.id).where(*its_step)).scalar_one()
    return put_off_follow_up(connection, now, key, why)


def is_any_left(connection: Connection) -> bool:
    """Whether something is put off still, though nobody may have looked at it for long.

    A delivery may have several follow-ups: what it says of one that is done is nothing about the others.
    """
    waiting = (_d.state == "waiting", _d.wave.is_(None), _d.waiting_since.is_not(None))
    said = [and_(_f.origin == origin, _d.error.contains(_begin(origin), autoescape=True)) for origin in _NAMES]
    queries = (
        select(_d.id).where(*waiting),
        select(_d.id).join(alert_follow_up, _f.delivery_id == _d.id).where(or_(*said)),
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def no_longer(connection: Connection, delivery: Row[Any], origin: str) -> Row[Any]:
    """What follows this delivery is done, or not to be done any more; the row without what was said of its delay."""
    error = _without(delivery.error, origin)
    if error == (delivery.error or ""):
        return delivery
    _say(connection, delivery.id, error)
    return connection.execute(select(alert_delivery).where(_d.id == delivery.id)).one()


def reason(error: str | None) -> str | None:
    """Why a delivery was not sent, by its ``error``: without what is said of its follow-ups."""
    return _without(error, *_NAMES) or None


def _name(origin: str) -> str:
    """A newer version may know others."""
    return _NAMES.get(origin, origin)


def _begin(origin: str) -> str:
    return f"its {_name(origin)} cannot be told: "


def _without(error: str | None, *origins: str) -> str:
    said = rf"(?:^|; )(?:{'|'.join(map(_begin, origins))}).*?{re.escape(_AGAIN)}"
    return re.sub(said, "", error or "").removeprefix("; ")


def _say(connection: Connection, delivery_id: int, error: str) -> None:
    """Of all alerts that the message tells of."""
    message = or_(_d.id == delivery_id, _d.wave == delivery_id)
    connection.execute(update(alert_delivery).where(message).values(error=error or None))
