"""Components that go silent are told once, those that come back once, and those that are stopped never."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from alerting.events import AlertEvent
from engine.metastore import components, processes
from engine.metastore.processes import Identity, identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metastore.tables import Process
from tests.contract.metastore.told import told

DOWN_AFTER = timedelta(seconds=60)


def begin(store: Store, kind: ProcessKind, hostname: str = "there") -> Identity:
    identity = replace(identify(kind), hostname=hostname)
    store.run(lambda tx: processes.register(tx, identity))
    return identity


def silent(store: Store, identity: Identity, seconds: float = 61) -> None:
    """It has shown its last heartbeat so long ago."""
    store.run(
        lambda tx: tx.connection.execute(
            update(Process)
            .where(Process.id == identity.id)
            .values(heartbeat_at=tx.now - timedelta(seconds=seconds), started_at=tx.now - timedelta(seconds=seconds))
        )
    )


def look(store: Store, me: Identity | None = None) -> list[tuple[str, str | None]]:
    """Let a notifier look, one that is well if no other is named; returns all that has been told."""
    looker = me or begin(store, ProcessKind.NOTIFIER, "here")
    store.run(lambda tx: components.look(tx, DOWN_AFTER, looker.id))
    return [(event.kind.value, event.subject) for event in told(store)]


@pytest.mark.parametrize("kind", ProcessKind)
def test_a_component_that_goes_silent_is_told_once_and_once_when_it_is_back(store: Store, kind: ProcessKind) -> None:
    if kind is ProcessKind.SUPERVISOR:
        begin(store, ProcessKind.SCHEDULER)
    name = f"{kind.value.replace('_', '-')} on there"
    first = begin(store, kind)
    silent(store, first, 59)
    assert look(store) == []
    silent(store, first)
    assert look(store) == look(store) == [("component_down", name)]
    begin(store, kind)
    assert look(store) == look(store) == [("component_down", name), ("component_up", name)]
    down, up = told(store)
    assert down.episode_key == up.episode_key
    assert down.hostname == "there"


def test_a_second_silence_is_another_episode(store: Store) -> None:
    for _ in range(2):
        one = begin(store, ProcessKind.SCHEDULER)
        silent(store, one)
        look(store)
        store.run(lambda tx, one=one: processes.heartbeat(tx, [one.id]))
        look(store)
        store.run(lambda tx, one=one: processes.end(tx, [one.id]))
    events: list[AlertEvent] = list(told(store))
    assert [event.kind.value for event in events] == ["component_down", "component_up"] * 2
    assert len({event.dedup_key for event in events}) == 4


def test_what_is_stopped_in_good_order_is_not_down(store: Store) -> None:
    one = begin(store, ProcessKind.SCHEDULER)
    store.run(lambda tx: processes.end(tx, [one.id]))
    silent(store, one)
    assert look(store) == []


def test_what_another_declared_dead_is_told_all_the_same(store: Store) -> None:
    one, other = begin(store, ProcessKind.SCHEDULER), begin(store, ProcessKind.SCHEDULER, "elsewhere")
    silent(store, one)
    store.run(lambda tx: processes.declare_dead(tx, [one.id]))
    assert look(store) == [("component_down", "scheduler on there")]
    silent(store, other, 1)
    assert len(look(store)) == 1


def test_a_restart_within_the_time_is_not_told_nor_is_one_of_two_on_a_host(store: Store) -> None:
    one = begin(store, ProcessKind.DAG_PROCESSOR)
    silent(store, one, 3000)
    begin(store, ProcessKind.DAG_PROCESSOR)
    assert look(store) == []


def test_a_supervisor_goes_with_its_scheduler(store: Store) -> None:
    for kind in (ProcessKind.SCHEDULER, ProcessKind.SUPERVISOR):
        silent(store, begin(store, kind))
    assert look(store) == [("component_down", "scheduler on there")]


def test_a_machine_that_was_given_up_long_ago_is_not_told(store: Store) -> None:
    silent(store, begin(store, ProcessKind.SCHEDULER), 90_000)
    assert look(store) == []


def test_who_shows_no_heartbeat_of_its_own_judges_no_other(store: Store) -> None:
    me = begin(store, ProcessKind.NOTIFIER, "here")
    silent(store, begin(store, ProcessKind.SCHEDULER))
    silent(store, me)
    assert look(store, me) == []
    store.run(lambda tx: processes.heartbeat(tx, [me.id]))
    assert look(store, me) == [("component_down", "scheduler on there")]


def test_three_that_look_at_once_tell_it_once(store: Store) -> None:
    silent(store, begin(store, ProcessKind.NOTIFIER))
    looker = begin(store, ProcessKind.NOTIFIER, "here")
    barrier = threading.Barrier(3)

    def one_look() -> None:
        mine = Store(store.url.render_as_string(hide_password=False))
        barrier.wait(60)
        mine.run(lambda tx: components.look(tx, DOWN_AFTER, looker.id))
        mine.close()

    threads = [threading.Thread(target=one_look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [event.kind.value for event in told(store)] == ["component_down"]
