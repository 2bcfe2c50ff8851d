from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import Engine

from alerting.channels import Message
from alerting.database import connect
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.tables import TABLES, metadata
from tests.servers.processes import free_port


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Starts an SMTP server with a handler and aiosmtpd's options; returns its port."""
    running: list[Controller] = []

    def start(handler: Any, **options: Any) -> int:
        controller = Controller(handler, hostname="127.0.0.1", port=free_port(), ready_timeout=60.0, **options)
        controller.start()
        running.append(controller)
        return int(controller.port)

    yield start
    for controller in running:
        controller.stop()


@pytest.fixture
def message() -> Message:
    return Message(
        key="k" * 64,
        thread="t" * 64,
        occurred_at=datetime.now(UTC),
        subject="Failed: daily.load",
        text="text",
        html="<p>html</p>",
        chat="chat",
        failed=True,
        severity="error",
        recipients=("alice@example.org", "bob@example.org"),
    )


@pytest.fixture
def outbox_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'outbox.db'}")
    metadata.create_all(engine, tables=TABLES)
    yield engine
    engine.dispose()


@pytest.fixture
def failure() -> Callable[..., AlertEvent]:
    """Makes the failure of one task now, mailed to alice."""

    def make(n: int = 0, **changes: Any) -> AlertEvent:
        values: dict[str, Any] = {
            "kind": EventKind.TASK_FAILED,
            "occurred_at": datetime.now(UTC),
            "dag_id": "daily",
            "run_id": "r1",
            "task_id": f"t{n}",
            "try_number": 1,
            "emails": ("alice@example.org",),
        }
        return AlertEvent(**values | changes)

    return make
