from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from alerting import fallbacks, follow_ups, outbox
from alerting.database import connect
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import Plan
from alerting.tables import TABLES, alert_delivery, alert_event, metadata
from alerting.telling import Told

EventMaker = Callable[..., AlertEvent]

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ],
)
def database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with the outbox in it, made by this package alone, on each database in turn."""
    server = request.getfixturevalue(f"{request.param}_server")
    url = server.create()
    engine = connect(url.replace("postgresql://", "postgresql+psycopg://").replace("mysql://", "mysql+pymysql://"))
    metadata.create_all(engine, tables=TABLES)
    yield engine
    engine.dispose()
    server.drop(url)


@pytest.fixture
def engine(database: Engine) -> Iterator[Engine]:
    """An empty outbox."""
    yield database
    with database.begin() as connection:
        for table in (alert_delivery, alert_event, *TABLES):
            connection.execute(table.delete())


@pytest.fixture
def an_event() -> EventMaker:
    """Makes a failure of task t<n> of one run, mailed to alice unless told otherwise."""

    def make(n: int = 0, **changes: Any) -> AlertEvent:
        values: dict[str, Any] = {
            "kind": EventKind.TASK_FAILED,
            "occurred_at": NOW + timedelta(seconds=n),
            "dag_id": "daily",
            "run_id": "r1",
            "task_id": f"t{n}",
            "try_number": 1,
            "max_tries": 1,
            "emails": ("alice@example.org",),
        }
        return AlertEvent(**values | changes)

    return make


def buried(engine: Engine, plan: Plan, now: datetime, channel: str = "email") -> Told:
    """All that is due through this channel dies."""
    told = Told()
    with engine.begin() as connection:
        for lease in outbox.lease(connection, now, MINUTE, 100, [channel]):
            assert outbox.bury(connection, lease, "550 no such user")
            follow_ups.schedule_for_dead(connection, now, lease, plan)
            told += fallbacks.fall_back(connection, now, plan, [lease.id])
    return told


def followed(engine: Engine, plan: Plan, now: datetime) -> Told | None:
    """What is to follow by now is done."""
    with engine.begin() as connection:
        return follow_ups.follow_up(connection, now, plan)
