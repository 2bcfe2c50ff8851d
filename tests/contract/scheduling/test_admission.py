"""Which schedulers may work side by side."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from engine import config
from engine.config import Settings
from engine.metastore import processes
from engine.metastore.errors import Refused
from engine.metastore.processes import identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metastore.tables import Process
from engine.scheduling.admission import sign_on


@pytest.fixture
def store(metastore_url: str) -> Iterator[Store]:
    store = Store(metastore_url)
    yield store
    store.close()


def settings(tmp_path: Path, executor: str) -> Settings:
    return config.load({"WINDSOCK_HOME": str(tmp_path), "WINDSOCK__CORE__EXECUTOR": executor})


def begin(store: Store, tmp_path: Path, executor: str = "LocalExecutor") -> None:
    chosen = settings(tmp_path, executor)
    store.run(lambda tx: sign_on(tx, identify(ProcessKind.SCHEDULER), chosen))


def change(store: Store, **values: object) -> None:
    with store.begin() as tx:
        tx.connection.execute(update(Process).values(**values))


def test_several_local_executors_are_welcome_on_every_database(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        begin(store, tmp_path)
    with store.read() as connection:
        told = list(connection.execute(select(Process.detail)).scalars())
    assert told == [{"executor": "LocalExecutor", "parallelism": 32}] * 3


@pytest.mark.parametrize("first", ["LocalExecutor", "SequentialExecutor"])
@pytest.mark.parametrize("second", ["LocalExecutor", "SequentialExecutor"])
def test_a_sequential_executor_works_alone(store: Store, tmp_path: Path, first: str, second: str) -> None:
    begin(store, tmp_path, first)
    if first == second == "LocalExecutor":
        begin(store, tmp_path, second)
        return
    with pytest.raises(Refused) as refusal:
        begin(store, tmp_path, second)
    assert f"(pid {os.getpid()} on host {socket.gethostname()})" in str(refusal.value)
    assert "SequentialExecutor, which runs one task at a time" in str(refusal.value)


def test_a_sequential_executor_follows_one_that_died_or_ended(store: Store, tmp_path: Path) -> None:
    begin(store, tmp_path, "SequentialExecutor")
    with store.read() as connection:
        mark = connection.execute(select(Process.pid_started)).scalar_one()
    change(store, pid_started=mark + "0")  # another process has this pid now
    begin(store, tmp_path, "SequentialExecutor")
    with store.begin() as tx:
        processes.end(tx, tx.connection.execute(select(Process.id)).scalars().all())
    begin(store, tmp_path, "SequentialExecutor")


def test_of_two_sequential_executors_that_start_at_once_one_is_refused(store: Store, tmp_path: Path) -> None:
    url = store.url.render_as_string(hide_password=False)
    barrier = threading.Barrier(2)
    told: list[str] = []

    def one() -> None:
        own = Store(url)
        barrier.wait(60)
        try:
            begin(own, tmp_path, "SequentialExecutor")
            told.append("works")
        except Refused:
            told.append("refused")
        finally:
            own.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) == ["refused", "works"]


def test_a_sqlite_file_serves_the_schedulers_of_one_machine(store: Store, tmp_path: Path) -> None:
    begin(store, tmp_path)
    change(store, hostname="elsewhere", pid_started="4026531836:another-boot:1")
    if store.dialect.is_server:
        begin(store, tmp_path)
        return
    with pytest.raises(
        Refused, match=r"on another machine \(pid \d+ on host elsewhere\), and a SQLite file serves one"
    ):
        begin(store, tmp_path)
