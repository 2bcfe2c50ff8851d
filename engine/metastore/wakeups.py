"""Wake-ups: how a process that wrote something tells the one that waits for it.

On one machine a waiter binds a datagram socket ``$WINDSOCK_HOME/run/wake/<topic>.<pid>.<n>`` and a writer sends one
byte to every socket of the topic, which may say what it is about: no statement, no delay. Between machines PostgreSQL
pushes (LISTEN/NOTIFY, sent in a small transaction of its own, since NOTIFY takes a lock that all committing sessions
share); elsewhere the writer counts up a row that the waiter polls. All of them are hints: a waiter looks by itself as
well.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select as sql_select
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from engine.metastore.tables import Wakeup

if TYPE_CHECKING:
    from engine.metastore.database import Database

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
ANYTHING: Final = b"!"
ALERTS: Final = b"a"  # for the notifier: alerts alone, no callback is asked for
# A full socket drops news. It holds one datagram more than net.unix.max_dgram_qlen (10 by default) said when it was
# bound, and is read until it is empty: where any was dropped, at least so many are read at once. This is below every
# usual limit, and above what comes together on a quiet day.
_SURELY_ALL: Final = 4
_MAX_SOCKET_PATH: Final = 100  # the kernel's limit is 108 bytes
_numbers = itertools.count()  # a process may listen more than once


def _socket_dir(run_dir: Path) -> Path:
    return run_dir / "wake"


def wake(store: Database, topic: str, news: bytes = ANYTHING) -> None:
    """Wake every waiter of `topic`; `news` reaches those of this machine alone.

    Failures are logged at debug level: a waiter polls as well.
    """
    wake_near(store, topic, news)
    wake_far(store, topic)


def wake_near(store: Database, topic: str, news: bytes = ANYTHING) -> None:
    """Wake the waiters of this machine: without a statement, and so at once."""
    if store.run_dir is not None:
        _wake_local(store.run_dir, topic, news)


def wake_far(store: Database, topic: str) -> None:
    """Wake the waiters through the database: in a transaction, which may have to wait."""
    if store.dialect.name == "sqlite":
        return  # its waiters are on this machine
    try:
        with store.begin() as tx:
            if not store.dialect.notify(tx.connection, topic):
                statement = update(Wakeup).where(Wakeup.topic == topic).values(changes=Wakeup.changes + 1)
                tx.connection.execute(statement)
    except SQLAlchemyError:
        log.debug("could not wake %s through the database", topic, exc_info=True)


def _wake_local(run_dir: Path, topic: str, news: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for path in _socket_dir(run_dir).glob(f"{topic}.*"):
            try:
                sender.sendto(news, str(path))
            except BlockingIOError:
                continue  # its buffer is full of wake-ups already
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # its owner died
            except OSError:
                log.debug("could not wake %s", path, exc_info=True)


class Listener:
    """Waits for one topic. Close it to remove its socket."""

    def __init__(self, store: Database, topic: str) -> None:
        self._store = store
        self._topic = topic
        self._path: Path | None = None
        self._interrupt_r, self._interrupt_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._heeds_signals = False
        self._socket = self._bind(store.run_dir) if store.run_dir else None
        self._deaf = False
        self._news: set[bytes] = set()
        self._session: Any = self._listen()
        self._changes = self._read_changes()
        self._next_poll = time.monotonic() + POLL_SECONDS

    def _bind(self, run_dir: Path) -> socket.socket | None:
        folder = _socket_dir(run_dir)
        path = folder / f"{self._topic}.{os.getpid()}.{next(_numbers)}"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            log.warning(
                "%s is too long for a socket; wake-ups wait for the next poll. Use a shorter WINDSOCK_HOME", path
            )
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.bind(str(path))
        self._path = path
        return receiver

    def _listen(self) -> Any:
        if self._store.dialect.name != "postgresql":
            return None
        import psycopg

        url = self._store.url.set(drivername="postgresql").render_as_string(hide_password=False)
        session = None
        try:
            session = psycopg.connect(url, autocommit=True, connect_timeout=10)
            session.execute(f'LISTEN "windsock_{self._topic}"')
        except psycopg.Error:
            log.log(
                logging.DEBUG if self._deaf else logging.WARNING,  # told once, tried again with every poll
                "PostgreSQL takes no LISTEN for now; changes of other machines are noticed later",
                exc_info=True,
            )
            self._deaf = True
            if session:
                session.close()
            return None
        self._deaf = False
        return session

    def filenos(self) -> list[int]:
        """File descriptors that become readable on a wake-up; ask again after each :meth:`drain`."""
        sources = [source for source in (self._socket, self._session) if source]
        return [self._interrupt_r, *(source.fileno() for source in sources)]

    def interrupt(self) -> None:
        """End a :meth:`wait` at once, from another thread or a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._interrupt_w, b"!")

    def heed_signals(self) -> None:
        """From now on each signal that this process handles ends a :meth:`wait`. For its main thread.

        Python calls the handler between two of its own instructions. A signal that comes after the last of them before
        the wait, or that another thread takes, interrupts no wait: only what the C handler writes here does.
        """
        signal.set_wakeup_fd(self._interrupt_w, warn_on_full_buffer=False)
        self._heeds_signals = True

    def take_news(self) -> set[bytes]:
        """What local wake-ups were about since the last call, and ANYTHING for those that came through the database."""
        news, self._news = self._news, set()
        return news

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; True when something happened. Polls where the database cannot push."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            step = max(0.0, min(left, self._next_poll - time.monotonic()) if self._polls else left)
            if select.select(self.filenos(), [], [], step)[0]:
                self.drain()
                return True
            if self.poll():
                self._news.add(ANYTHING)
                return True
            if time.monotonic() >= deadline:
                return False

    @property
    def _polls(self) -> bool:
        return self._store.dialect.name == "mysql" or self._deaf

    @property
    def next_poll(self) -> float | None:
        """When to call :meth:`poll` again (time.monotonic); None where the database pushes or is on this machine."""
        return self._next_poll if self._polls else None

    def poll(self) -> bool:
        """Whether the counted row moved; looks at most once a second, and never where the database pushes.

        A lost LISTEN session is opened again here; True then, for nobody heard what was said meanwhile.
        """
        if not self._polls or time.monotonic() < self._next_poll:
            return False
        self._next_poll = time.monotonic() + POLL_SECONDS
        if self._deaf:
            self._session = self._listen()
            return not self._deaf
        before, self._changes = self._changes, self._read_changes()
        return before != self._changes

    def _read_changes(self) -> int | None:
        if self._store.dialect.name != "mysql":
            return None
        with contextlib.suppress(SQLAlchemyError), self._store.read() as connection:
            return connection.execute(sql_select(Wakeup.changes).where(Wakeup.topic == self._topic)).scalar()
        return None

    def drain(self) -> None:
        """Take in what has arrived; a lost LISTEN session is opened again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._interrupt_r, 4096)
        if self._socket:
            self._drain_socket(self._socket)
        if self._session:
            self._drain_session()

    def _drain_socket(self, receiver: socket.socket) -> None:
        received = 0
        with contextlib.suppress(BlockingIOError):
            while news := receiver.recv(64):
                self._news.add(news)
                received += 1
        if received > _SURELY_ALL:
            self._news.add(ANYTHING)  # there may have been no room for other news

    def _drain_session(self) -> None:
        import psycopg

        try:
            for _ in self._session.notifies(timeout=0):
                self._news.add(ANYTHING)
        except psycopg.Error:
            self._news.add(ANYTHING)
            with contextlib.suppress(psycopg.Error):
                self._session.close()
            self._session = self._listen()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._heeds_signals:
            signal.set_wakeup_fd(-1)
        os.close(self._interrupt_r)
        os.close(self._interrupt_w)
        if self._socket:
            self._socket.close()
        if self._path:
            self._path.unlink(missing_ok=True)
        if self._session:
            self._session.close()
