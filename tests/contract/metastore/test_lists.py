"""Lists and rows reach each database whole, however it is given them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Table, select
from sqlalchemy.exc import DBAPIError

from engine.metastore.one_of import one_of
from engine.metastore.store import Store
from engine.metastore.tables import Base, TaskInstance, XCom
from engine.metastore.transitions import returning
from tests.contract.metastore.stage import OWNER, Stage, bash
from tests.servers.databases import DatabaseServer
from tests.servers.recording import recorded

XCOM: Table = Base.metadata.tables[XCom.__tablename__]
TI: Table = Base.metadata.tables[TaskInstance.__tablename__]
MOMENT = datetime(2026, 11, 28, 12, 30, 1, 234567, tzinfo=timezone(timedelta(hours=5, minutes=30)))
TEXTS = ("", "null", '"quoted"', "it's", "a\\b \\u0000", "50 % (x)s %s", "line\nline\ttab", "Grüße 🙂", "x" * 100_000)


def task_id_number(stage: Stage) -> int:
    stage.dag("dag", bash("a"))
    stage.trigger("dag")
    with stage.store.read() as connection:
        return int(connection.execute(select(TI.c.id)).scalar_one())


def row(number: int, key: str, value: str) -> dict[str, Any]:
    return {"ti_id": number, "key": key, "value": value, "created_at": MOMENT}


def test_rows_that_are_inserted_together_are_read_as_they_were(stage: Stage) -> None:
    number = task_id_number(stage)
    rows = [row(number, f"key {n}", value) for n, value in enumerate(TEXTS)]
    with stage.store.begin() as tx:
        tx.dialect.insert_rows(tx.connection, XCOM, rows)
    with stage.store.read() as connection:
        found = [dict(one._mapping) for one in connection.execute(select(XCOM).order_by(XCOM.c.key))]
    assert found == rows


@pytest.mark.postgresql
def test_on_postgresql_short_rows_share_statements_of_a_bounded_size_and_long_ones_go_as_they_are(
    postgresql_url: str,
) -> None:
    store = Store(postgresql_url)
    number = task_id_number(Stage(store))
    short = [row(number, f"short {n:05}", '"' + "ü" * 600 + '"') for n in range(3000)]
    long = [row(number, f"long {n}", "\\" * 3_000_000) for n in range(3)]
    with recorded(store) as sent, store.begin() as tx:
        tx.dialect.insert_rows(tx.connection, XCOM, [*short[:9], *long, *short[9:]])
    told = [one.parameters for one in sent if one.verb == "INSERT"]
    pieces = [len(parameters["rows"].encode()) for parameters in told if "rows" in parameters]
    assert len(told) == len(pieces) + 1, "one execution for the long rows"
    assert 4 <= len(pieces) <= 8
    assert max(pieces) < 2 << 20
    with store.read() as connection:
        found = [dict(one._mapping) for one in connection.execute(select(XCOM).order_by(XCOM.c.key))]
    assert found == long + short
    store.close()


def test_a_text_that_is_too_long_for_its_column_is_refused_and_not_cut_off(server_store: Store) -> None:
    number = task_id_number(Stage(server_store))
    with pytest.raises(DBAPIError), server_store.begin() as tx:
        tx.dialect.insert_rows(tx.connection, XCOM, [row(number, "k" * 251, "1")])


def test_an_element_that_is_too_long_for_the_column_is_none_of_its_values(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag")
    [claimed] = stage.claim()
    token = claimed.token.ljust(36, "x")
    with stage.store.begin() as tx:
        tx.connection.execute(TI.update().values(token=token))
    statement = select(TI.c.task_id).where(one_of(TI.c.token, "tokens"))
    with stage.store.read() as connection:
        assert connection.execute(statement, {"tokens": [f"{token}y"]}).all() == []
        assert connection.execute(statement, {"tokens": [token, "another"]}).scalars().all() == ["a"]
        assert connection.execute(statement, {"tokens": []}).all() == []


def test_on_postgresql_a_list_of_any_length_makes_the_same_statement(postgresql_server: DatabaseServer) -> None:
    url = postgresql_server.clone()
    store = Store(url)
    with recorded(store) as sent, store.read() as connection:
        for owners in (["a"], ["a", "b"], [OWNER] * 30):
            connection.execute(returning._OWNED, {"owners": owners, "limit": 20})
    store.close()
    postgresql_server.drop(url)
    assert len(sent) == 3
    assert len({one.sql for one in sent}) == 1
