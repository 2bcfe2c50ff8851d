"""The parse processes: at most so many at once, each with a hard time limit, forked by one slim server.

The server is there while files are parsed, and a little longer: the next file to be parsed starts it again.

A process that hangs says where and ends itself (faulthandler's watchdog, which needs no cooperation of Python code);
should even that fail, it is killed a second later. When the server dies, :meth:`ParsePool.collect` has a new one
try the files that were being parsed, one at a time; a file under which it dies again is at fault.
"""

from __future__ import annotations

import logging
import os
import re
import selectors
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from engine.authoring.defaults import Defaults
from engine.authoring.faults import Fault
from engine.parsing.orders import ParseOrder, ParseReport, decode_report, encode_order
from engine.running.on_demand import ZygoteOnDemand
from engine.running.zygote import Exited, Forked, Refused, Untouchable, ZygoteDied

log = logging.getLogger(__name__)

MAX_OUTPUT: Final = 65_536
REST_SECONDS: Final = 2.0  # without a file to parse, after which the server is let go
_SHORTEST_LIFE_SECONDS: Final = 0.5  # a server that cannot live must not be started in a tight loop
_MAX_TRACE: Final = 32_768
_MERCY_SECONDS: Final = 1.0  # how much longer than the limit a process may take to say where it hangs


@dataclass(frozen=True, slots=True)
class Finished:
    """One file was dealt with. `output` is what its import printed, at most 64 KB of it."""

    path: str
    report: ParseReport
    output: str
    timed_out: bool = False


@dataclass(slots=True)
class Job:
    """One running parse process."""

    id: int
    path: str
    dags_folder: str
    report_fd: int
    trace_fd: int
    output_fd: int
    started: float
    pid: int | None = None
    output: bytearray = field(default_factory=bytearray)
    killed: bool = False

    def close(self) -> None:
        for fd in (self.report_fd, self.trace_fd, self.output_fd):
            os.close(fd)


class ParsePool:
    """Start files with :meth:`start`, wait on the selector given, take results with :meth:`collect`."""

    def __init__(
        self,
        size: int,
        timeout: float,
        defaults: Defaults,
        selector: selectors.BaseSelector,
        rest_after: float = REST_SECONDS,
    ) -> None:
        self._size = size
        self._timeout = timeout
        self._defaults = defaults
        self._selector = selector
        self._jobs: dict[int, Job] = {}
        self._next_id = 0
        self._suspects: deque[tuple[str, str]] = deque()  # path and DAG folder of what ran when the server died
        self._on_trial = False
        self._unstarted: list[Finished] = []  # no server could be started for them
        self._server = ZygoteOnDemand("engine.parsing.child:parse", rest_after)
        self._server_fds: list[int] = []
        self._server_started = 0.0
        self._wake_server()  # while the processor looks for files it imports what they need

    def _wake_server(self) -> None:
        if not self._server_fds:
            self._server_started = time.monotonic()
            self._server.wake()
            self._server_fds = self._server.filenos()
            for fd in self._server_fds:
                self._selector.register(fd, selectors.EVENT_READ, None)

    def _forget_server(self) -> None:
        """It is gone, and its socket closed."""
        for fd in self._server_fds:
            self._selector.unregister(fd)
        self._server_fds = []

    @property
    def server_pid(self) -> int | None:
        """None while nothing is to be parsed."""
        return self._server.pid

    @property
    def has_room(self) -> bool:
        return len(self._jobs) < self._size and not self._on_trial and not self._suspects

    @property
    def has_last_place(self) -> bool:
        """Whether one place is left of several."""
        return self._size > 1 and len(self._jobs) == self._size - 1

    @property
    def is_idle(self) -> bool:
        return not (self._jobs or self._suspects or self._unstarted)

    @property
    def running(self) -> dict[str, Job]:
        """path → its process."""
        return {job.path: job for job in self._jobs.values()}

    @property
    def next_deadline(self) -> float | None:
        """Monotonic time at which the first process must be killed."""
        starts = [job.started for job in self._jobs.values() if not job.killed]
        return min(starts) + self._timeout + _MERCY_SECONDS if starts else None

    def start(self, path: str, dags_folder: str) -> None:
        """Fork a process for one file."""
        try:
            self._wake_server()
        except OSError as error:
            report = ParseReport([], [_refused(error.strerror or str(error))], 0.0)
            self._unstarted.append(Finished(path, report, ""))
            return
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_fd, False)
        self._next_id += 1
        report_fd, trace_fd = os.memfd_create("report"), os.memfd_create("trace")
        job = Job(self._next_id, path, dags_folder, report_fd, trace_fd, read_fd, time.monotonic())
        self._jobs[job.id] = job
        self._selector.register(read_fd, selectors.EVENT_READ, partial(self._pump, job))
        payload = encode_order(ParseOrder(path, dags_folder, self._timeout, self._defaults))
        self._server.fork(job.id, payload, (report_fd, trace_fd, write_fd))
        os.close(write_fd)

    def collect(self) -> list[Finished]:
        """What has finished; kills what is overdue. Does not wait."""
        try:
            events = self._server.read_events()
        except ZygoteDied:
            return self._replace_server()
        finished, self._unstarted = self._unstarted, []
        for event in events:
            if isinstance(event, Forked):
                self._jobs[event.job_id].pid = event.pid
            elif not isinstance(event, Untouchable):
                finished.append(self._finish(self._jobs.pop(event.job_id), event))
        self._kill_overdue()
        if self._on_trial or self._suspects:
            self._try_next()
        if self._server.rest(busy=not self.is_idle):
            self._forget_server()
        return finished

    def _kill_overdue(self) -> None:
        limit = time.monotonic() - self._timeout - _MERCY_SECONDS
        for job in self._jobs.values():
            if job.started < limit and not job.killed:
                job.killed = True
                self._server.kill(job.id, signal.SIGKILL)

    def _pump(self, job: Job) -> None:
        """Read output. What is beyond the limit is thrown away, so that the process never waits for us."""
        while True:
            try:
                data = os.read(job.output_fd, MAX_OUTPUT)
            except BlockingIOError:
                return
            if not data:
                if job.output_fd in self._selector.get_map():
                    self._selector.unregister(job.output_fd)
                return
            job.output += data[: max(0, MAX_OUTPUT - len(job.output))]

    def _finish(self, job: Job, event: Exited | Refused) -> Finished:
        self._release(job)
        seconds = time.monotonic() - job.started
        trace = _contents(job.trace_fd, _MAX_TRACE).decode(errors="replace")
        timed_out = job.killed or trace.startswith("Timeout (")
        report = None if timed_out else _report(_contents(job.report_fd))
        if report is None:
            if isinstance(event, Refused):
                fault = _refused(event.error)
            else:
                fault = self._hang(job.path, trace) if timed_out else crash(job.path, event, trace)
            report = ParseReport([], [fault], seconds)
        job.close()
        return Finished(job.path, report, job.output.decode(errors="replace"), timed_out)

    def _release(self, job: Job) -> None:
        self._pump(job)
        if job.output_fd in self._selector.get_map():
            self._selector.unregister(job.output_fd)

    def _hang(self, path: str, trace: str) -> Fault:
        line = line_in_trace(path, trace)
        where = f"Line {line}: the" if line else "The"
        summary = f"{where} import was stopped after {self._timeout:g} s."
        remedy = (
            "Move slow work (network, database, sleep) from the top level into a task, "
            "or raise WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT."
        )
        return Fault(summary, remedy, line, trace or summary)

    def _replace_server(self) -> list[Finished]:
        log.error("The process that forks parse processes died; the next file to be parsed starts a new one.")
        self._forget_server()
        time.sleep(max(0.0, self._server_started + _SHORTEST_LIFE_SECONDS - time.monotonic()))
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            self._release(job)
            job.close()
        if self._on_trial:
            self._on_trial = False
            finished = [_guilty(job) for job in jobs]
        else:
            self._suspects.extend((job.path, job.dags_folder) for job in jobs)
            finished = []
        self._try_next()
        return finished

    def _try_next(self) -> None:
        """Parse the next suspect with nothing beside it, so that a death of the server is its own doing."""
        if not self._jobs:
            self._on_trial = bool(self._suspects)
            if self._suspects:
                self.start(*self._suspects.popleft())

    def close(self) -> None:
        """End all processes."""
        self._server.close()
        self._forget_server()
        for job in self._jobs.values():
            self._release(job)
            job.close()
        self._jobs.clear()


def _guilty(job: Job) -> Finished:
    summary = "The process that parses DAG files died twice while it imported this file."
    fault = Fault(summary, "Look for code that kills processes or uses up all memory.", story=summary)
    return Finished(job.path, ParseReport([], [fault], time.monotonic() - job.started), "")


def crash(path: str, event: Exited, trace: str) -> Fault:
    """The fault of a file whose process ended without a report."""
    line = line_in_trace(path, trace)
    where = f"Line {line}: the" if line else "The"
    if event.signal is None:
        summary = f"{where} import ended its process with exit status {event.exit_code}."
        remedy = "Remove the call that ends the process, such as os._exit(): a DAG file is imported, not run."
    else:
        summary = f"{where} import crashed its process with {signal.Signals(event.signal).name}."
        remedy = "Look at the compiled module that the DAG file uses there, or at the machine's memory."
    return Fault(summary, remedy, line, trace or summary)


def line_in_trace(path: str, trace: str) -> int | None:
    """The innermost line of the DAG file in what faulthandler wrote (most recent call first)."""
    match = re.search(rf'File "{re.escape(path)}", line (\d+)', trace)
    return int(match[1]) if match else None


def _contents(fd: int, limit: int | None = None) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, size if limit is None else min(size, limit), 0)


def _refused(error: str) -> Fault:
    summary = f"No process could be made to import it: {error}."
    return Fault(
        summary, "Free memory or processes on this machine; the file is parsed again by itself.", None, summary
    )


def _report(data: bytes) -> ParseReport | None:
    try:
        return decode_report(data) if data else None
    except msgspec.DecodeError:
        return None
