"""A zygote for who may never fork: started by its first job, or when somebody expects one soon.

A first job that nobody expected waits for the zygote's imports. A zygote that dies is not replaced before there is a
job for it, or somebody expects one.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.running.zygote import Event, ZygoteClient, ZygoteDied


class ZygoteOnDemand:
    """A :class:`ZygoteClient` that is there from when it is needed."""

    def __init__(self, entry: str) -> None:
        """`entry` is ``module:function``, a handler; nothing is started yet."""
        self._entry = entry
        self._client: ZygoteClient | None = None

    @property
    def pid(self) -> int | None:
        """None while there is none."""
        return self._client.pid if self._client else None

    def filenos(self) -> list[int]:
        """What to wait on for reading."""
        return [self._client.fileno()] if self._client else []

    def wake(self) -> ZygoteClient:
        """Have it there for the next job. Raises OSError where it cannot be started."""
        self._client = self._client or ZygoteClient.start(self._entry)
        return self._client

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
