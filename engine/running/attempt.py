"""Inside a task's process: what a zygote's child does from its fork to its exit.

Files handed over, in this order: the log pipe (stdout and stderr), and the channel to the supervisor. The process has
no connection to the metastore; what it wants from there it asks its supervisor for. A Bash attempt renders its command
and execs the shell; anything else runs ``task.execute(context)`` with the DAG file imported, either by the file's own
zygote before the fork or here.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

# Imported for the children's sake: whatever the zygote holds, no attempt needs to import again.
from engine.authoring import airflow_names
from engine.authoring.context import build_context
from engine.authoring.error_names import exception_only
from engine.authoring.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    CommandFailed,
    TimeLimitSkip,
)
from engine.authoring.execution import execute
from engine.authoring.loader import LoadedFile, load_file
from engine.authoring.templating import command_environment, render_bash
from engine.metastore.outcome import Cause, Outcome
from engine.running import messages, scratch, xcom_limits
from engine.running.launcher import enter
from engine.running.masking import masking
from engine.running.messages import (
    LONGEST_ERROR,
    AnyAsk,
    Ask,
    AttemptOrder,
    CleanOrder,
    Imported,
    ImportFailed,
    ImportOrder,
    Result,
    RunsAsk,
    TriggerAsk,
)
from engine.running.traces import print_trace
from engine.running.wire import BlockingStream
from engine.running.zygote import serve

RETURN_VALUE = "return_value"
_OUT_OF_RANGE = "Out of range float values"  # what json says of numbers that are no JSON

_prepared: tuple[object, ...] | None = None  # what redirect_output() left


def main(payload: bytes, fds: list[int]) -> int:
    """The first-level zygote's handler."""
    order = messages.orders.decode(payload)
    if isinstance(order, ImportOrder):
        return _hold_file(order, fds)
    if isinstance(order, CleanOrder):
        scratch.remove(order.paths, order.own)
        return 0
    return _run(order, fds, None)


def _hold_file(order: ImportOrder, fds: list[int]) -> int:
    """Import a DAG file and serve forks of it. Its output goes to the log of the attempt that it was started for."""
    log_fd, channel_fd, zygote_fd = fds
    redirect_output(log_fd)
    channel = BlockingStream(socket.socket(fileno=channel_fd))
    loaded = _load(order, channel)
    if loaded is None:
        return 1
    threads = threading.active_count() > 1
    channel.send(Imported(threads=threads, sources=_sources(order)))
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    with socket.socket(fileno=zygote_fd) as sock:
        serve(sock, partial(_run_loaded, loaded))
    return 0


def _load(order: AttemptOrder | ImportOrder, channel: BlockingStream) -> LoadedFile | None:
    try:
        return load_file(Path(order.fileloc), import_root(order.fileloc, order.dags_folder))
    except BaseException as error:  # user code may raise anything, SystemExit included
        print_trace(error)
        channel.send(ImportFailed(error=f"{order.fileloc} cannot be imported: {last_line(error)}"))
        return None


def import_root(fileloc: str, dags_folder: str) -> Path:
    """The folder that a DAG file imports from, as in the DAG processor: the DAG folder, or an example's own."""
    path = Path(fileloc)
    return Path(dags_folder) if path.is_relative_to(dags_folder) else path.parent


def _sources(order: ImportOrder) -> list[str]:
    """The DAG file and what it imported from its own folder or below."""
    folder = str(import_root(order.fileloc, order.dags_folder)) + os.sep
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted({order.fileloc} | {file for file in files if file and file.startswith(folder)})


def _run_loaded(loaded: LoadedFile, payload: bytes, fds: list[int]) -> int:
    order = messages.orders.decode(payload)
    if not isinstance(order, AttemptOrder):
        raise TypeError("a file zygote only forks attempts")
    return _run(order, fds, loaded)


def _run(order: AttemptOrder, fds: list[int], loaded: LoadedFile | None) -> int:
    log_fd, channel_fd = fds
    channel = BlockingStream(socket.socket(fileno=channel_fd))
    if order.kind == "bash" and not order.needs_file:
        _redirect(log_fd)
        _run_bash(order, channel)
    redirect_output(log_fd)
    return run_python(order, channel, loaded)


def redirect_output(log_fd: int) -> None:
    """Send what Python code prints and logs to the log pipe, line by line."""
    global _prepared
    _redirect(log_fd)
    if _prepared is not None and _prepared == _output_state():
        return  # a file zygote has done it on a pipe, too: a child that made streams anew would copy 150 pages for it
    # New streams: the zygote's own remember what they were opened on.
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s - %(message)s", force=True)
    _prepared = _output_state()


def _output_state() -> tuple[object, ...]:
    """Where Python code prints and logs to, as far as a DAG file may have changed it."""
    root = logging.getLogger()
    handlers = [(handler, handler.level, handler.formatter, tuple(handler.filters)) for handler in root.handlers]
    return (sys.stdout, sys.stderr, sys.stdout.closed, sys.stderr.closed, root.level, handlers)


def _redirect(log_fd: int) -> None:
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


class XCom:
    """The metastore as an attempt sees it: it asks its supervisor, and what it pushes travels with the result."""

    def __init__(self, order: AttemptOrder, channel: BlockingStream) -> None:
        self._context = order.context
        self._channel = channel
        self._number = 0
        self.pushed: dict[str, str] = {}

    def pull(
        self,
        task_ids: Sequence[str],
        key: str = RETURN_VALUE,
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        prior: bool = False,
    ) -> dict[str, Any]:
        """Values by task id; tasks that left none are missing."""
        xcom_limits.check_key(key)
        context = self._context
        about = (dag_id or context.dag_id, run_id or context.run_id, list(task_ids), key, prior)
        return self._answer(Ask(self._next_number(), *about))

    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], task_ids: Sequence[str]) -> dict[str, Any]:
        """How runs, or tasks of them, stand: ``states``, and what the DAG does not know as ``missing``."""
        return self._answer(RunsAsk(self._next_number(), dag_id, list(logical_dates), list(task_ids)))

    def trigger(self, dag_id: str, run_id: str, **about: Any) -> dict[str, Any]:
        """Make a run once; ``run_id`` and ``state``, or ``error`` and perhaps ``exists``."""
        return self._answer(TriggerAsk(number=self._next_number(), dag_id=dag_id, run_id=run_id, **about))

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _answer(self, ask: AnyAsk) -> dict[str, Any]:
        self._channel.send(ask)
        answer = messages.answers.decode(self._channel.receive())
        return {name: json.loads(value) for name, value in answer.values.items()}

    def push(self, key: str, value: Any) -> None:
        """Leave a value for others; TypeError or ValueError say what cannot be stored (see :mod:`.xcom_limits`)."""
        xcom_limits.check_key(key)
        text = _to_json(key, value)
        xcom_limits.check_value(key, text)
        xcom_limits.check_sum(self.pushed | {key: text})
        self.pushed[key] = text


def _to_json(key: str, value: Any) -> str:
    try:
        # ASCII: NUL and lone surrogates, which databases refuse, are escaped
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        if _OUT_OF_RANGE in str(error):
            raise ValueError(
                f"XCom {key!r} holds NaN or an infinite number, which JSON cannot hold; return None or a text for it"
            ) from None
        raise TypeError(
            f"XCom {key!r} cannot be stored as JSON ({error}); return plain data, or set do_xcom_push=False"
        ) from error


def _run_bash(order: AttemptOrder, channel: BlockingStream) -> NoReturn:
    if order.bash is None:
        raise TypeError("a Bash attempt comes with its command")
    try:
        rendered = render_bash(order.bash, order.context, XCom(order, channel))
    except Exception as error:
        print_trace(error)
        channel.send(Result(Outcome(Cause.EXCEPTION, error=last_line(error))))
        sys.stdout.flush()
        os._exit(1)
    cwd = rendered.cwd or order.scratch
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and exec would hand that on to the shell
    try:
        if rendered.cwd:
            os.chdir(cwd)
        else:
            enter(cwd)
        os.execvpe("bash", ["bash", "-c", rendered.command], rendered.env)  # noqa: S606,S607
    except OSError as error:
        what = f"cwd {cwd!r}" if error.filename == cwd else "bash"
        channel.send(Result(Outcome(Cause.START, error=f"{what}: {error.strerror}")))
        os._exit(1)


def run_python(order: AttemptOrder, channel: BlockingStream, loaded: LoadedFile | None) -> int:
    """Run a task's ``execute`` in this process and report its end; returns the exit status."""
    if loaded is None and (loaded := _load(order, channel)) is None:
        return 1
    xcom = XCom(order, channel)
    with airflow_names.importable():
        outcome = _execute(order, loaded, xcom)
    channel.send(Result(outcome))
    return 0 if outcome.cause in (Cause.SUCCESS, Cause.SKIP, Cause.RESCHEDULE) else 1


def _execute(order: AttemptOrder, loaded: LoadedFile, xcom: XCom) -> Outcome:
    try:
        dag = loaded.dag(order.context.dag_id)
        task = dag.get_task(order.context.task_id)
        context = build_context(order.context, dag, task, xcom)
        os.environ.update(command_environment(context, None, append=True, inherited={}))
        with masking():
            value = execute(task, context)
        if order.do_xcom_push and value is not None:
            xcom.push(RETURN_VALUE, value)
    except AirflowSkipException as error:
        limit = isinstance(error, TimeLimitSkip)
        return Outcome(Cause.SKIP, error=_one_line(str(error)) or None, xcom=xcom.pushed, timed_out=limit)
    except AirflowRescheduleException as error:
        return Outcome(Cause.RESCHEDULE, resume_seconds=error.seconds_from_now())
    except (AirflowFailException, AirflowSensorTimeout) as error:
        print_trace(error)
        return Outcome(Cause.EXCEPTION, error=last_line(error), may_retry=False)
    except CommandFailed as error:  # the command has said what there is to say
        return Outcome(Cause.EXCEPTION, error=_ending_of(error))
    except BaseException as error:  # SystemExit too, with a code that means failure
        print_trace(error)
        return Outcome(Cause.EXCEPTION, error=last_line(error))
    return Outcome(Cause.SUCCESS, xcom=xcom.pushed, skip=tuple(sorted(context.to_skip)))


def _ending_of(command: CommandFailed) -> str:
    """The words of a supervisor that saw a shell end so: its last line is the best reason we have."""
    if command.status < 0:
        return Outcome(Cause.SIGNAL, signal=-command.status).sentence
    exited = Outcome(Cause.EXIT, exit_code=command.status).sentence
    last = command.last_line.strip()
    return _one_line(f"{exited}: {last}" if last else exited)


def last_line(error: BaseException) -> str:
    return _one_line(exception_only(error))


def _one_line(text: str) -> str:
    line = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return line[:LONGEST_ERROR].encode(errors="backslashreplace").decode()  # file names may hold lone surrogates
