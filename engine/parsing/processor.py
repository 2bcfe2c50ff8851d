"""The DAG processor's loop: look at the folder, parse what is due, store what changed, say what was done."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import structs
from sqlalchemy.exc import DataError, DBAPIError

from engine.authoring.defaults import Defaults
from engine.authoring.faults import Fault
from engine.logs.cleaning import one_line
from engine.logs.redaction import Redactor
from engine.metastore.dag_warnings import warnings_of
from engine.metastore.errors import MetastoreError
from engine.metastore.store import Store
from engine.parsing import meter as metrics
from engine.parsing.agenda import Agenda, FileState
from engine.parsing.filelog import FileLogs, Row, write_table
from engine.parsing.folder import Folder, Root
from engine.parsing.meter import Meter
from engine.parsing.news import News
from engine.parsing.pool import Finished, ParsePool
from engine.parsing.reads import stamp
from engine.parsing.stored import Known, Outcome, Plan, altered, forget, read_known, save

if TYPE_CHECKING:
    from engine.config import Settings

log = logging.getLogger(__name__)

_BATCH_SECONDS: Final = 0.1
_TABLE_SECONDS: Final = 30.0
_REFRESH_SECONDS: Final = 60.0
_STORE_RETRY_SECONDS: Final = 2.0
_LONGEST_WAIT: Final = 2.0  # how late a `stop` without wake() may be noticed, and that the server may be let go


class DagProcessor:
    """Turns the DAG folder into serialised DAGs until told to stop.

    `on_heartbeat` is called every ``scheduler.job_heartbeat_sec``. Trouble with the metastore is logged and tried
    again; what was parsed waits in memory meanwhile.
    """

    def __init__(
        self, settings: Settings, store: Store, meter: Meter, on_heartbeat: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._store = store
        self._meter = meter
        self._on_heartbeat = on_heartbeat
        self._folder = Folder(roots(settings), settings.core.max_file_bytes)
        self._agenda = Agenda(
            settings.scheduler.min_file_process_interval, settings.scheduler.max_file_process_interval
        )
        self._redact = Redactor.from_settings(settings).redact
        self._logs = FileLogs(settings.logging.base_log_folder, self._redact)
        self._news = News(self._name_of)
        self._known = Known()
        self._is_known = False
        self._gone: set[str] = set()
        self._batch: dict[str, tuple[Outcome, str]] = {}  # path → outcome and what the import printed
        self._contested: dict[str, set[str]] = {}  # dag_id → files that would like to define it
        self._round_began: float | None = None
        self._rounds = 0
        self._looks = 0
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._next = dict.fromkeys(("look", "heartbeat", "table", "refresh"), 0.0)
        self._save_at = 0.0  # when the batch is stored at the latest
        self._held_back = False  # the metastore failed: not before _save_at

    @property
    def rounds(self) -> int:
        """How often all files that were due have been parsed and stored."""
        return self._rounds

    @property
    def looks(self) -> int:
        """How often the folder has been looked at."""
        return self._looks

    def wake(self) -> None:
        """Look at the folder, and at `stop`, now. May be called from any thread and from a signal handler."""
        os.eventfd_write(self._wake_fd, 1)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_fd, selectors.EVENT_READ, self._woken)
            scheduler, core = self._settings.scheduler, self._settings.core
            pool = ParsePool(
                scheduler.parsing_processes,
                core.dagbag_import_timeout,
                Defaults.from_settings(self._settings),
                selector,
            )
            try:
                while not stop.is_set():
                    self._turn(pool)
                    for key, _ in selector.select(self._wait(pool)):
                        if key.data:
                            key.data()
            finally:
                pool.close()

    def _woken(self) -> None:
        os.eventfd_read(self._wake_fd)
        self._next["look"] = 0.0

    def _turn(self, pool: ParsePool) -> None:
        scheduler = self._settings.scheduler
        if self._is_time("heartbeat", scheduler.job_heartbeat_sec):
            self._heartbeat()
        if self._is_time("refresh", _REFRESH_SECONDS if self._is_known else _STORE_RETRY_SECONDS):
            self._read_known()
        if self._is_time("look", scheduler.dag_dir_list_interval):
            self._look()
        for finished in pool.collect():
            self._take(finished)
        self._start(pool)
        self._save(pool)
        if self._is_time("table", _TABLE_SECONDS):
            self._tell_all(pool)

    def _is_time(self, what: str, interval: float) -> bool:
        now = time.monotonic()
        if now < self._next[what]:
            return False
        self._next[what] = now + interval
        return True

    def _wait(self, pool: ParsePool) -> float:
        times = [self._next["heartbeat"], self._next["look"], self._next["table"]]
        if self._batch:
            times.append(self._save_at)
        if pool.has_room and (due := self._agenda.next_time):
            times.append(due)
        if deadline := pool.next_deadline:
            times.append(deadline)
        return min(_LONGEST_WAIT, max(0.0, min(times) - time.monotonic()))

    def _heartbeat(self) -> None:
        self._meter.incr("dag_processor_heartbeat")
        now = time.monotonic()
        ages = {
            state.file.name: now - state.finished_at
            for state in self._agenda.states.values()
            if state.finished_at is not None
        }
        metrics.file_ages(self._meter, ages, interval=self._agenda.longest_interval)
        self._tell_totals()
        try:
            self._on_heartbeat()
        except Exception:
            self._meter.incr("job_heartbeat_failure")
            log.exception("The DAG processor's heartbeat could not be written; it will be tried again.")

    def _tell_totals(self) -> None:
        states = self._agenda.states.values()
        metrics.totals(
            self._meter,
            dags=sum(state.dag_count for state in states),
            errors=sum(1 for state in states if state.error),
            waiting=self._agenda.waiting,
        )

    def _read_known(self) -> None:
        """Remember what is stored, so that unchanged files cost no statement.

        It is read anew should somebody empty or change it: then the files in question are parsed again.
        """
        before = self._known
        try:
            with self._store.read() as connection:
                self._known = read_known(connection)
        except Exception as error:
            log.error("The stored DAGs cannot be read, so nothing is stored: %s", self._reason(error))
            return
        for path in altered(before, self._known):
            self._agenda.again(path)
        if not self._is_known:
            self._is_known = True
            self._gone |= {file.path for file in self._known.files.values()}  # until the first look finds them
            self._next["look"] = 0.0

    def _look(self) -> None:
        listing = self._folder.look()
        before = len(self._agenda.states)
        gone = self._agenda.update(listing, {path: stamp(path) for path in self._agenda.reads})
        self._meter.incr("dag_processing.file_path_queue_update_count")
        self._gone = (self._gone | set(gone)) - self._agenda.states.keys()
        self._gone = {path for path in self._gone if not listing.is_missing(path)}
        if gone or before != len(self._agenda.states):
            self._next["table"] = 0.0
        if self._is_known and self._gone:
            self._forget()
        self._looks += 1

    def _refuse(self, state: FileState) -> None:
        """A file that cannot be read needs no process to be told so."""
        path, fault = state.file.path, state.file.fault
        self._agenda.finished(path, time.monotonic())
        self._put(Outcome(path, None, 0.0, (), (fault,) if fault else ()), "")

    def _forget(self) -> None:
        paths, now = sorted(self._gone), datetime.now(UTC)
        try:
            released = forget(self._store, self._known, paths, self._news)
        except Exception as error:
            log.error("DAG files that are gone could not be forgotten: %s", self._reason(error))
            return
        self._gone.clear()
        for path in paths:
            self._batch.pop(path, None)
            name = self._name_of(path)
            self._log(name, partial(self._logs.forget, name, now))
        self._invite(released)
        for topic in ("scheduler", "notifier"):
            self._store.wake(topic)

    def _name_of(self, path: str) -> str:
        for root in self._folder.roots:
            if Path(path).is_relative_to(root.path):
                return str(Path(root.prefix) / Path(path).relative_to(root.path))
        return path.lstrip("/")

    def _start(self, pool: ParsePool) -> None:
        while pool.has_room and (
            state := self._agenda.take(time.monotonic(), pool.running, last_place=pool.has_last_place)
        ):
            if self._round_began is None:
                self._round_began = time.monotonic()
            if state.file.fault:
                self._refuse(state)
                continue
            pool.start(state.file.path, state.file.root)
            metrics.process_event(self._meter, state.file.name, "start")

    def _take(self, finished: Finished) -> None:
        report = finished.report
        gave = None if report.faults or report.asks else tuple((dag.dag_id, dag.version) for dag in report.dags)
        state = self._agenda.finished(finished.path, time.monotonic(), report.sources, reads=report.reads, gave=gave)
        if state is None:
            return
        state.seconds = report.seconds
        state.hangs = finished.timed_out
        metrics.file_parsed(self._meter, state.file.name, state.seconds, timed_out=finished.timed_out)
        outcome = Outcome(
            finished.path, state.file.content_hash, report.seconds, tuple(report.dags), tuple(report.faults)
        )
        self._put(outcome, finished.output)

    def _put(self, outcome: Outcome, output: str) -> None:
        if not self._batch:
            self._save_at = time.monotonic() + _BATCH_SECONDS
        faults = tuple(self._discreet(fault) for fault in outcome.faults)
        self._batch[outcome.path] = (replace(outcome, faults=faults), output)

    def _discreet(self, fault: Fault) -> Fault:
        """An exception quotes what it likes, and the fault is stored, shown and told."""
        texts = {name: self._redact(getattr(fault, name)) for name in ("summary", "remedy", "story")}
        return structs.replace(fault, **texts)

    def _save(self, pool: ParsePool) -> None:
        """Store a batch when it has grown for long enough, or there is nothing more to wait for."""
        idle = pool.is_idle and not self._agenda.has_due(time.monotonic())
        if self._batch and self._is_known and (time.monotonic() >= self._save_at or (idle and not self._held_back)):
            self._save_batch()
        if idle and not self._batch and self._round_began is not None:
            self._end_round()

    def _save_batch(self) -> None:
        try:
            self._store_files(list(self._batch))
        except Exception as error:
            if isinstance(error, MetastoreError) or not self._save_singly():
                log.error("%d parsed files could not be stored yet: %s", len(self._batch), self._reason(error))
            self._save_at = time.monotonic() + _STORE_RETRY_SECONDS
        self._held_back = bool(self._batch)

    def _store_files(self, paths: Sequence[str]) -> None:
        """Store these files of the batch in one transaction, and let go of them."""
        outcomes = [self._batch[path][0] for path in paths]
        made = save(self._store, self._known, outcomes, self._news)
        if made.told:
            self._store.wake("notifier")
        if made.dags or made.released:
            self._store.wake("scheduler")
        warnings = self._warnings(made)
        for path in paths:
            outcome, output = self._batch.pop(path)
            self._note(outcome, made, output, warnings)
        self._invite(made.released)
        if not made.is_empty:
            self._tell_totals()
            self._next["table"] = 0.0

    def _save_singly(self) -> bool:
        """Store each file by itself: what is wrong with one must not hold up the others.

        What is refused of one file becomes that file's fault, to be stored next. Returns False where all is refused
        and nothing points at the files: then the database is in trouble.
        """
        paths = list(self._batch)
        refused: dict[str, Exception] = {}
        for path in paths:
            try:
                self._store_files([path])
            except Exception as error:
                refused[path] = error
        if len(refused) == len(paths):
            refused = {path: why for path, why in refused.items() if isinstance(why, (DataError, ValueError))}
        for path, why in refused.items():
            outcome, output = self._batch[path]
            fault = self._discreet(_refused(self._reason(why)))
            log.error("%s: %s", path, fault.summary)
            self._batch[path] = (replace(outcome, dags=(), faults=(fault,)), output)
        return bool(refused) or not self._batch

    def _warnings(self, made: Plan) -> dict[str, list[str]]:
        """What new and changed DAGs ask for that is allowed and hardly meant, by DAG."""
        if not made.dags:
            return {}
        with self._store.read() as connection:
            return warnings_of(connection, {dag_id: dag.data for dag_id, (_, dag) in made.dags.items()})

    def _note(self, outcome: Outcome, made: Plan, output: str, warnings: Mapping[str, Sequence[str]]) -> None:
        """Remember and log what became of one file."""
        state = self._agenda.states.get(outcome.path)
        if state is None:
            return
        conflicts = made.conflicts.get(outcome.path, [])
        for fault in conflicts:
            self._contested.setdefault(fault.dag_id or "", set()).add(outcome.path)
        faults = [*outcome.faults, *conflicts]
        state.dag_count = len(outcome.dags) - len(conflicts)
        state.error = faults[0].summary if faults else None
        refused = {fault.dag_id for fault in conflicts}
        stored = [dag.dag_id for dag in outcome.dags if dag.dag_id not in refused]
        story = [f"DAG {dag_id}: {made.changes.get(dag_id, 'unchanged')}." for dag_id in stored]
        for dag_id in stored:
            for warning in warnings.get(dag_id, ()):
                story.append(f"DAG {dag_id}: {warning}.")
                log.warning("DAG %s: %s", dag_id, self._redact(warning))
        story += [] if outcome.dags or faults else ["The file defines no DAG."]
        story += [_told(fault) for fault in faults]
        name, now = state.file.name, datetime.now(UTC)
        self._log(name, partial(self._logs.tell, name, story, output, seconds=outcome.seconds, now=now))

    def _log(self, name: str, write: Callable[[], None]) -> None:
        """Write to a file's log. A disk that is full costs the log, not the processor."""
        try:
            write()
        except OSError as error:
            log.error("The log of %s cannot be written: %s", name, error)

    def _invite(self, released: set[str]) -> None:
        """Files that wanted a dag_id which is free now are parsed again at once."""
        for dag_id in released:
            for path in self._contested.pop(dag_id, ()):
                self._agenda.again(path)

    def _end_round(self) -> None:
        if self._round_began is not None:
            self._meter.gauge("dag_processing.total_parse_time", time.monotonic() - self._round_began)
        self._round_began = None
        self._rounds += 1
        self._tell_totals()

    def _tell_all(self, pool: ParsePool) -> None:
        now, clock = datetime.now(UTC), time.monotonic()
        running = pool.running
        rows = []
        for path, state in sorted(self._agenda.states.items()):
            job = running.get(path)
            rows.append(
                Row(
                    path=path,
                    pid=job.pid if job else None,
                    runtime=clock - job.started if job else None,
                    dags=state.dag_count,
                    errors=1 if state.error else 0,
                    last_runtime=state.seconds,
                    last_run=None if state.finished_at is None else now - timedelta(seconds=clock - state.finished_at),
                )
            )
        try:
            write_table(self._settings.logging.base_log_folder, rows, now)
        except OSError as error:
            log.error("dag_processor_manager.log cannot be written: %s", error)

    def _reason(self, error: Exception) -> str:
        """What the database says, in one line: no statement, and no values, which may hold secrets."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return one_line(str(cause).partition("\n")[0]) or type(error).__name__


def _refused(reason: str) -> Fault:
    summary = f"The metastore refuses what is in the file: {reason}"
    return Fault(summary, "Correct what the message names; the file is parsed again by itself.", story=summary)


def _told(fault: Fault) -> str:
    """A fault in the file's log: the sentence, how it came about where there is more to tell, the way out."""
    more = fault.story.strip()
    story = f"{fault.story.rstrip()}\n" if more and more != fault.summary.strip() else ""
    return f"ERROR: {fault.summary}\n{story}What to do: {fault.remedy}"


def roots(settings: Settings) -> tuple[Root, ...]:
    """The DAG folder and, while ``core.load_examples`` is true, the folder of examples."""
    own = Root(settings.core.dags_folder)
    examples = examples_folder()
    if not settings.core.load_examples or examples is None or examples == settings.core.dags_folder:
        return (own,)
    return own, Root(examples, "example_dags")


def examples_folder() -> Path | None:
    """The example DAGs of this installation: in the package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    candidates = (package / "example_dags", package.parent / "dags")
    return next((folder for folder in candidates if folder.is_dir()), None)
