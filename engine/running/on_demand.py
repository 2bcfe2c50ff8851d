"""A zygote for who seldom forks, or never: started by a job, or when somebody expects one soon.

A job that nobody expected waits for the zygote's imports, and nobody else does: it lies in the zygote's socket
meanwhile. A zygote that dies is not replaced before there is a job for it, or somebody expects one. One that nobody has
needed for a while may be let go, since its memory is all its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from engine.running.zygote import Event, ZygoteClient, ZygoteDied


class ZygoteOnDemand:
    """A :class:`ZygoteClient` that is there from when it is needed, until it has not been for `rest_after` seconds."""

    def __init__(self, entry: str, rest_after: float = math.inf) -> None:
        """`entry` is ``module:function``, a handler; nothing is started yet."""
        self._entry = entry
        self._rest_after = rest_after
        self._needed_at = 0.0  # monotonic
        self._client: ZygoteClient | None = None

    @property
    def client(self) -> ZygoteClient | None:
        """None while there is none."""
        return self._client

    @property
    def pid(self) -> int | None:
        """None while there is none."""
        return self._client.pid if self._client else None

    def filenos(self) -> list[int]:
        """What to wait on for reading."""
        return [self._client.fileno()] if self._client else []

    def wake(self) -> ZygoteClient:
        """Have it there for the next job. Raises OSError where it cannot be started."""
        self._needed_at = time.monotonic()
        self._client = self._client or ZygoteClient.start(self._entry)
        return self._client

    def rest(self, *, busy: bool) -> bool:
        """Let the zygote go if nobody has needed it for long. To be called now and then, `busy` while it has children.

        Returns whether it was let go. A later job wakes another.
        """
        now = time.monotonic()
        if busy:
            self._needed_at = now
        if busy or self._client is None or now - self._needed_at < self._rest_after:
            return False
        self.close()
        return True

    def fork(self, job_id: int, payload: bytes, fds: Sequence[int] = ()) -> None:
        """As the client does, after waking the zygote. Raises OSError where that, or the job's files, cannot be had."""
        self.wake().fork(job_id, payload, fds)

    def kill(self, job_id: int, signal_number: int) -> None:
        """Signal the process group of a child."""
        if self._client:
            self._client.kill(job_id, signal_number)

    def read_events(self) -> list[Event]:
        """Send what waits, and tell what has happened, without waiting. Raises :class:`ZygoteDied`, once a death."""
        if self._client is None:
            return []
        self._client.flush()
        try:
            return self._client.read_events()
        except ZygoteDied:
            self.close()
            raise

    def close(self) -> None:
        """Let the zygote go, and its children with all that they started. A later job wakes another."""
        if self._client:
            self._client.close()
        self._client = None
