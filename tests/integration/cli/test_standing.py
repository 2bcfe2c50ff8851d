"""What windsock status says besides its table: of alerts, silences and an alerting.yml that is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import update

from alerting import outbox, silences
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.meters import NoMeter
from alerting.reload import Watch
from alerting.routes import Plan
from alerting.tables import alert_delivery
from engine.cli.standing import kept, standing
from engine.cli.verdicts import verdict
from engine.config import load
from engine.metastore import processes
from engine.metastore.refused import refused
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx

Command = Callable[..., Result]

TO_THE_ROOM = "receivers: {ops: {channels: room, task_email: true}}\nroute: {receiver: ops}\n"


def silence(store: Store, length: timedelta, starts_in: timedelta = timedelta(0)) -> str:
    """Returns when it ends, as people read it."""

    def work(tx: Tx) -> str:
        begin = tx.now + starts_in
        matchers = [parse_matcher("dag=daily")]
        ends = begin + length
        silences.add(
            tx.connection, tx.now, matchers, author="alice", comment="", starts_at=begin, ends_at=begin + length
        )
        return f"{ends:%Y-%m-%d %H:%M} UTC"

    return store.run(work)


def record_for_two_channels(tx: Tx) -> None:
    outbox.record(tx.connection, [AlertEvent(kind=EventKind.TEST, occurred_at=tx.now)])
    outbox.route(tx.connection, tx.now, Plan(receivers=("chat", "room")))


def lines(store: Store) -> list[str]:
    with store.read() as connection:
        return list(standing(connection, prompt=timedelta(seconds=30), with_logs=False))


def test_silences_in_force_are_counted_with_the_end_of_the_last(store: Store) -> None:
    assert lines(store) == []
    silence(store, timedelta(hours=9), starts_in=timedelta(hours=1))
    assert lines(store) == []
    until = silence(store, timedelta(hours=3))
    assert lines(store) == [f"1 silence in force until {until}: windsock alerts silence list"]
    silence(store, timedelta(hours=1))
    assert lines(store) == [f"2 silences in force, the last until {until}: windsock alerts silence list"]


def test_alerts_that_wait_are_counted_by_channel_with_what_was_said_last(store: Store) -> None:
    def work(tx: Tx) -> None:
        happened_at = tx.now - timedelta(minutes=20)
        events = [AlertEvent(kind=EventKind.DAG_LATE, occurred_at=happened_at, dag_id=f"d{place}") for place in (1, 2)]
        outbox.record(tx.connection, events)
        outbox.route(tx.connection, tx.now, Plan(receivers=("chat",)))
        outbox.record(tx.connection, [AlertEvent(kind=EventKind.TEST, occurred_at=happened_at)])
        outbox.route(tx.connection, tx.now, Plan(receivers=("room",)))
        chosen = update(alert_delivery).where(alert_delivery.c.channel == "chat")
        tx.connection.execute(chosen.where(alert_delivery.c.event_id == 1).values(error="connection\nrefused"))

    store.run(work)
    first, *others = lines(store)
    assert first.startswith("Alerts pending: 3, the oldest for 12")
    assert others == ["  chat: 2, connection refused", "  room: 1"]


def test_what_waits_while_everything_is_stopped_is_counted_with_where_to_see_it(store: Store) -> None:
    def told() -> str | None:
        with store.read() as connection:
            return kept(connection)

    def mark(channel: str, **values: object) -> None:
        store.run(
            lambda tx: tx.connection.execute(
                update(alert_delivery).where(alert_delivery.c.channel == channel).values(**values)
            )
        )

    assert told() is None
    store.run(record_for_two_channels)
    rest = "They are kept, and go out once Windsock is started again: windsock alerts list --state"
    assert told() == f"Alerts that wait to be delivered: 2. {rest} pending"
    mark("chat", state="waiting", due_at=None)
    assert told() == f"Alerts that wait to be delivered: 1, and 1 for the message of their group. {rest} pending"
    mark("room", state="dead", due_at=None)
    assert told() == f"Alerts that wait to be delivered: 0, and 1 for the message of their group. {rest} waiting"


def test_down_tells_of_what_waits(windsock: Command, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cli.stack.stop", lambda _: True)
    monkeypatch.setenv("WINDSOCK_HOME", str(home))
    assert windsock("down").stdout == "Windsock is stopped.\n"
    store.run(record_for_two_channels)
    first, second = windsock("down").stdout.splitlines()
    assert first == "Windsock is stopped."
    assert second.startswith("Alerts that wait to be delivered: 2.")
    (home / "windsock.toml").write_text("broken =")
    assert windsock("down").stdout == "Windsock is stopped.\n"


def test_down_makes_no_metastore_and_stumbles_over_no_address(
    windsock: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.cli.stack.stop", lambda _: True)
    monkeypatch.setenv("WINDSOCK_HOME", str(home))
    moved = home / "moved.db"
    for address in (f"sqlite:///{moved}", "postgresql://u:p@h:notaport/x", "no address"):
        done = windsock("down", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=address)
        assert (done.exit_code, done.output) == (0, "Windsock is stopped.\n")
    assert not moved.exists()


def test_what_the_notifier_refuses_is_told_by_status_and_by_check_with_what_is_in_force(
    windsock: Callable[..., Result], store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that this shell has and the notifier has not."""
    monkeypatch.setenv("WINDSOCK_HOME", str(home))
    path = home / "alerting.yml"
    path.write_text(f"channels: {{room: env:ROOM}}\n{TO_THE_ROOM}")
    monkeypatch.setenv("ROOM", "json://127.0.0.1/x")
    assert windsock("alerts", "check").stderr == ""
    refusal = Watch(path, {}, NoMeter()).refusal
    identity = processes.identify(ProcessKind.NOTIFIER)
    store.run(lambda tx: processes.register(tx, identity, refused(refusal)))
    with store.read() as connection:
        first, line = verdict(connection, load())
    assert first.startswith(f"The notifier has refused {path} since ")
    assert first.endswith(" UTC; alerts go by the settings until it is corrected:")
    assert line.startswith(f"  {path}, line 1: channels.room: the environment variable ROOM is not set")
    assert windsock("alerts", "check").stderr == f"windsock: {first}\nwindsock: {line}\n"
    store.run(lambda tx: processes.end(tx, [identity.id]))
    assert windsock("alerts", "check").stderr == ""


def test_a_file_can_be_checked_where_there_is_no_metastore(windsock: Callable[..., Result], home: Path) -> None:
    (home / "alerting.yml").write_text("route: {receiver: settings}\n")
    absent = home / "none.db"
    told = windsock("alerts", "check", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{absent}")
    (warning,) = told.stderr.splitlines()
    assert (told.exit_code, "no route leads task_failed to task_email" in warning) == (0, True)
    assert not absent.exists()


def test_status_with_a_mistake_in_the_settings_says_also_that_nothing_runs(windsock: Command, home: Path) -> None:
    (home / "windsock.toml").write_text("broken =")
    told = windsock("status")
    assert told.exit_code == 1
    assert f"windsock: {home / 'windsock.toml'} is not valid TOML" in told.stderr
    assert "windsock: Windsock is not running. Correct this, then start it: windsock up --detach" in told.stderr
    assert windsock("status", "-o", "json").stdout == "[]\n"
