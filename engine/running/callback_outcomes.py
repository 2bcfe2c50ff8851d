"""What is written when a try of a callback has ended: done, to be tried again, or dead and told as an event.

One transaction holds the outcome, the end of the output, what the callback told (``alerting.notify``), and the event
that it failed. All of it is guarded by the lease: whoever lost it writes nothing but what was told, which is told once
whoever writes it, for its key names the callback and not the try.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Row, update

from alerting import outbox
from alerting.events import AlertEvent
from alerting.kinds import CauseOfCallback, EventKind
from engine.logs.cleaning import clean, one_line
from engine.metastore.store import Tx
from engine.metastore.tables import Base, CallbackRequest
from engine.running.callback_words import Told

REQUEST: Final = Base.metadata.tables[CallbackRequest.__tablename__]
OUTPUT_CHARACTERS: Final = 4_000
_LONGEST_PAUSE_SECONDS: Final = 3_600.0
_SHORTEST_WAIT: Final = timedelta(seconds=2)
_LONGEST_WAIT: Final = timedelta(minutes=1)
PATIENCE: Final = timedelta(minutes=15)
"""For how long it is tried to start a callback that cannot be started."""
_STAMP: Final = len("[2026-11-23T13:44:30.123Z] ")


class Settled(StrEnum):
    """What became of a try; the value is a metric's label."""

    DONE = "done"
    RETRIED = "retried"
    FAILED = "failed"  # for good
    LOST = "lost"  # somebody else holds it by now


@dataclass(frozen=True, slots=True)
class Subject:
    """What a callback is about, for the event that tells of its failure."""

    run_id: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    log_path: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """One try that has ended. `error` is None where all callbacks returned; `left_over` are those that did not."""

    error: str | None
    cause: CauseOfCallback = "exception"
    left_over: list[int] | None = None
    output: str = ""
    told: tuple[Told, ...] = ()
    may_repeat: bool = True
    called: bool = True  # what was never called has not failed


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after which pause, what failed is called again."""

    count: int
    delay_seconds: float

    def pause(self, failures: int) -> timedelta:
        """Before the next try, after so many failures."""
        return timedelta(seconds=min(_LONGEST_PAUSE_SECONDS, self.delay_seconds * 2 ** min(failures - 1, 20)))


def settle(
    tx: Tx, request: Row[Any], token: str, end: Try, about: Subject, retries: Retries, redact: Callable[[str], str]
) -> Settled:
    """Write the end of a try."""
    if end.told:
        outbox.record(tx.connection, [_notified(request, told, redact, number) for number, told in _numbered(end.told)])
    failures = request.failures + (end.error is not None and end.called)
    again = end.error is not None and end.may_repeat and failures <= retries.count
    values: dict[str, Any] = {
        "failures": failures,
        "left_over": end.left_over,
        "error": end.error,
        "output": end.output or None,
        "log_path": about.log_path,
        "lease_until": None,
        "unstarted_since": None,
    }
    if again:
        values["due_at"] = tx.now + retries.pause(failures)
    else:
        values |= {"state": "dead" if end.error else "done", "done_at": tx.now}
    held = (REQUEST.c.id == request.id) & (REQUEST.c.token == token) & (REQUEST.c.state == "pending")
    if tx.connection.execute(update(REQUEST).where(held).values(values)).rowcount != 1:
        return Settled.LOST
    if end.error is None:
        return Settled.DONE
    if again:
        return Settled.RETRIED
    outbox.record(tx.connection, [failed_event(tx, request, end, about, failures)])
    return Settled.FAILED


def put_off(tx: Tx, request: Row[Any], token: str, reason: str) -> bool:
    """Give back what could not be started, to be tried again in a moment; False where that went on for too long.

    `reason` is shown until it could. It has not been called, so the lease does not count. The pause grows with the time
    for which it has been so.
    """
    since = request.unstarted_since or tx.now
    waited = tx.now - since
    if waited >= PATIENCE:
        return False
    soon = tx.now + min(max(_SHORTEST_WAIT, waited / 2), _LONGEST_WAIT)
    _release(tx, request, token, due_at=soon, unstarted_since=since, error=reason)
    return True


def give_back(tx: Tx, request: Row[Any], token: str) -> None:
    """Give back at once what was leased and not begun."""
    _release(tx, request, token)


def _release(tx: Tx, request: Row[Any], token: str, **more: datetime | str) -> None:
    held = (REQUEST.c.id == request.id) & (REQUEST.c.token == token) & REQUEST.c.lease_until.is_not(None)
    released = {"lease_until": None, "attempts": REQUEST.c.attempts - 1, **more}
    tx.connection.execute(update(REQUEST).where(held).values(released))


def failed_event(tx: Tx, request: Row[Any], end: Try, about: Subject, tries: int) -> AlertEvent:
    """That a callback has failed for good."""
    payload = request.payload
    what = "ran out of time" if end.cause == "timeout" else "failed"
    counted = f"{tries} {'try' if tries == 1 else 'tries'}" if tries else "no try"
    return AlertEvent(
        kind=EventKind.CALLBACK_FAILED,
        occurred_at=tx.now,
        dag_id=request.dag_id,
        run_id=about.run_id,
        task_id=payload.get("task_id"),
        map_index=payload.get("map_index", -1),
        try_number=payload.get("try_number"),
        max_tries=payload.get("max_tries"),
        owner=about.owner,
        tags=about.tags,
        cause=end.cause,
        error=end.error,
        log_path=about.log_path,
        url=about.url,
        summary=f"The {request.kind}_callback of the {request.scope} {what} after {counted}; it is not called again.",
        episode=f"{request.kind}_callback.{request.id}",
    )


def _numbered(told: tuple[Told, ...]) -> list[tuple[int, Told]]:
    """Each with its number among those of the same callback, which is the same in every try."""
    seen: dict[int, int] = {}
    numbered = []
    for one in told:
        seen[one.place] = seen.get(one.place, 0) + 1
        numbered.append((seen[one.place], one))
    return numbered


def _notified(request: Row[Any], told: Told, redact: Callable[[str], str], number: int) -> AlertEvent:
    """What ``alerting.notify`` told, as far as the callback's own code may say it."""
    event = told.event
    return msgspec.structs.replace(
        event,
        kind=EventKind.NOTIFIED,
        dag_id=request.dag_id,
        error=redact(one_line(event.error)) if event.error else None,
        text=redact(event.text) if event.text else None,
        episode=f"{request.dedup_key[:16]}.{told.place}.{number}",
    )


def end_of_output(file: Path, begins_at: int) -> str:
    """The last lines that a callback printed, from `begins_at` on in its log, which is redacted already."""
    try:
        with file.open("rb") as log:
            size = log.seek(0, 2)
            start = max(begins_at, size - OUTPUT_CHARACTERS * 2)
            log.seek(start)
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    lines = text.splitlines()[start > begins_at :]  # the first may be cut
    printed = [line[_STAMP:] for line in lines if not line[_STAMP:].startswith("windsock: ")]
    return clean("\n".join(printed))[-OUTPUT_CHARACTERS:]
