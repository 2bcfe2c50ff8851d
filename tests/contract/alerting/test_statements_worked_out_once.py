"""On the way of an alert no statement is compiled anew: that would take longer than to execute it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import CacheStats

from alerting import outbox
from alerting.events import AlertEvent
from alerting.routes import Plan

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
PLAN = Plan(receivers=("json-1",))


def tell(engine: Engine, alert: AlertEvent) -> int:
    """Record it, route it and confirm all its messages; how many these were."""
    with engine.begin() as connection:
        outbox.record(connection, [alert])
    with engine.begin() as connection:
        outbox.route(connection, NOW, PLAN)
        leases = outbox.lease(connection, NOW, timedelta(minutes=1), 10, ["email", "json-1"])
        outbox.next_due(connection, ["email", "json-1"])
    with engine.begin() as connection:
        return sum(outbox.confirm(connection, lease, NOW) for lease in leases)


def test_the_second_alert_finds_every_statement_compiled(engine: Engine, an_event: Callable[..., AlertEvent]) -> None:
    anew: list[str] = []

    def look(_connection: Any, _cursor: Any, statement: str, _rows: Any, context: Any, _many: bool) -> None:
        if context.compiled is not None and context.cache_hit is not CacheStats.CACHE_HIT:
            anew.append(statement)

    assert tell(engine, an_event(1)) == 2
    event.listen(engine, "before_cursor_execute", look)
    try:
        assert tell(engine, an_event(2)) == 2
    finally:
        event.remove(engine, "before_cursor_execute", look)
    assert anew == []
