"""Which callbacks a notifier finds due, by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from engine.metastore.callbacks import REQUEST
from engine.metastore.store import Store
from engine.running.callback_requests import is_any_due

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
