"""Which callbacks a notifier finds due, by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text

from engine.metastore.callbacks import REQUEST
from engine.metastore.store import Store
from engine.running.callback_requests import _ANY_DUE, is_any_due

HOUR = timedelta(hours=1)


def request(store: Store, due_in: timedelta, **more: Any) -> None:
    """Write one that falls due then."""
    with store.begin() as tx:
        columns = {"dedup_key": "k", "kind": "failure", "scope": "task", "dag_id": "dag", "fileloc": "/dag.py"}
        times = {"due_at": tx.now + due_in, "created_at": tx.now}
        row = {**columns, **times, "payload": {}, "state": "pending", "attempts": 0, "failures": 0} | more
        tx.connection.execute(insert(REQUEST), [row])


@pytest.mark.parametrize(
    ("due_in", "more", "is_due"),
    [
        (-timedelta(seconds=1), {}, True),
        (HOUR, {}, False),
        (-HOUR, {"state": "done"}, False),
        (-HOUR, {"lease_until": datetime.now(UTC) + HOUR}, False),
        (-HOUR, {"lease_until": datetime.now(UTC) - HOUR}, True),
    ],
    ids=["due", "due later", "done", "leased", "whose lease is over"],
)
def test_what_is_due_is_found(store: Store, due_in: timedelta, more: dict[str, Any], is_due: bool) -> None:
    with store.read() as connection:
        assert not is_any_due(connection)
    request(store, due_in, **more)
    with store.read() as connection:
        assert is_any_due(connection) is is_due


@pytest.mark.postgresql
def test_they_are_found_by_an_index_though_the_database_tells_the_time(postgresql_url: str) -> None:
    store = Store(postgresql_url)
    request(store, HOUR)
    with store.read() as connection:
        connection.execute(text("SET enable_seqscan = off"))  # one row is not worth an index
        sql = str(_ANY_DUE.compile(connection.engine))
        plan = connection.exec_driver_sql(
            f"EXPLAIN {sql}", {"state_1": "pending", "now": datetime.now(UTC), "param_1": 1}
        )
        told = "\n".join(row[0] for row in plan)
    store.close()
    assert "Index Scan using ix_callback_request_due" in told
    assert "due_at <=" in told.partition("Index Cond")[2].partition("Filter")[0]
