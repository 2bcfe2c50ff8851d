"""The lookout of a notifier: what the settings switch off costs nothing, and one of several looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from alerting.kinds import EventKind
from engine import config
from engine.metastore import database, processes
from engine.metastore.processes import identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metastore.tables import Lease, Process
from engine.running.lookout import Lookout
from tests.contract.metastore.told import told
from tests.servers.recording import recorded

OFF = ("component_down_after", "dag_late_after", "run_overdue_factor", "sla_at_risk_confidence")


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    store = Store(sqlite_url)
    yield store
    store.close()


def lookout(store: Store, home: Path, **settings: str) -> Lookout:
    identity = identify(ProcessKind.NOTIFIER)
    store.run(lambda tx: processes.register(tx, identity))
    return Lookout(config.load({"WINDSOCK_HOME": str(home), **settings}), store, identity.id)


def holder(store: Store) -> str | None:
    with store.read() as connection:
        return connection.execute(select(Lease.holder).where(Lease.name == "lookout")).scalar_one()


def test_with_everything_switched_off_nothing_is_asked(store: Store, tmp_path: Path) -> None:
    one = lookout(store, tmp_path, **{f"WINDSOCK__ALERTING__{name.upper()}": "0" for name in OFF})
    with recorded(store) as sent:
        assert one._turn() > 60
    assert sent == []


def test_one_of_two_looks_and_the_other_follows_when_it_signs_off(store: Store, tmp_path: Path) -> None:
    first, second = lookout(store, tmp_path), lookout(store, tmp_path)
    first._turn()
    with recorded(store) as sent:
        second._turn()
    assert holder(store) == first.leadership.me
    assert not [one for one in sent if "process.kind" in one.sql]
    store.run(first.leadership.resign)
    second._look(second._looks)
    assert holder(store) == second.leadership.me


def test_an_idle_lookout_sends_less_than_two_statements_a_second(store: Store, tmp_path: Path) -> None:
    """Counted over the turns of a minute, without waiting for them."""
    one = lookout(store, tmp_path)
    one._judge_from = 0.0
    with recorded(store) as sent:
        for turn in range(6):
            due = [look for look in one._looks if turn % round(look.seconds / 10) == 0]
            one._look(due)
    assert len(sent) / 60 < 2


def test_it_ends_when_it_is_told_to(store: Store, tmp_path: Path) -> None:
    one, stop = lookout(store, tmp_path), threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def go_silent(store: Store) -> None:
    """A scheduler is there, and has shown its last heartbeat ten minutes ago."""
    other = identify(ProcessKind.SCHEDULER)
    store.run(lambda tx: processes.register(tx, other))
    with store.begin() as tx:
        silent = update(Process).where(Process.id == other.id).values(heartbeat_at=tx.now - timedelta(minutes=10))
        tx.connection.execute(silent)


def kinds(store: Store) -> list[EventKind]:
    return [event.kind for event in told(store)]


def rename(store: Store, old: str, new: str) -> None:
    with store.begin() as tx:
        tx.connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so much time go by for the database."""
    monkeypatch.setattr(database, "database_now", lambda _: datetime.now(UTC) + timedelta(seconds=seconds))


def beat(store: Store, one: Lookout) -> None:
    store.run(lambda tx: processes.heartbeat(tx, [one.leadership.me]))


def test_after_a_time_away_no_heartbeat_is_judged_for_a_while(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine slept for two minutes, and this process's heartbeat is the first to be written again."""
    one = lookout(store, tmp_path)
    one._judge_from = 0.0
    other = identify(ProcessKind.SCHEDULER)
    store.run(lambda tx: processes.register(tx, other))
    one._look(one._looks)
    assert one._judge_from == 0.0
    pass_time(monkeypatch, 120)
    beat(store, one)
    one._look(one._looks)
    assert one._judge_from > time.monotonic() + 30
    assert kinds(store) == []
    one._judge_from = 0.0
    one._look(one._looks)
    assert kinds(store) == [EventKind.COMPONENT_DOWN], "it did not come back meanwhile"


def test_a_time_away_is_noticed_by_who_does_not_look_now(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = lookout(store, tmp_path), lookout(store, tmp_path)
    for one in (first, second):
        one._judge_from = 0.0
        one._look(one._looks)
    pass_time(monkeypatch, 35)
    second._look(second._looks)
    assert second._judge_from == 0.0, "it may be slow"
    pass_time(monkeypatch, 80)
    second._look(second._looks)
    assert second._judge_from > time.monotonic() + 30


def test_a_metastore_that_is_away_is_noticed_when_it_is_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lookout(store, tmp_path)
    one._judge_from = 0.0
    one._look(one._looks)
    go_silent(store)
    rename(store, "lease", "lent")
    for seconds in (10, 20, 50):
        pass_time(monkeypatch, seconds)
        one._look(one._looks)
    assert (one._judge_from, kinds(store)) == (0.0, [])
    rename(store, "lent", "lease")
    beat(store, one)
    one._look(one._looks)
    assert holder(store) == one.leadership.me
    assert one._judge_from > time.monotonic() + 30
    assert kinds(store) == []


@pytest.mark.parametrize("table", ["dag_schedule", "dag_run"])
def test_a_look_that_always_fails_mutes_no_other(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    one = lookout(store, tmp_path)
    one._judge_from = 0.0
    rename(store, table, "gone")
    one._look(one._looks)
    go_silent(store)
    one._look(one._looks)
    assert kinds(store) == [EventKind.COMPONENT_DOWN]
    assert f"looking for late runs was left out: (sqlite3.OperationalError) no such table: {table}" in caplog.messages


def test_a_defect_in_one_look_is_shown_with_its_trace_and_costs_no_other(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lookout(store, tmp_path)
    one._judge_from = 0.0
    go_silent(store)
    silent, late, *_, at_risk = one._looks
    looked: list[str] = []
    woken: list[str] = []

    def break_down(*_: object) -> int:
        raise ValueError("no such week")

    monkeypatch.setattr(late, "work", break_down)
    monkeypatch.setattr(at_risk, "work", lambda *_: looked.append("at risk") or 0)
    monkeypatch.setattr(store, "wake", woken.append)
    one._look([silent, late, at_risk])
    assert (kinds(store), woken, looked) == ([EventKind.COMPONENT_DOWN], ["notifier"], ["at risk"])
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "looking for late runs" in record.message
    assert one._judge_from == 0.0
