"""A process that waits is woken by one that wrote: over a socket, by the database's push, or by a counted row."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.metastore import wakeups
from engine.metastore.store import Store
from engine.metastore.wakeups import Listener
from tests.servers.databases import PostgreSQL
from tests.servers.processes import wait_until

SOON = 60.0


@pytest.fixture
def local(store: Store, run_dir: Path) -> Iterator[Store]:
    """The store as processes of one machine see it."""
    near = Store(store.url.render_as_string(hide_password=False), run_dir=run_dir)
    yield near
    near.close()


def woken_by(listener: Listener, act) -> bool:
    """Whether `act`, done while the listener waits, wakes it."""
    timer = threading.Timer(0.05, act)
    timer.start()
    try:
        return listener.wait(SOON)
    finally:
        timer.join()


def test_a_waiter_on_this_machine_is_woken(local: Store) -> None:
    with closing(Listener(local, "scheduler")) as listener:
        assert woken_by(listener, lambda: local.wake("scheduler"))


def test_a_waiter_on_another_machine_is_woken_where_the_database_can(server_store: Store) -> None:
    assert server_store.run_dir is None
    with closing(Listener(server_store, "scheduler")) as listener:
        assert woken_by(listener, lambda: server_store.wake("scheduler"))


def test_a_wake_up_before_the_wait_is_not_lost(local: Store) -> None:
    with closing(Listener(local, "scheduler")) as listener:
        local.wake("scheduler")
        assert listener.wait(SOON)


def test_many_wake_ups_are_one(local: Store) -> None:
    with closing(Listener(local, "scheduler")) as listener:
        for _ in range(300):
            wakeups._wake_local(local.run_dir, "scheduler", wakeups.ANYTHING)
        assert listener.wait(SOON)
        assert not listener.wait(0)


def test_a_waiter_hears_only_its_topic(local: Store) -> None:
    with closing(Listener(local, "notifier")) as listener:
        local.wake("scheduler")
        assert not listener.wait(0.05)


def test_a_wake_up_on_this_machine_says_what_it_is_about(local: Store) -> None:
    with closing(Listener(local, "notifier")) as listener:
        for news in ([wakeups.ALERTS], [wakeups.ALERTS, wakeups.ANYTHING]):
            for each in news:
                wakeups._wake_local(local.run_dir, "notifier", each)
            assert listener.wait(SOON)
            assert listener.take_news() == set(news)
            assert listener.take_news() == set()


def test_news_that_found_no_room_may_be_about_anything(local: Store) -> None:
    with closing(Listener(local, "notifier")) as listener:
        for each in [wakeups.ALERTS] * 200 + [wakeups.ANYTHING]:
            local.wake_near("notifier", each)
        assert listener.wait(SOON)
        assert wakeups.ANYTHING in listener.take_news()
        local.wake_near("notifier", wakeups.ALERTS)
        assert listener.wait(SOON)
        assert listener.take_news() == {wakeups.ALERTS}


def test_each_half_of_a_wake_up_reaches_its_waiters_alone(server_store: Store, run_dir: Path) -> None:
    local = Store(server_store.url.render_as_string(hide_password=False), run_dir=run_dir)
    with (
        closing(local),
        closing(Listener(local, "notifier")) as near,
        closing(Listener(server_store, "notifier")) as far,
    ):
        local.wake_near("notifier", wakeups.ALERTS)
        assert near.wait(SOON)
        assert near.take_news() == {wakeups.ALERTS}
        assert not far.wait(1.5)
        local.wake_far("notifier")
        assert far.wait(SOON)


def test_a_wake_up_through_the_database_may_be_about_anything(server_store: Store) -> None:
    with closing(Listener(server_store, "notifier")) as listener:
        server_store.wake("notifier", wakeups.ALERTS)
        assert listener.wait(SOON)
        assert listener.take_news() == {wakeups.ANYTHING}


def test_every_waiter_of_a_topic_is_woken(local: Store) -> None:
    with closing(Listener(local, "scheduler")) as one, closing(Listener(local, "scheduler")) as other:
        local.wake("scheduler")
        assert one.wait(SOON)
        assert other.wait(SOON)


def test_a_wait_can_be_interrupted_from_within(local: Store) -> None:
    with closing(Listener(local, "scheduler")) as listener:
        assert woken_by(listener, listener.interrupt)
        assert not listener.wait(0)


def test_a_signal_ends_a_wait_whichever_thread_takes_it(local: Store) -> None:
    """As one does that comes between Python's last look and the wait: neither interrupts a system call."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with closing(Listener(local, "scheduler")) as listener:
            listener.heed_signals()
            assert woken_by(listener, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert signal.set_wakeup_fd(-1) == -1


def test_any_number_of_interruptions_is_one(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    with closing(Listener(store, "scheduler")) as listener:
        for _ in range(70_000):  # more than a pipe holds
            listener.interrupt()
        assert listener.wait(SOON)
    store.close()


def test_a_quiet_wait_ends_in_time(local: Store) -> None:
    with closing(Listener(local, "scheduler")) as listener:
        begun = time.monotonic()
        assert not listener.wait(0.1)
        assert 0.09 < time.monotonic() - begun < 60


def test_sockets_are_private_and_go_with_their_listener(local: Store) -> None:
    listener = Listener(local, "scheduler")
    folder = Path(local.run_dir or "") / "wake"
    assert len(list(folder.iterdir())) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    listener.close()
    assert list(folder.iterdir()) == []


def test_the_socket_of_a_dead_waiter_is_cleared_away(sqlite_url: str, run_dir: Path) -> None:
    store = Store(sqlite_url, run_dir=run_dir)
    listener = Listener(store, "scheduler")
    listener._socket.close()  # type: ignore[union-attr]  # as the kernel does when its process dies
    store.wake("scheduler")
    assert list((run_dir / "wake").iterdir()) == []
    listener.close()
    store.close()


def test_waking_nobody_is_no_error(local: Store) -> None:
    local.wake("scheduler")
    local.wake("no such topic")


def test_waking_through_an_unreachable_database_is_no_error() -> None:
    store = Store("postgresql://windsock@127.0.0.1:1/windsock")
    store.wake("scheduler")
    store.close()


def test_a_home_with_too_long_a_path_is_told_and_done_without(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deep = tmp_path / ("x" * 100)
    store = Store(sqlite_url, run_dir=deep)
    with caplog.at_level(logging.WARNING), closing(Listener(store, "scheduler")) as listener:
        assert not listener.wait(0.01)
    assert "Use a shorter WINDSOCK_HOME" in caplog.text
    store.close()


def test_a_waiter_whose_session_is_ended_listens_again(postgresql_server: PostgreSQL, postgresql_url: str) -> None:
    store = Store(postgresql_url)
    with closing(Listener(store, "scheduler")) as listener:
        backend = listener._session.info.backend_pid
        postgresql_server.run(f"SELECT pg_terminate_backend({backend})")
        assert listener.wait(SOON), "a lost session may have lost a wake-up"
        assert woken_by(listener, lambda: store.wake("scheduler"))
    store.close()


def test_a_waiter_outlives_a_restart_of_postgresql(
    postgresql_server: PostgreSQL, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(postgresql_url)
    with closing(Listener(store, "scheduler")) as listener:
        postgresql_server.stop_process(signal.SIGQUIT)
        with caplog.at_level(logging.WARNING):
            listener.wait(SOON)
            listener.wait(2.5)
        assert [record.levelname for record in caplog.records] == ["WARNING"], "told once, not with every try"
        postgresql_server.start()
        wait_until(lambda: listener.wait(2) and not listener._deaf, "the listener to hear again", 60)
        assert woken_by(listener, lambda: store.wake("scheduler"))
    store.close()
