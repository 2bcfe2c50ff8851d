"""However long the history is, the page of alerts looks at a part of it: each statement finds that by an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text

from alerting import history, outbox
from alerting.database import connect
from alerting.history import Search, Window
from alerting.tables import TABLES, alert_delivery, alert_event, metadata
from tests.contract.alerting.conftest import NOW

EVENTS = 30_000  # each with a delivery, and every other one suppressed
SIZE = 500
Plans = list[str]


@pytest.fixture(
    scope="module",
    params=[pytest.param("sqlite", marks=pytest.mark.sqlite), pytest.param("postgresql", marks=pytest.mark.postgresql)],
)
def crowded(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A long history, of which the database knows how long it is."""
    server = request.getfixturevalue(f"{request.param}_server")
    url = server.create()
    engine = connect(url.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine, tables=TABLES)
    with engine.begin() as connection:
        _fill(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    yield engine
    engine.dispose()
    server.drop(url)


def _fill(connection: Connection) -> None:
    numbers = text(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EVENTS}) SELECT i FROM n"
    )
    ids = connection.execute(numbers).scalars().all()
    common = {"kind": "task_failed", "dag_id": "daily", "task_id": "t", "occurred_at": NOW, "payload": "x" * 400}
    connection.execute(insert(alert_event), [{**common, "id": i, "dedup_key": str(i), "routed_at": NOW} for i in ids])
    done = {"target": "", "address": "", "created_at": NOW, "give_up_at": NOW}
    connection.execute(insert(alert_delivery), [{**done, **_outcome(i), "event_id": i} for i in ids])


def _outcome(i: int) -> dict[str, object]:
    if i % 2:
        return {"state": "delivered", "channel": "room", "delivered_at": NOW}
    return {"state": "suppressed", "channel": "room" if i % 100 == 0 else "", "delivered_at": None}


@pytest.fixture
def plans_of(crowded: Engine) -> Callable[[Callable[[Connection], object]], Plans]:
    """The database's plan of each statement that some work sends."""

    def plans_of(work: Callable[[Connection], object]) -> Plans:
        sent: list[tuple[str, object]] = []

        def keep(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            sent.append((statement, parameters))

        with crowded.begin() as connection:
            event.listen(connection, "before_cursor_execute", keep)
            work(connection)
            event.remove(connection, "before_cursor_execute", keep)
            return [_plan(connection, *each) for each in sent]

    return plans_of


def _plan(connection: Connection, statement: str, parameters: object) -> str:
    command = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = connection.exec_driver_sql(f"{command} {statement}", parameters)  # type: ignore[arg-type]
    return "\n".join(str(row[-1]) for row in rows)


SOUGHT = {
    "all": Search(),
    "suppressed": Search(("suppressed",)),
    "not told": Search(("not-told",)),
    "delivered": Search(("delivered",)),
    "a kind that there is not": Search(kind="dag_broken"),
    "of one DAG": Search(dag_id="daily"),
    "of late": Search(since=NOW - timedelta(days=1)),
}


@pytest.mark.parametrize("name", SOUGHT)
@pytest.mark.parametrize("place", ["newest", "older"])
def test_a_page_looks_at_its_window_and_at_nothing_before_it(
    crowded: Engine, plans_of: Callable[[Callable[[Connection], object]], Plans], name: str, place: str
) -> None:
    within = history.window(1, EVENTS, SIZE, None if place == "newest" else EVENTS // 2)
    sought = _within(SOUGHT[name], within)
    chosen, *_ = plans_of(lambda connection: history.search(connection, sought, 100))
    (counted,) = plans_of(lambda connection: history.counts(connection, sought, within))
    for told in (chosen, counted):
        _require_bounded(crowded.dialect.name, told)


def test_a_look_of_a_deliverer_reads_nothing_of_what_is_done(
    plans_of: Callable[[Callable[[Connection], object]], Plans],
) -> None:
    (told,) = plans_of(lambda connection: outbox.look(connection, ["room", "email"]))
    assert not re.search(r"Seq Scan on alert_(event|delivery)|SCAN alert_(event|delivery)\b", told), told
    assert "ix_alert_event_unrouted" in told
    assert "ix_alert_delivery_due" in told


def _within(sought: Search, within: Window) -> Search:
    return Search(
        sought.states,
        sought.dag_id,
        kind=sought.kind,
        since=sought.since,
        before_event=within.before,
        after_event=within.after,
    )


def _require_bounded(dialect: str, told: str) -> None:
    """Every look at a table begins with the window, or with one event of it."""
    if dialect == "sqlite":
        looks = [step for step in told.splitlines() if step.startswith(("SCAN", "SEARCH"))]
        bounded = r"\((dag_id=\? AND )?(row)?id[>=]|\(event_id[>=]"
        assert looks
        assert all(re.search(bounded, step) for step in looks), told
    else:
        assert "Seq Scan" not in told, told
        conditions = re.findall(r"Index Cond: (.*)", told)
        assert conditions
        assert all(re.search(r"\b(event_)?id\b", condition) for condition in conditions), told


def test_the_ends_of_the_history_are_found_by_its_key(
    crowded: Engine, plans_of: Callable[[Callable[[Connection], object]], Plans]
) -> None:
    (told,) = plans_of(lambda connection: connection.execute(select(*history.ends())).one())
    if crowded.dialect.name == "sqlite":
        assert "B-TREE" not in told, told
    else:
        assert "Sort" not in told, told
        assert "Seq Scan" not in told, told
