"""The supervisor: owns the attempts of one scheduler, from the fork to the report.

Who does what. The scheduler records an attempt as running and sends its order; the supervisor has a zygote fork it,
pumps its output into its log, ends it when it overruns its time, and reports how it ended. It decides nothing about
states and, while its scheduler lives, has no connection to the metastore.

When somebody dies.

* An attempt: its zygote reaps it and says with which status; the status has the last word over what the code reported.
* A zygote: the kernel kills its attempts with it. They are reported as killed, and the next attempt starts
  another zygote, as it does where nothing has run for a while and the zygote was let go.
* The supervisor: its zygotes end, and with them the attempts. Its scheduler sees the hang-up and rescues the rows.
* The scheduler: the supervisor sees the hang-up and opens the metastore itself (:mod:`engine.running.deputy`). It gives
  back what never reached it, writes the ends that the scheduler had not confirmed and those of what still runs, answers
  what attempts had asked, and leaves. A report counts only once it is confirmed: the scheduler may die between reading
  it and its commit. Written twice, it is dropped by its token the second time.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from engine.logs.cleaning import presentable
from engine.metastore.outcome import Cause, Outcome
from engine.running import messages
from engine.running.deputy import Deputy, Question, Survivor
from engine.running.files import FileZygote, FileZygotes
from engine.running.in_flight import (
    LONGEST_MESSAGE,
    Attempt,
    believable,
    end_of,
    last_remark,
    out_of_memory,
    sensible,
    status_of,
    with_output,
)
from engine.running.messages import (
    SHOWN_ERROR,
    Alive,
    AnyAsk,
    Ask,
    AttemptOrder,
    Dispatch,
    Drain,
    Ended,
    Imported,
    ImportFailed,
    Result,
    RunsAsk,
    TriggerAsk,
)
from engine.running.on_demand import ZygoteOnDemand
from engine.running.oom import OomWatch
from engine.running.output import LARGEST_LOG, AttemptLog
from engine.running.plain import PlainCommand, PlainShell
from engine.running.scratch import Scratch
from engine.running.wire import Hangup, Stream
from engine.running.zygote import (
    Event,
    Exited,
    Forked,
    Refused,
    SpawnJob,
    Untouchable,
    ZygoteClient,
    ZygoteDied,
    end_group,
)

log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS: Final = 1.0
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE)


class Supervisor:
    """One supervisor, single-threaded: :meth:`run` returns when everything has ended."""

    def __init__(
        self,
        upstream: Stream,
        *,
        log_folder: Path,
        redact: Callable[[str], str],
        import_timeout: float,
        grace_seconds: float,
        survive: Callable[[], Survivor],
        max_log_bytes: int = LARGEST_LOG,
        rest_after: float = math.inf,
    ) -> None:
        self._upstream: Stream | None = upstream
        self._log_folder = log_folder
        self._redact = redact
        self._max_log_bytes = max_log_bytes
        self._grace = grace_seconds
        self._survive = survive
        self._deputy: Deputy | None = None
        self._draining = False
        self._next_heartbeat = 0.0
        self._jobs = itertools.count(1)
        self._attempts: dict[str, Attempt] = {}
        self._by_job: dict[tuple[ZygoteClient, int], str] = {}
        self._base = ZygoteOnDemand("engine.running.attempt:main", rest_after)
        self._import_timeout = import_timeout
        self._files = FileZygotes(import_timeout)
        self._scratch = Scratch()
        self._oom = OomWatch()
        self._shell = PlainShell()
        self._cleaning: int | None = None  # the job that removes scratch folders
        self._clean([])  # what dead supervisors left
        self._ended: list[Ended] = []
        self._unconfirmed: dict[str, Ended] = {}  # told to the scheduler, not known to be committed

    def run(self) -> None:
        """Serve until told to drain, or until the scheduler is gone and the last attempt has ended."""
        while not self._done():
            for handle in self._wait():
                handle()
            self._check_times()
            self._report()
            self._scratch.tidy()
        if self._deputy:
            self._deputy.leave()
        self._files.close()
        self._base.close()
        self._scratch.close()

    def _done(self) -> bool:
        leaving = self._draining or self._upstream is None
        if self._deputy and not (self._deputy.adopted and self._deputy.idle):
            return False
        return leaving and not (self._attempts or self._ended or self._unconfirmed)

    # -- waiting

    def _wait(self) -> list[Callable[[], None]]:
        poller = select.poll()
        handlers: dict[int, Callable[[], None]] = {}

        def watch(fd: int, handler: Callable[[], None], *, writing: bool = False) -> None:
            handlers[fd] = handler
            poller.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))

        if self._upstream:
            watch(self._upstream.fileno(), self._hear_scheduler, writing=self._upstream.wants_to_write)
        if self._deputy:
            watch(self._deputy.fileno(), self._hear_deputy)
        base = self._base.client
        for zygote in [*([base] if base else []), *self._files.clients()]:
            watch(zygote.fileno(), lambda z=zygote: self._hear_zygote(z), writing=zygote.wants_to_write)  # type: ignore[misc]
        for channel, fileloc in self._files.channels():
            watch(channel.fileno(), lambda f=fileloc: self._hear_import(f))  # type: ignore[misc]
        for attempt in self._attempts.values():
            if attempt.open_log:
                watch(attempt.log.fileno(), lambda a=attempt: self._pump(a))  # type: ignore[misc]
            if line := attempt.channel:
                watch(line.fileno(), lambda a=attempt: self._hear_attempt(a), writing=line.wants_to_write)  # type: ignore[misc]
        ready = poller.poll(max(0.0, self._next_time() - time.monotonic()) * 1000)
        return [handlers[fd] for fd, _ in ready]

    def _next_time(self) -> float:
        times = [time for attempt in self._attempts.values() for time in (attempt.deadline, attempt.kill_at) if time]
        return min([self._next_heartbeat, *self._files.deadlines(), *times])

    # -- the scheduler

    def _hear_scheduler(self) -> None:
        if not self._upstream:
            return
        self._upstream.flush()
        try:
            bodies = self._upstream.receive()
        except Hangup:
            self._outlive_scheduler()
            return
        for body in bodies:
            match messages.from_scheduler.decode(body):
                case Dispatch(orders):
                    for order in orders:
                        self._begin(order)
                case messages.QuestionAnswer(token, number, values):
                    self._answer(token, number, values)
                case messages.Confirm(tokens):
                    for token in tokens:
                        self._unconfirmed.pop(token, None)
                case Drain(grace_seconds):
                    self._drain(grace_seconds)
                case messages.End(reasons):
                    self._end_decided(reasons)

    def _outlive_scheduler(self) -> None:
        log.warning("the scheduler is gone; finishing %d attempts without it", len(self._attempts))
        self._upstream = None
        self._ended = [*self._unconfirmed.values(), *self._ended]
        self._unconfirmed.clear()
        if not self._attempts and not self._ended and self._draining:
            return
        self._deputy = Deputy(self._survive, [*self._attempts, *(ended.token for ended in self._ended)])

    def _hear_deputy(self) -> None:
        if self._deputy:
            done = self._deputy.take()
            del self._ended[: done.written]
            for answer in done.answers:
                self._answer(*answer)
            self._end_decided(done.to_end)

    def _drain(self, grace_seconds: float) -> None:
        self._draining = True
        now = time.monotonic()
        for attempt in [attempt for attempt in self._attempts.values() if not attempt.ending]:
            self._end(attempt, Outcome(Cause.STOPPED, signal=signal.SIGTERM), now, grace_seconds)

    def _end_decided(self, reasons: Mapping[str, str]) -> None:
        """End attempts whose fate is written already: their run timed out, or somebody cleared or marked their task."""
        now = time.monotonic()
        for token, reason in reasons.items():
            attempt = self._attempts.get(token)
            if attempt and not attempt.ending:
                self._end(attempt, Outcome(Cause.ENDED, error=reason), now)

    def _report(self) -> None:
        if self._upstream:
            for ended in self._ended:
                self._unconfirmed[ended.token] = ended
                self._upstream.send(ended)
            self._ended = []
        elif self._deputy and not self._deputy.failing:
            questions = self._questions()
            if self._ended or questions:
                self._deputy.start(self._ended, questions)

    def _questions(self) -> list[Question]:
        return [(token, ask) for token, attempt in self._attempts.items() for ask in attempt.asked.values()]

    # -- beginning

    def _begin(self, order: AttemptOrder) -> None:
        plain = self._shell.command(order)
        try:
            attempt, log_fd, channel_fd = self._open(order, has_channel=plain is None)
        except OSError as error:  # out of files: this attempt fails, the others go on
            self._ended.append(Ended(order.token, _not_begun(error)))
            return
        self._attempts[order.token] = attempt
        context = order.context
        attempt.log.remark(f"attempt {context.try_number} of {context.max_tries} of {context.dag_id}.{context.task_id}")
        if order.execution_timeout_seconds:
            attempt.deadline = attempt.started + order.execution_timeout_seconds
        try:
            if plain:
                self._spawn(attempt, plain, log_fd)
            elif channel_fd is not None:
                self._start(attempt, log_fd, channel_fd)
        except OSError as error:
            self._finish(attempt, _not_begun(error))
        finally:
            os.close(log_fd)
            if channel_fd is not None:
                os.close(channel_fd)

    def _start(self, attempt: Attempt, log_fd: int, channel_fd: int) -> None:
        order = attempt.order
        base = self._base.wake()
        zygote = base if order.kind == "bash" and not order.needs_file else self._files.ready(order.fileloc)
        if zygote == "threads":
            self._fork(attempt, base, log_fd, channel_fd)
        elif isinstance(zygote, ZygoteClient):
            self._fork(attempt, zygote, log_fd, channel_fd)
        else:
            self._files.wait(order, log_fd, channel_fd, base, self._jobs)

    def _open(self, order: AttemptOrder, *, has_channel: bool) -> tuple[Attempt, int, int | None]:
        """The attempt with its log and, where its process talks to us, its channel; and the files for the process."""
        with ExitStack() as opened:
            ends = [opened.enter_context(end) for end in socket.socketpair()] if has_channel else []
            pipe, log_fd = os.pipe2(os.O_CLOEXEC)
            opened.pop_all()
        output = AttemptLog(self._log_folder / order.log_path, pipe, self._redact, self._max_log_bytes)
        if not ends:
            return Attempt(order, output, None), log_fd, None
        return Attempt(order, output, Stream(ends[0], LONGEST_MESSAGE)), log_fd, ends[1].detach()

    def _spawn(self, attempt: Attempt, plain: PlainCommand, log_fd: int) -> None:
        job_id, attempt.scratch = next(self._jobs), self._scratch.lend()
        base = self._base.wake()
        base.spawn(SpawnJob(job_id, plain.program, plain.argv, plain.env, attempt.scratch), log_fd)
        self._own(attempt, base, job_id)

    def _own(self, attempt: Attempt, zygote: ZygoteClient, job_id: int) -> None:
        attempt.zygote, attempt.job_id = zygote, job_id
        self._by_job[zygote, job_id] = attempt.order.token

    def _fork(self, attempt: Attempt, zygote: ZygoteClient, log_fd: int, channel_fd: int) -> None:
        job_id = next(self._jobs)
        order = attempt.order
        if order.kind == "bash" and not order.needs_file:
            attempt.scratch = self._scratch.lend()
            order = msgspec.structs.replace(order, scratch=attempt.scratch)
        zygote.fork(job_id, messages.encode(order), [log_fd, channel_fd])
        self._own(attempt, zygote, job_id)

    def _hear_import(self, fileloc: str) -> None:
        """A file zygote says whether its DAG file could be imported; what waited for it starts or fails."""
        for message in self._files.hear(fileloc):
            match message:
                case Imported(threads=threads):
                    for token, log_fd, channel_fd in self._files.waiting(fileloc):
                        if attempt := self._attempts.get(token):
                            zygote = self._base.wake() if threads else self._files.client(fileloc)
                            self._fork_waiting(attempt, zygote, log_fd, channel_fd)
                        os.close(log_fd)
                        os.close(channel_fd)
                case ImportFailed(error):
                    self._fail_waiting(fileloc, Outcome(Cause.IMPORT, error=error))

    def _fork_waiting(self, attempt: Attempt, zygote: ZygoteClient, log_fd: int, channel_fd: int) -> None:
        try:
            self._fork(attempt, zygote, log_fd, channel_fd)
        except OSError as error:
            self._finish(attempt, _not_begun(error))

    def _fail_waiting(self, fileloc: str, outcome: Outcome) -> None:
        for token, log_fd, channel_fd in self._files.waiting(fileloc):
            os.close(log_fd)
            os.close(channel_fd)
            if attempt := self._attempts.get(token):
                self._finish(attempt, attempt.ending or outcome)

    # -- while it runs

    def _pump(self, attempt: Attempt) -> None:
        if not attempt.finished:
            attempt.open_log = attempt.log.pump()

    def _hear_attempt(self, attempt: Attempt) -> None:
        channel = attempt.channel
        if attempt.finished or channel is None:
            return
        channel.flush()
        try:
            bodies = channel.receive()
        except Hangup:
            _hang_up(attempt)  # exec has closed it; the process goes on
            return
        for body in bodies:
            try:
                message = messages.from_attempt.decode(body)
            except msgspec.DecodeError:  # the task's own code has written to the channel
                _hang_up(attempt)
                return
            match message:
                case Result(outcome):
                    attempt.result = believable(outcome)
                case Ask() | RunsAsk() | TriggerAsk() as ask:
                    self._ask(attempt, ask)
                case ImportFailed(error):
                    attempt.result = believable(Outcome(Cause.IMPORT, error=error))

    def _ask(self, attempt: Attempt, ask: AnyAsk) -> None:
        """Pass a question on. It is kept until it is answered: whoever was asked may die."""
        if not sensible(ask):
            _tell(attempt, messages.Answer(ask.number, {}))
            return
        attempt.asked[ask.number] = ask
        if self._upstream:
            self._upstream.send(messages.Question(attempt.order.token, ask))

    def _answer(self, token: str, number: int, values: dict[str, str]) -> None:
        attempt = self._attempts.get(token)
        if attempt and attempt.asked.pop(number, None):
            _tell(attempt, messages.Answer(number, values))

    def _check_times(self) -> None:
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + _HEARTBEAT_SECONDS
            self._oom.look()
            if self._upstream:
                self._upstream.send(Alive())
            elif self._deputy:
                self._deputy.start(self._ended, self._questions())
            if self._cleaning is None and (litter := self._scratch.litter()):
                self._clean(litter)
            self._files.evict_idle(now)
            self._files.release_retired({attempt.zygote for attempt in self._attempts.values() if attempt.zygote})
            self._base.rest(busy=bool(self._attempts or self._files) or self._cleaning is not None)
        for zygote in self._files.overdue(now):
            sentence = f"{zygote.fileloc} did not finish importing within {self._import_timeout:g} s"
            self._fail_waiting(zygote.fileloc, Outcome(Cause.IMPORT, error=sentence))
            self._base.kill(zygote.job_id, signal.SIGKILL)
            self._files.drop(zygote)
        for attempt in list(self._attempts.values()):
            if attempt.deadline and now >= attempt.deadline and not attempt.ending:
                limit = attempt.order.execution_timeout_seconds
                self._end(
                    attempt, Outcome(Cause.TIMEOUT, error=f"ran longer than its execution_timeout of {limit:g} s"), now
                )
            if attempt.kill_at and now >= attempt.kill_at and attempt.zygote:
                attempt.kill_at = now + self._grace
                attempt.zygote.kill(attempt.job_id, signal.SIGKILL)

    def _end(self, attempt: Attempt, why: Outcome, now: float, grace: float | None = None) -> None:
        """TERM now, KILL after the grace; `why` becomes the outcome."""
        attempt.ending, attempt.deadline = why, None
        attempt.log.remark(f"{why.sentence}; sending SIGTERM")
        if attempt.zygote is None:
            self._finish(attempt, why)  # its process was never made: it waits for its file's import
            return
        attempt.kill_at = now + (self._grace if grace is None else grace)
        attempt.zygote.kill(attempt.job_id, signal.SIGTERM)

    def _clean(self, litter: list[str]) -> None:
        """Remove scratch folders in a process of their own: one may hold a hundred thousand files."""
        order = messages.CleanOrder(litter, str(self._scratch.folder))
        job_id = next(self._jobs)
        try:
            self._base.fork(job_id, messages.encode(order))
        except OSError as error:  # out of files: the next supervisor removes them
            log.warning("%d scratch folders are left: %s", len(litter), error.strerror)
        else:
            self._cleaning = job_id

    # -- ending

    def _hear_zygote(self, zygote: ZygoteClient) -> None:
        zygote.flush()
        try:
            events = zygote.read_events()
        except ZygoteDied:
            if zygote is self._base.client:
                self._replace_base()
            else:
                self._files.hang_up(zygote)  # the first-level zygote reaps it and says how it ended
            return
        self._take_events(zygote, events)

    def _take_events(self, zygote: ZygoteClient, events: list[Event]) -> None:
        for event in events:
            match event:
                case Forked(job_id, pid):
                    if token := self._by_job.get((zygote, job_id)):
                        self._attempts[token].pid = pid
                case Refused(job_id, error):
                    self._hear_end(zygote, job_id, Outcome(Cause.START, error=f"no process could be made: {error}"))
                case Exited():
                    self._hear_end(zygote, event.job_id, event)
                case Untouchable(job_id):
                    self._leave_alone(self._by_job.get((zygote, job_id)))

    def _leave_alone(self, token: str | None) -> None:
        """Its process became another user: say so once, and try again at each grace."""
        attempt = self._attempts.get(token) if token else None
        if attempt and not attempt.untouchable:
            attempt.untouchable = True
            attempt.log.remark("it runs as another user and cannot be ended from here; waiting until it ends by itself")

    def _hear_end(self, zygote: ZygoteClient, job_id: int, end: Exited | Outcome) -> None:
        token = self._by_job.pop((zygote, job_id), None)
        if token is not None:
            attempt = self._attempts[token]
            self._hear_attempt(attempt)  # its last message may have arrived together with its death
            attempt.left_alone = isinstance(end, Exited) and end.alone
            self._finish(attempt, self._end_of(attempt, end) if isinstance(end, Exited) else end)
        elif zygote is self._base.client and job_id == self._cleaning:
            self._cleaning = None
        elif file_zygote := self._files.owner_of(job_id):
            self._bury_file_zygote(file_zygote, end)

    def _end_of(self, attempt: Attempt, event: Exited) -> Outcome:
        outcome = end_of(attempt, event)
        killed = outcome.cause == Cause.SIGNAL and outcome.signal == signal.SIGKILL
        return out_of_memory(outcome) if killed and self._oom.has_struck() else outcome

    def _bury_file_zygote(self, zygote: FileZygote, end: Exited | Outcome) -> None:
        self._hear_import(zygote.fileloc)  # why it failed may have arrived together with its end
        self._bury_attempts_of(zygote.client)
        sentence = f"importing {zygote.fileloc} ended its process ({status_of(end)})"
        self._fail_waiting(zygote.fileloc, Outcome(Cause.IMPORT, error=sentence))
        self._files.drop(zygote)

    def _bury_attempts_of(self, zygote: ZygoteClient) -> None:
        # Its last words count: an attempt whose end it saw must not be told as killed.
        with contextlib.suppress(ZygoteDied):
            while events := zygote.read_events():
                self._take_events(zygote, events)
        # A zygote's death is its children's: the kernel has killed them, but not what they had started.
        for key in [key for key in self._by_job if key[0] is zygote]:
            attempt = self._attempts[self._by_job.pop(key)]
            if attempt.pid:
                end_group(attempt.pid)
            killed = Outcome(
                Cause.SIGNAL, signal=signal.SIGKILL, error="killed together with the zygote that forked it"
            )
            self._finish(attempt, attempt.ending or killed)

    def _replace_base(self) -> None:
        log.error("the zygote died; the next attempt starts another")
        # File zygotes that have hung up too: nobody is left to say how they ended.
        for client in dict.fromkeys([*(client for client, _ in self._by_job), self._base.wake()]):
            self._bury_attempts_of(client)
        for fileloc in self._files.names():
            self._fail_waiting(fileloc, Outcome(Cause.START, error="the zygote died before it could start"))
        self._files.close()
        self._base.close()
        self._cleaning = None

    def _presentable(self, outcome: Outcome) -> Outcome:
        """The error travels into the metastore, mails and pages: secrets and control characters stay behind."""
        if not outcome.error:
            return outcome
        return msgspec.structs.replace(outcome, error=presentable(outcome.error, self._redact, SHOWN_ERROR))

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        del self._attempts[attempt.order.token]
        attempt.finished = True
        attempt.log.close_pipe()
        outcome = self._presentable(with_output(attempt, outcome))
        attempt.log.remark(last_remark(outcome))
        attempt.log.close()
        _hang_up(attempt)
        if attempt.scratch:
            self._scratch.leave(attempt.scratch, alone=attempt.left_alone)
        self._ended.append(Ended(attempt.order.token, outcome))


def _hang_up(attempt: Attempt) -> None:
    if attempt.channel:
        attempt.channel.close()
        attempt.channel = None


def _tell(attempt: Attempt, answer: messages.Answer) -> None:
    if attempt.channel:
        attempt.channel.send(answer)


def _not_begun(error: OSError) -> Outcome:
    missing = "no files could be opened for it" if error.errno in _OUT_OF_FILES else "no process could be made"
    return Outcome(Cause.START, error=f"{missing}: {error.strerror}")
