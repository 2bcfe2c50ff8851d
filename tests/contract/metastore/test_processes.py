"""Heartbeats, and what counts as dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from engine.metastore import processes
from engine.metastore.processes import Identity
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Process
from tests.contract.metastore.stage import Stage, bash

THRESHOLD = timedelta(seconds=30)
KINDS = list(ProcessKind)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Another live process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def registered(
    store: Store, kind: ProcessKind = ProcessKind.SUPERVISOR, pid: int | None = None, **detail: Any
) -> Identity:
    identity = processes.identify(kind, pid)
    store.run(lambda tx: processes.register(tx, identity, detail))
    return identity


def far_away(store: Store, kind: ProcessKind = ProcessKind.SUPERVISOR, **detail: Any) -> Identity:
    """A process of another machine: of it we know its heartbeat only."""
    identity = registered(store, kind, **detail)
    there = update(Process).where(Process.id == identity.id).values(pid_started="another:boot:1")
    store.run(lambda tx: tx.connection.execute(there))
    return identity


def dead(store: Store, kinds: list[ProcessKind] = KINDS) -> list[str]:
    return store.run(lambda tx: processes.find_dead(tx.connection, tx.now, THRESHOLD, kinds))


def age(store: Store, seconds: float) -> None:
    """Let every heartbeat be that old."""
    store.run(
        lambda tx: tx.connection.execute(update(Process).values(heartbeat_at=tx.now - timedelta(seconds=seconds)))
    )


def elsewhere(store: Store, **values: str) -> None:
    store.run(lambda tx: tx.connection.execute(update(Process).values(**values)))


def test_a_registered_process_lives(store: Store) -> None:
    identity = registered(store, slots=4)
    assert dead(store) == []
    with store.read() as connection:
        row = connection.execute(select(*Process.__table__.c)).one()
    assert (row.id, row.kind, row.pid, row.ended_at) == (identity.id, "supervisor", identity.pid, None)
    assert row.detail == {"slots": 4}
    assert row.started_at == row.heartbeat_at


def test_a_silent_process_is_dead_after_the_threshold(store: Store) -> None:
    identity = far_away(store)
    age(store, 29)
    assert dead(store) == []
    age(store, 31)
    assert dead(store) == [identity.id]


def test_a_heartbeat_revives_and_tells_who_was_still_there(store: Store) -> None:
    one, other = far_away(store), far_away(store)
    age(store, 31)
    assert store.run(lambda tx: processes.heartbeat(tx, [one.id])) == 1
    assert dead(store) == [other.id]
    store.run(lambda tx: processes.end(tx, [other.id]))
    assert store.run(lambda tx: processes.heartbeat(tx, [one.id, other.id, "unheard-of"])) == 1


def test_a_heartbeat_counts_a_row_that_was_just_written(store: Store) -> None:
    """Some drivers count changed rows only: then a second beat in one instant would look like a death."""
    identity = registered(store)

    def twice(tx: Tx) -> list[int]:
        return [processes.heartbeat(tx, [identity.id]) for _ in range(2)]

    assert store.run(twice) == [1, 1]


def test_a_local_process_lives_as_long_as_its_kernel_says_so_however_silent(store: Store) -> None:
    registered(store)
    age(store, 1000)
    assert dead(store) == []


def test_a_process_that_ended_is_not_dead(store: Store) -> None:
    identity = far_away(store)
    store.run(lambda tx: processes.end(tx, [identity.id]))
    age(store, 1000)
    assert dead(store) == []


def test_only_the_kinds_asked_for_are_looked_at(store: Store) -> None:
    far_away(store, ProcessKind.WEBSERVER)
    supervisor = far_away(store, ProcessKind.SUPERVISOR)
    age(store, 31)
    assert dead(store, [ProcessKind.SUPERVISOR, ProcessKind.SCHEDULER]) == [supervisor.id]


def test_a_local_process_that_died_is_dead_at_once(store: Store, child: subprocess.Popen[bytes]) -> None:
    identity = registered(store, pid=child.pid)
    assert dead(store) == []
    child.kill()
    child.wait()
    assert dead(store) == [identity.id]


def test_a_zombie_is_dead(store: Store, child: subprocess.Popen[bytes]) -> None:
    identity = registered(store, pid=child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert dead(store) == [identity.id]


def test_a_pid_that_somebody_else_has_now_is_dead(store: Store) -> None:
    identity = registered(store)
    with store.read() as connection:
        mark = connection.execute(select(Process.pid_started)).scalar_one()
    elsewhere(store, pid_started=mark.rpartition(":")[0] + ":1")
    assert dead(store) == [identity.id]


@pytest.mark.parametrize("part", [0, 1], ids=["container", "boot"])
def test_a_process_of_another_machine_or_container_is_judged_by_its_heartbeat_only(store: Store, part: int) -> None:
    """Even under this host's name: two machines may share one, and containers often do."""
    identity = registered(store, pid=2**22 + 1)
    with store.read() as connection:
        words = connection.execute(select(Process.pid_started)).scalar_one().split(":")
    words[part] = "another"
    elsewhere(store, pid_started=":".join(words))
    assert dead(store) == []
    age(store, 31)
    assert dead(store) == [identity.id]


def test_attempts_that_outlive_their_scheduler_are_those_of_its_living_supervisors(stage: Stage) -> None:
    store = stage.store
    scheduler = registered(store, ProcessKind.SCHEDULER)
    living, ended, others = (registered(store, scheduler=owner) for owner in (scheduler.id, scheduler.id, "another"))
    store.run(lambda tx: processes.end(tx, [ended.id]))
    stage.dag("dag", *(bash(f"t{i}") for i in range(6)))
    stage.trigger("dag")
    for slots, owner in ((3, living), (1, ended), (2, others)):
        stage.begin(slots, owner.id)
    with store.read() as connection:
        assert processes.attempts_outliving(connection, []) == 0
        assert processes.attempts_outliving(connection, ["unheard-of"]) == 0
        assert processes.attempts_outliving(connection, [scheduler.id]) == 3
