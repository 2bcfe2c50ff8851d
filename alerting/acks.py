"""Acknowledging: somebody has seen an alert and looks after it, so it is neither escalated nor repeated any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from alerting.database import batches, insert_new
from alerting.errors import AlertingError
from alerting.kinds import KINDS
from alerting.tables import alert_ack, alert_delivery, alert_event

MOST_FOUND: Final = 1_000
AUTHOR_LIMIT: Final = 250

_a, _d, _e = alert_ack.c, alert_delivery.c, alert_event.c


def acknowledge(connection: Connection, now: datetime, event_ids: Sequence[int], author: str, comment: str) -> int:
    """Notes for each of these events that ``author`` has seen it; returns how many nobody had acknowledged before.

    The first acknowledgement of an event counts and stays. Ids of events that do not exist are passed over. Raises
    AlertingError without an author.
    """
    if not author.strip():
        raise AlertingError("an acknowledgement needs an author: who looks after it")
    name, words = author.strip()[:AUTHOR_LIMIT], comment.strip()
    return sum(_acknowledge(connection, now, batch, name, words) for batch in batches(sorted(set(event_ids))))


def _acknowledge(connection: Connection, now: datetime, wanted: Sequence[int], author: str, comment: str) -> int:
    # The lock keeps two who acknowledge at once apart: the second one finds the row of the first.
    events = select(_e.id).where(_e.id.in_(wanted)).order_by(_e.id).with_for_update()
    known = connection.execute(events).scalars().all()
    seen = set(connection.execute(select(_a.event_id).where(_a.event_id.in_(known))).scalars())
    rows = [
        {"event_id": event_id, "author": author, "comment": comment, "acked_at": now}
        for event_id in known
        if event_id not in seen
    ]
    if rows:
        connection.execute(insert_new(connection, alert_ack, "event_id").values(rows))
    return len(rows)


def of_message(connection: Connection, delivery_id: int) -> list[int]:
    """The events of the message that a delivery belongs to; empty where there is no such delivery."""
    found = connection.execute(select(_d.event_id, _d.wave).where(_d.id == delivery_id)).one_or_none()
    if found is None:
        return []
    if found.wave is None:
        return [found.event_id]
    return list(connection.execute(select(_d.event_id).where(_d.wave == found.wave).order_by(_d.id)).scalars())


def find_open(
    connection: Connection, dag_id: str | None = None, run_id: str | None = None, task_id: str | None = None
) -> list[int]:
    """Troubles of this DAG, run and task that are not over and that nobody has acknowledged, newest first.

    At most MOST_FOUND: whoever has more acknowledges again.
    """
    kinds = [kind.value for kind, known in KINDS.items() if known.trouble]
    query = (
        select(_e.id)
        .outerjoin(alert_ack, _a.event_id == _e.id)
        .where(_e.kind.in_(kinds), _e.ended_by.is_(None), _a.event_id.is_(None))
        .order_by(_e.id.desc())
        .limit(MOST_FOUND)
    )
    for column, wanted in ((_e.dag_id, dag_id), (_e.run_id, run_id), (_e.task_id, task_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    return list(connection.execute(query).scalars())
