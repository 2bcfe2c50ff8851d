"""Two deliverers at work on the same outbox, on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Engine

from alerting.channels.chat import receivers
from alerting.events import AlertEvent
from tests.integration.alerting.running import running
from tests.servers.webhook import WebhookServer


def test_everything_is_told_once_by_either(
    engine: Engine, an_event: Callable[..., AlertEvent], webhook_server: WebhookServer
) -> None:
    channels = receivers([f"json://127.0.0.1:{webhook_server.port}/hook"])
    with running(engine, *channels) as first, running(engine, *channels) as second:
        for start in range(0, 60, 6):
            first.record(*(an_event(n, emails=(), occurred_at=datetime.now(UTC)) for n in range(start, start + 6)))
            second.woken.set()
        first.until(delivered=60)
    keys = [request.headers["idempotency-key"] for request in webhook_server.requests]
    assert len(keys) == len(set(keys)) == 60
