"""Who waits for SQLite's write lock gets it when it is free, and hears as before when it never is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import OperationalError

from alerting import database, outbox
from alerting.database import connect, is_conflict, read, transact
from alerting.events import AlertEvent
from alerting.standalone_outbox import Standing, standing
from alerting.tables import alert_event


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """Two on one file."""
    made = connect(f"sqlite:///{tmp_path / 'a.db'}"), connect(f"sqlite:///{tmp_path / 'a.db'}")
    with made[0].begin() as connection:
        connection.execute(text("CREATE TABLE word (said TEXT)"))
    yield made
    for engine in made:
        engine.dispose()


@pytest.mark.parametrize("quick_looks", [0, 2, 500])
def test_a_writer_waits_for_the_one_before(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch, quick_looks: int
) -> None:
    monkeypatch.setattr(database, "_QUICK_LOOKS", quick_looks)
    first, second = engines
    waiting, written = threading.Event(), threading.Event()

    def write() -> None:
        waiting.set()
        with second.begin() as connection:
            connection.execute(text("INSERT INTO word VALUES ('second')"))
        written.set()

    thread = threading.Thread(target=write)
    with first.begin() as connection:
        connection.execute(text("INSERT INTO word VALUES ('first')"))
        thread.start()
        assert waiting.wait(60)
        assert not written.is_set()
    thread.join(60)
    with first.connect() as connection:
        assert connection.execute(text("SELECT said FROM word ORDER BY rowid")).scalars().all() == ["first", "second"]


def test_whoever_only_looks_waits_for_no_lock(engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_QUICK_LOOKS", 2)
    monkeypatch.setattr(database, "SQLITE_WAIT_SECONDS", 0)
    first, second = engines
    with first.begin() as connection:
        connection.execute(text("INSERT INTO word VALUES ('first')"))
        assert read(second, lambda other: other.execute(text("SELECT count(*) FROM word")).scalar_one()) == 0
    assert read(second, lambda other: other.execute(text("SELECT count(*) FROM word")).scalar_one()) == 1


def test_a_lock_that_is_never_given_back_is_told_as_a_conflict(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_QUICK_LOOKS", 2)
    monkeypatch.setattr(database, "SQLITE_WAIT_SECONDS", 0)
    first, second = engines
    with first.begin(), pytest.raises(OperationalError) as raised, second.begin():
        pass
    assert is_conflict(raised.value)


def test_how_an_alert_stands_is_asked_beside_whoever_writes(
    outbox_engine: Engine, failure: Callable[..., AlertEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_QUICK_LOOKS", 2)
    monkeypatch.setattr(database, "SQLITE_WAIT_SECONDS", 0)
    event = failure()
    transact(outbox_engine, lambda connection, _: outbox.record(connection, [event]))
    with outbox_engine.begin() as connection:
        connection.execute(update(alert_event).values(routed_at=event.occurred_at))
        assert standing(outbox_engine, event) is Standing.OPEN
    assert standing(outbox_engine, event) is Standing.IDLE
