"""Putting off: a group or a follow-up that cannot be told must not hold up the others.

1. Where one of many raises what is no fault of the database's, they are done one by one.
2. One that raises alone is due again after :data:`PAUSE`, for as long as it takes: a file or a version may be mended.
3. What waits in such a group says why, and has waited in vain from then on. ``failing`` tells people of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select, update

from alerting.tables import alert_delivery, alert_follow_up, alert_group

PAUSE: Final = timedelta(minutes=5)
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


def put_off_follow_up(connection: Connection, now: datetime, follow_up_id: int, _why: str) -> str | None:
    """It is tried again later; what cannot be told, in words. None where somebody has done it.

    Its row has no place for the reason: the log and the event say it.
    """
    due = update(alert_follow_up).where(_f.id == follow_up_id, _f.due_at <= now)
    if connection.execute(due.values(due_at=now + PAUSE)).rowcount != 1:
        return None
    query = select(_f.origin, _d.event_id).join(alert_delivery, _d.id == _f.delivery_id).where(_f.id == follow_up_id)
    row = connection.execute(query).one()
    return f"the {row.origin} of alert {row.event_id}"
