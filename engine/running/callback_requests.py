"""Running callback requests: lease, fork, wait with a limit, confirm.

A request is leased for longer than its callback may take, so a second notifier takes it up only when the first one
died: as soon as that is known (:meth:`CallbackRunner.take_over`), or when the lease is over. A callback may then run
twice, but is never lost. One that raises or overruns is called again after a pause, ``core.callback_retries`` times; of
a list only those that have not returned. Then it is dead, and an event says so (:mod:`.callback_outcomes`).

A notifier that is told to stop leases nothing more, lets what runs end for up to five seconds (or
``core.callback_timeout``, if that is shorter), and gives the rest back: its successor runs that at once, from the
beginning.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, or_, update
from sqlalchemy import select as sql_select
from sqlalchemy.exc import DataError, SQLAlchemyError

from alerting import outbox
from alerting.clock import Clock
from alerting.tables import UtcDateTime
from engine import links
from engine.authoring.attempt_context import AttemptContext
from engine.authoring.serialized import CallbackKind
from engine.logs.cleaning import presentable
from engine.logs.paths import attempt_log_path
from engine.metastore.callbacks import are_foreseen
from engine.metastore.changes import RunFacts
from engine.metastore.errors import MetastoreError, NotFound
from engine.metastore.graphs import Graphs
from engine.metastore.outcome import signal_name
from engine.metastore.runs import Runs
from engine.metastore.store import Store, Tx
from engine.metrics import Metrics
from engine.running.callback_outcomes import (
    PATIENCE,
    REQUEST,
    Retries,
    Settled,
    Subject,
    Try,
    end_of_output,
    failed_event,
    give_back,
    put_off,
    settle,
)
from engine.running.callback_words import Words
from engine.running.callbacks import CallbackOrder
from engine.running.messages import SHOWN_ERROR
from engine.running.on_demand import ZygoteOnDemand
from engine.running.output import AttemptLog
from engine.running.sla_callbacks import missed_of
from engine.running.zygote import Exited, Forked, Refused, ZygoteDied

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONCURRENCY: Final = 4
_MOST_ATTEMPTS: Final = 5  # a callback that kills its notifier each time must end
_DEADLY: Final = "its process ended the notifier each time"
_POLL_SECONDS: Final = 2.0
_FORESEE_SECONDS: Final = 5.0  # between two looks for runs that may call back
_SPARE_SECONDS: Final = 30.0  # by which a lease is longer than waiting and running may take
FAREWELL_SECONDS: Final = 5.0  # `windsock up` grants the notifier thirty, and the messages under way may take ten
_UNSAFE: Final = re.compile(r"[^0-9A-Za-z]+")


def _due(now: ColumnElement[datetime]) -> ColumnElement[bool]:
    free = or_(REQUEST.c.lease_until.is_(None), REQUEST.c.lease_until < now)
    return (REQUEST.c.state == "pending") & (REQUEST.c.due_at <= now) & free


_NOW: Final = bindparam("now", type_=UtcDateTime())
_ANY_DUE: Final = sql_select(REQUEST.c.id).where(_due(func.coalesce(Clock(), _NOW))).limit(1)
_LEASABLE: Final = (
    sql_select(REQUEST).where(_due(_NOW)).order_by(REQUEST.c.due_at, REQUEST.c.id).limit(bindparam("limit"))
)


def is_any_due(connection: Connection) -> bool:
    """By the database's clock, in one statement; on SQLite by this machine's, which is the same."""
    return connection.execute(_ANY_DUE, {"now": datetime.now(UTC)}).first() is not None


@dataclass(slots=True)
class Running:
    """A callback in its process."""

    request: Row[Any]
    about: Subject
    log: AttemptLog
    file: Path
    begins_at: int  # in the file, which an earlier try may have written to
    words: Words
    deadline: float
    forked: bool = False  # its process was made
    open_log: bool = True
    overran: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about callbacks."""

    timeout_seconds: float
    retries: Retries = field(default=Retries(0, 1.0))
    rest_after: float = math.inf  # seconds without a callback, and without a run that may ask for one


class CallbackRunner:
    """Runs what the transitions asked for. :meth:`run` blocks until `stop`; :meth:`nudge` wakes it.

    `owner` is this process's id in the metastore, and the token of its leases. `told` is called when events were
    recorded, which somebody is to deliver.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        owner: str,
        *,
        log_folder: Path,
        redact: Callable[[str], str],
        rules: Rules,
        dags_folder: str,
        base_url: str,
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._owner = owner
        self._log_folder = log_folder
        self._redact = redact
        self._timeout = rules.timeout_seconds
        self._retries = rules.retries
        self._dags_folder = dags_folder
        self._base_url = base_url
        self._told = told
        self._graphs, self._runs = Graphs(), Runs()
        self._running: dict[int, Running] = {}
        self._leased: deque[tuple[Row[Any], float]] = deque()  # not begun yet, and until when each may begin
        self._look = True  # for requests, in the next turn
        self._next_look = 0.0  # monotonic
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._zygote = ZygoteOnDemand("engine.running.callbacks:main", rules.rest_after)
        self._next_foresight = 0.0  # monotonic
        self._hinted = False  # somebody says that a run may have begun that calls back

    def nudge(self) -> None:
        """Look now for requests, and for runs that may call back."""
        self._hinted = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"!")

    def take_over(self, dead: list[str]) -> None:
        """End the leases of notifiers that have died."""
        held = (REQUEST.c.state == "pending") & REQUEST.c.token.in_(dead)
        self._store.run(lambda tx: tx.connection.execute(update(REQUEST).where(held).values(lease_until=None)))

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set and nudged, and what runs then has ended or had its time."""
        while not stop.is_set():
            try:
                self._begin_due()
                self._foresee()
            except (MetastoreError, SQLAlchemyError) as error:
                log.warning("callback requests cannot be read, trying again: %s", error)
            self._wait(_POLL_SECONDS)
        limit = time.monotonic() + min(FAREWELL_SECONDS, self._timeout)
        while self._running and (left := limit - time.monotonic()) > 0:
            self._wait(left)
        self._zygote.close()
        self._give_all_back()

    def _give_all_back(self) -> None:
        """What has not begun, or was ended halfway by our own stop: not its fault, so the try does not count."""
        for running in self._running.values():
            running.log.close_pipe()
            running.log.remark("ended because the notifier was stopped; the next one runs it again")
            running.log.close()
            running.words.close()
        held = (REQUEST.c.state == "pending") & (REQUEST.c.token == self._owner) & REQUEST.c.lease_until.is_not(None)
        given = update(REQUEST).where(held).values(lease_until=None, attempts=REQUEST.c.attempts - 1)
        try:
            self._store.run(lambda tx: tx.connection.execute(given))
        except (MetastoreError, SQLAlchemyError) as error:
            log.warning("callback requests could not be given back; they run when their lease is over: %s", error)

    def _begin_due(self) -> None:
        free = _CONCURRENCY - len(self._running)
        if free > 0 and not self._leased and self._may_be_due() and self._any_due():
            until = time.monotonic() + self._timeout
            leased, buried = self._store.run(lambda tx: self._lease(tx, free))
            self._leased.extend((row, until) for row in leased)
            if buried:
                self._told()
        for _ in range(len(self._leased)):
            request, until = self._leased.popleft()
            try:
                if time.monotonic() > until:  # the database was away for long: it could outlast its lease
                    self._store.run(partial(give_back, request=request, token=self._owner))
                else:
                    self._begin(request)
            except (MetastoreError, SQLAlchemyError):
                self._leased.append((request, until))
                raise

    def _foresee(self) -> None:
        """Have a zygote while a run may call back, so that the first callback does not wait for its imports."""
        hinted, self._hinted = self._hinted and self._zygote.client is None, False
        if not hinted and time.monotonic() < self._next_foresight:
            return
        self._next_foresight = time.monotonic() + _FORESEE_SECONDS
        with self._store.read() as connection:
            foreseen = are_foreseen(connection)
        if not foreseen:
            self._zygote.rest(busy=bool(self._running))
            return
        try:
            self._zygote.wake()
        except OSError as error:  # the first callback tries again, and says so
            log.warning("no zygote for callbacks can be started: %s", error)

    def _may_be_due(self) -> bool:
        """Something was written, a slot came free, or nobody has looked for a while."""
        if not self._look and time.monotonic() < self._next_look:
            return False
        self._look, self._next_look = False, time.monotonic() + _POLL_SECONDS
        return True

    def _any_due(self) -> bool:
        """Asked first: most wake-ups are about mails, and on SQLite a transaction that may write holds up theirs."""
        with self._store.read() as connection:
            return is_any_due(connection)

    def _lease(self, tx: Tx, limit: int) -> tuple[list[Row[Any]], int]:
        """1. Lock due requests whose lease, if any, is over. 2. Bury those tried too often. 3. Take the rest."""
        statement = _LEASABLE.with_for_update(skip_locked=True) if tx.dialect.locks_rows else _LEASABLE
        leased, buried = [], 0
        for row in tx.connection.execute(statement, {"now": tx.now, "limit": limit}).all():
            values: dict[str, Any] = {"token": self._owner, "attempts": row.attempts + 1}
            if row.attempts >= row.failures + _MOST_ATTEMPTS:
                values |= {"state": "dead", "done_at": tx.now, "error": _DEADLY}
                event = failed_event(tx, row, Try(_DEADLY, "lost"), Subject(), row.attempts)
                outbox.record(tx.connection, [event])
                buried += 1
            else:
                values["lease_until"] = tx.now + timedelta(seconds=self._timeout * 2 + _SPARE_SECONDS)
                leased.append(row)
            tx.connection.execute(update(REQUEST).where(REQUEST.c.id == row.id).values(values))
        return leased, buried

    def _begin(self, request: Row[Any]) -> None:
        try:
            with self._store.read() as connection:
                order, about = self._order(connection, request)
        except (NotFound, KeyError, msgspec.ValidationError) as error:
            reason = f"what it is about is not in the metastore any more: {error}"
            self._settle(request, Try(reason, "missing", may_repeat=False, called=False), Subject())
            return
        try:
            self._start(request, order, about)
        except OSError as error:  # no file is left for its pipes, or no memory
            reason = f"no process could be made: {error.strerror or error}"
            if begun := self._running.get(request.id):
                self._give_back(begun, reason)
            else:
                self._put_off(request, about, reason)

    def _start(self, request: Row[Any], order: CallbackOrder, about: Subject) -> None:
        """Ask for its process. Raises OSError; what is open then belongs to a `Running`, if there is one."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            (pipe, log_fd), (words, words_fd) = _pipe(ours, theirs), _pipe(ours, theirs)
            file = self._log_folder / (about.log_path or "")
            begins_at = file.stat().st_size if file.exists() else 0
            output = AttemptLog(file, pipe, self._redact)
            output.remark(f"{request.kind}_callback of {request.scope} {order.task_id or request.dag_id}")
            deadline = time.monotonic() + self._timeout
            self._running[request.id] = Running(request, about, output, file, begins_at, Words(words), deadline)
            ours.pop_all()  # they are the log's and the words' now
            self._zygote.fork(request.id, msgspec.msgpack.encode(order), [log_fd, words_fd])

    def _order(self, connection: Connection, request: Row[Any]) -> tuple[CallbackOrder, Subject]:
        payload = request.payload
        run = self._runs.get(connection, [payload["run_pk"]])[payload["run_pk"]]
        graph = self._graphs.get(connection, run.dag_id, run.version)
        self._runs.forget([run.id])
        order = CallbackOrder(
            kind=cast("CallbackKind", request.kind),
            fileloc=request.fileloc,
            dags_folder=self._dags_folder,
            context=self._context(run, graph.dag.params, payload),
            task_id=payload.get("task_id"),
            error=payload.get("error"),
            reason=payload.get("reason"),
            run_error=payload.get("run_error"),
            missed=missed_of(payload),
            places=request.left_over,
        )
        run_url = links.run_url(self._base_url, run.dag_id, run.run_id)
        task = graph.tasks[order.task_id] if order.task_id else None
        about = Subject(
            run_id=run.run_id,
            owner=task.owner if task else graph.dag.owner,
            tags=graph.dag.tags,
            log_path=str(_log_path(request, order)),
            url=order.context.log_url if task else run_url,
        )
        return order, about

    def _context(self, run: RunFacts, params: dict[str, Any], payload: dict[str, Any]) -> AttemptContext:
        task_id, try_number = payload.get("task_id") or "", payload.get("try_number") or 0
        map_index = payload.get("map_index", -1)
        values = {
            "dag_id": run.dag_id,
            "task_id": task_id,
            "run_id": run.run_id,
            "map_index": map_index,
            "try_number": try_number,
            "max_tries": payload.get("max_tries") or 0,
            "run_type": run.run_type,
            "logical_date": run.logical_date,
            "data_interval_start": run.data_interval_start,
            "data_interval_end": run.data_interval_end,
            "run_after": run.run_after,
            "run_start_date": run.start_date,
            "queued_at": run.queued_at,
            "conf": run.conf,
            "params": {**params, **{k: v for k, v in run.conf.items() if k in params}},
            "start_date": payload.get("start_date"),
            "log_url": links.attempt_url(self._base_url, run.dag_id, run.run_id, task_id, try_number, map_index),
            "hostname": payload.get("hostname") or "",
            "state": payload["state"] if task_id else "running",
            "run_state": "running" if task_id else payload["state"],
        }
        return msgspec.convert(values, AttemptContext)

    # -- waiting

    def _wait(self, seconds: float) -> None:
        logs = [running.log.fileno() for running in self._running.values() if running.open_log]
        words = [running.words.fd for running in self._running.values() if running.words.is_open]
        fds = [self._wake_r, *self._zygote.filenos(), *logs, *words]
        timeouts = [running.deadline - time.monotonic() for running in self._running.values()]
        readable, _, _ = select.select(fds, [], [], max(0.0, min([seconds, *timeouts])))
        if self._wake_r in readable:
            self._look = True
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_r, 4096)
        for running in self._running.values():
            if running.log.fileno() in readable:
                running.open_log = running.log.pump()
            if running.words.fd in readable:
                running.words.pump()
        self._hear_zygote()
        self._end_overdue()

    def _hear_zygote(self) -> None:
        try:
            events = self._zygote.read_events()
        except ZygoteDied:
            log.error("the zygote of the callbacks died; the next callback starts another")
            for running in list(self._running.values()):
                if running.forked:
                    self._finish(running, "killed together with the zygote that forked it")
                else:
                    self._give_back(running, "the zygote died before it could start")
            return
        for event in events:
            begun = self._running.get(event.job_id)
            match event:
                case Exited() if begun:
                    self._finish(begun, _error(begun, event, self._timeout))
                case Refused() if begun:
                    self._give_back(begun, f"no process could be made: {event.error}")
                case Forked() if begun:
                    begun.forked = True

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            if now >= running.deadline:
                running.overran, running.deadline = True, now + self._timeout
                self._zygote.kill(running.request.id, signal.SIGKILL)

    def _close(self, running: Running, remark: str) -> None:
        del self._running[running.request.id]
        self._look = True  # what waited for its slot
        running.log.close_pipe()
        running.log.remark(remark)
        running.log.close()
        running.words.close()

    def _give_back(self, running: Running, reason: str) -> None:
        """It has not begun: try again in a moment, but not for ever."""
        self._close(running, f"not started: {reason}")
        self._put_off(running.request, running.about, reason)

    def _put_off(self, request: Row[Any], about: Subject, reason: str) -> None:
        if not self._insist(lambda tx: put_off(tx, request, self._owner, reason), True):
            error = f"could not be started for {PATIENCE.total_seconds() / 60:g} minutes: {reason}"
            self._settle(request, Try(error, "start", may_repeat=False, called=False), about)

    def _finish(self, running: Running, error: str | None) -> None:
        running.words.pump()
        self._close(running, f"failed: {error}" if error else "returned")
        request, words = running.request, running.words
        end = Try(
            error=presentable(error, self._redact, SHOWN_ERROR) if error else None,
            cause="timeout" if running.overran else "exception",
            left_over=words.unfinished(request.left_over) if error else None,
            output=end_of_output(running.file, running.begins_at),
            told=tuple(words.told),
        )
        self._settle(request, end, running.about)

    def _settle(self, request: Row[Any], end: Try, about: Subject) -> None:
        settled = self._insist(
            lambda tx: settle(tx, request, self._owner, end, about, self._retries, self._redact), Settled.LOST
        )
        if end.told or settled is Settled.FAILED:
            self._told()
        if settled is Settled.LOST:
            return
        self._metrics.incr("callbacks.finished", callback=request.kind, outcome=settled.value)
        if end.error:
            again = ", and will be called again" if settled is Settled.RETRIED else ""
            log.warning("%s_callback of %s failed%s: %s", request.kind, request.dag_id, again, end.error)
            self._metrics.incr("dag.callback_exceptions", dag_id=request.dag_id)

    def _insist(self, work: Callable[[Tx], T], otherwise: T) -> T:
        # It has run: to forget that would run it again.
        for _ in range(30):
            try:
                return self._store.run(work)
            except DataError:
                log.exception("the database takes no such end of a callback")
                break
            except (MetastoreError, SQLAlchemyError):
                time.sleep(1)
        log.error("a callback's end could not be written; it will run again when its lease is over")
        return otherwise


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe, whose ends are closed with `ours` and with `theirs`: the one to read from, the one to write to."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, reading)
    theirs.callback(os.close, writing)
    return reading, writing


def _error(running: Running, event: Exited, timeout: float) -> str | None:
    running.words.pump()
    words = running.words
    name = words.under_way(running.request.left_over)
    beginning = f"{name}: " if name else ""
    if running.overran:
        return f"{beginning}ran longer than core.callback_timeout of {timeout:g} s"
    if event.exit_code == 0:
        return None
    errors = [*words.errors.values()]
    if name or not errors:
        how = signal_name(event.signal) if event.signal else f"exit code {event.exit_code}"
        errors.append(f"{beginning}its process ended with {how}")
    return "; ".join(errors)


def _log_path(request: Row[Any], order: CallbackOrder) -> Path:
    """Beside what it is about: ``attempt=N.on_failure.log``, or ``on_failure.log`` in the run's folder.

    A run may miss many deadlines: each wave of them has a log of its own.
    """
    context = order.context
    path = Path(
        attempt_log_path(context.dag_id, context.run_id, context.task_id or "-", context.try_number, context.map_index)
    )
    if order.task_id:
        return path.with_suffix(f".{request.kind}.log")
    wave = request.payload.get("wave")
    name = f"{request.kind}.{_UNSAFE.sub('-', wave)}" if wave else request.kind
    return path.parent.parent / f"{name}.log"
