"""A zygote for who seldom forks: started by its first job, let go when it has had none for a while.

That first job waits for the zygote's imports, and so does the next one after a rest. A zygote that dies is not replaced
before there is a job for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.running.zygote import Event, Exited, Refused, ZygoteClient, ZygoteDied


class RestingZygote:
    """A :class:`ZygoteClient` that is there while it is needed; call :meth:`rest` now and then."""

    def __init__(self, entry: str, rest_after_seconds: float) -> None:
        """`entry` is ``module:function``, a handler; nothing is started yet."""
        self._entry = entry
        self._rest_after_seconds = rest_after_seconds
        self._client: ZygoteClient | None = None
        self._jobs: set[int] = set()  # not told to have ended
        self._idle_since = 0.0  # monotonic

    @property
    def pid(self) -> int | None:
        """None while it rests."""
        return self._client.pid if self._client else None

    def filenos(self) -> list[int]:
        """What to wait on for reading."""
        return [self._client.fileno()] if self._client else []

    def fork(self, job_id: int, payload: bytes, fds: Sequence[int] = ()) -> None:
        """As the client does, after waking the zygote. Raises OSError where that, or the job's files, cannot be had."""
        self._client = self._client or ZygoteClient.start(self._entry)
        self._client.fork(job_id, payload, fds)
        self._jobs.add(job_id)

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
            events = self._client.read_events()
        except ZygoteDied:
            self.close()
            raise
        if events:
            self._jobs -= {event.job_id for event in events if isinstance(event, (Exited, Refused))}
            self._idle_since = time.monotonic()
        return events

    def rest(self) -> None:
        """Let the zygote go when its last job has ended long enough ago."""
        if self._jobs or self._client is None:
            return
        if time.monotonic() - self._idle_since >= self._rest_after_seconds:
            self.close()

    def close(self) -> None:
        """Let the zygote go, and its children with all that they started. A later job wakes another."""
        if self._client:
            self._client.close()
        self._client = None
        self._jobs.clear()
