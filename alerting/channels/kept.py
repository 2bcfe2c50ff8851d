"""Connections to the mail server that are kept for the next mail: each for a few seconds, then somebody closes it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Final

from alerting.channels.smtp import Connection

REST_SECONDS: Final = 300.0
_CLOSER: Final = "mail-connections"


class KeptConnections:
    """May be used from several threads at once; a connection is in the hands of one of them, or here.

    The thread that closes what nobody has needed lives only as long as there is something to close.
    """

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._changed = threading.Condition()
        self._kept: list[tuple[float, Connection]] = []  # until when (monotonic); the one used last is last
        self._rests_until = 0.0  # monotonic
        self._has_closer = False
        self._closed = False

    def take(self) -> Connection | None:
        """The one that was used last, if any; those that the server has left are closed."""
        while (connection := self._pop()) is not None:
            if connection.is_quiet:
                return connection
            connection.leave()
        return None

    def _pop(self) -> Connection | None:
        with self._changed:
            return self._kept.pop()[1] if self._kept and not self._rests() else None

    def rest(self) -> None:
        """None is used or kept for :data:`REST_SECONDS`: waiting for one in vain takes longer than it would save."""
        with self._changed:
            self._rests_until = time.monotonic() + REST_SECONDS

    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def keep(self, connection: Connection) -> None:
        """Hands one back after a mail. It is closed at once where none is to be kept."""
        with self._changed:
            is_wanted = self._keep_seconds > 0 and not self._closed and not self._rests()
            if is_wanted:
                self._kept.append((time.monotonic() + self._keep_seconds, connection))
                self._see_to_closing()
        if not is_wanted:
            connection.leave()

    def _see_to_closing(self) -> None:
        if not self._has_closer:
            with contextlib.suppress(RuntimeError):  # there can be no more threads: whoever keeps the next one tries it
                threading.Thread(target=self._close_unused, name=_CLOSER, daemon=True).start()
                self._has_closer = True

    def _close_unused(self) -> None:
        while (connection := self._await_unused()) is not None:
            connection.leave()

    def _await_unused(self) -> Connection | None:
        """The next one whose time is up; None once there is none to wait for."""
        with self._changed:
            while self._kept:
                until, connection = self._kept[0]
                if (wait := until - time.monotonic()) <= 0:
                    del self._kept[0]
                    return connection
                self._changed.wait(wait)
            self._has_closer = False
            return None

    def close(self) -> None:
        """Closes those that are kept, and keeps none from now on."""
        with self._changed:
            self._closed = True
            kept, self._kept = self._kept, []
            self._changed.notify_all()
        for _, connection in kept:
            connection.leave()
