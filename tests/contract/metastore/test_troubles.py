"""Troubles that go on: what one transaction has begun no other can end meanwhile, on every database that locks rows."""

from __future__ import annotations

import threading

from sqlalchemy import select

from alerting import troubles
from alerting.kinds import EventKind
from alerting.tables import alert_trouble
from engine.metastore.store import Store, Tx
from tests.servers.processes import wait_until
from tests.servers.recording import recorded

DAG = (EventKind.RUN_FAILED, "daily")


def begin(tx: Tx) -> bool:
    return troubles.begin(tx.connection, tx.now, *DAG)


def end(tx: Tx) -> set[str]:
    kind, subject = DAG
    return troubles.end(tx.connection, kind, [subject])


def free(store: Store) -> list[str]:
    """Troubles that another transaction could end now without waiting."""
    statement = select(alert_trouble.c.subject).with_for_update(skip_locked=True)
    with store.begin() as tx:
        return list(tx.connection.execute(statement).scalars())


def test_a_trouble_is_new_once_and_again_when_it_was_over(store: Store) -> None:
    assert [store.run(begin), store.run(begin)] == [True, False]
    assert [store.run(end), store.run(end)] == [{"daily"}, set()]
    assert store.run(begin)


def test_a_transaction_may_begin_a_trouble_twice(store: Store) -> None:
    assert store.run(lambda tx: [begin(tx), begin(tx)]) == [True, False]


def test_nobody_ends_a_trouble_before_those_who_have_met_it_are_done(server_store: Store) -> None:
    """Its end would be told before this failure, and the row be gone: the next recovery would be told to nobody."""
    server_store.run(begin)
    with server_store.begin() as tx:
        assert not begin(tx)
        assert free(server_store) == []
    assert free(server_store) == ["daily"]


def test_a_trouble_that_is_just_being_ended_begins_anew(server_store: Store) -> None:
    server_store.run(begin)
    new: list[bool] = []
    later = threading.Thread(target=lambda: new.append(server_store.run(begin)))
    with recorded(server_store) as sent, server_store.begin() as tx:
        assert end(tx) == {"daily"}
        later.start()
        wait_until(lambda: any("FOR UPDATE" in one.sql for one in sent), "it to ask for the row", 60)
    later.join(60)
    assert new == [True]
    assert free(server_store) == ["daily"]
