"""How SQLite, which has no statistics here, looks into the history: never through all that is in a common state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from alerting import history
from alerting.database import connect
from alerting.history import Search
from alerting.tables import TABLES, metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path}/outbox.db")
    metadata.create_all(engine, tables=TABLES)
    yield engine
    engine.dispose()


def plan(engine: Engine, sought: Search) -> list[str]:
    """The steps of the statement that chooses the alerts."""
    sent: list[tuple[str, tuple[object, ...]]] = []

    def keep(
        _connection: Connection, _cursor: object, statement: str, parameters: tuple[object, ...], *_: object
    ) -> None:
        sent.append((statement, parameters))

    with engine.begin() as connection:
        event.listen(connection, "before_cursor_execute", keep)
        history.search(connection, sought, 100)
        statement, parameters = sent[0]
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row[3].replace("COVERING ", "") for row in rows]


@pytest.mark.parametrize(
    "sought", [Search(), Search(("delivered",)), Search(("not-told",))], ids=["all", "delivered", "not-told"]
)
def test_what_is_common_is_asked_event_by_event_from_the_newest_on(engine: Engine, sought: Search) -> None:
    steps = plan(engine, sought)
    assert steps[0] == "SCAN alert_event"  # by its number, and it ends where a page is full
    looks = [step for step in steps if "alert_delivery" in step]
    assert looks
    by_event = "SEARCH alert_delivery USING INDEX sqlite_autoindex_alert_delivery_1 (event_id=? AND channel"
    assert all(step.startswith(by_event) for step in looks), steps
    assert not any("B-TREE" in step or "LIST" in step for step in steps)


@pytest.mark.parametrize("state", ["dead", "pending", "sending", "waiting", "suppressed"])
def test_what_is_rare_is_found_by_its_state(engine: Engine, state: str) -> None:
    steps = plan(engine, Search((state,)))
    assert "SEARCH alert_delivery USING INDEX ix_alert_delivery_state (state=?)" in steps
    assert not any(step.startswith("SCAN") for step in steps)


def test_what_waits_for_the_notifier_is_found_by_that(engine: Engine) -> None:
    assert plan(engine, Search(("recorded",))) == [
        "SEARCH alert_event USING INDEX ix_alert_event_unrouted (routed_at=?)"
    ]
