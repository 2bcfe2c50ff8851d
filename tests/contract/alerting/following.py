"""Two receivers, ``ops`` and ``lead``, and what a test does with what they are told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from alerting import acks, follow_ups, outbox
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import Entry, Lease
from alerting.routes import Plan
from alerting.tables import alert_delivery, alert_event
from tests.contract.alerting.conftest import MINUTE, NOW

EventMaker = Callable[..., AlertEvent]
ESCALATING = "escalate: {after: 10m, to: lead}"


def a_plan(ops: str = "", top: str = "", route: str = "{receiver: ops}", lead: str = "") -> Plan:
    """``ops`` is told; what its entry says besides its address is the test's matter. ``lead`` has an address, too."""
    text = f"""
receivers:
  ops: {{email: ops@example.org{", " if ops else ""}{ops}}}
  lead: {{email: lead@example.org{", " if lead else ""}{lead}}}
{top}
route: {{receiver: ops, routes: [{{matchers: dag=nowhere, receiver: lead}}, {{matchers: dag!=nowhere}}]}}
""".replace("{matchers: dag!=nowhere}", f"{{matchers: dag!=nowhere, {route[1:-1]}}}")
    return Plan(routing=read(text, Path("alerting.yml"), {}))


def recorded(engine: Engine, plan: Plan, now: datetime, *events: AlertEvent) -> outbox.Routed:
    with engine.begin() as connection:
        outbox.record(connection, events)
        return outbox.route(connection, now, plan)


def delivered(engine: Engine, plan: Plan, now: datetime) -> list[Lease]:
    """All that is due is accepted."""
    with engine.begin() as connection:
        leases = outbox.lease(connection, now, MINUTE, 100, ["email"])
        for lease in leases:
            assert outbox.confirm(connection, lease, now)
            follow_ups.schedule(connection, now, lease, plan)
    return leases


def rows(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_delivery).order_by(alert_delivery.c.id)).all())


def told_to(engine: Engine) -> Counter[tuple[str, str]]:
    return Counter((row.address.strip('[]"').partition("@")[0], row.state) for row in rows(engine))


def history(engine: Engine) -> list[Entry]:
    with engine.begin() as connection:
        return outbox.listing(connection)


def acknowledge(engine: Engine, *events: int, author: str = "alice", comment: str = "on it") -> int:
    with engine.begin() as connection:
        return acks.acknowledge(connection, NOW, events, author, comment)


def event_ids(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_event.c.id).order_by(alert_event.c.id)).scalars())


def recovery(event: EventMaker, n: int = 1, try_number: int = 2) -> AlertEvent:
    return event(n, kind=EventKind.TASK_RECOVERED, try_number=try_number)


def at_once(work: Callable[[], object]) -> None:
    """Three threads do it at the same time; the first error is raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
