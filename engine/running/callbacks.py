"""Inside a callback's process: import the DAG file, rebuild the context, call what its author gave.

The zygote's handler gets a :class:`CallbackOrder` and two files: the callback's log and a pipe for the one line that
says what went wrong.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from engine.authoring import airflow_names
from engine.authoring.attempt_context import AttemptContext, NoXCom
from engine.authoring.context import Context, build_context
from engine.authoring.exceptions import AirflowException
from engine.authoring.loader import load_file
from engine.authoring.serialized import CallbackKind
from engine.running import sla_callbacks
from engine.running.attempt import import_root, last_line, redirect_output
from engine.running.sla_callbacks import MissedSla
from engine.running.traces import print_trace


class CallbackOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to call: a task's callbacks, or the DAG's where `task_id` is None. `error` is how the attempt ended."""

    kind: CallbackKind
    fileloc: str
    dags_folder: str
    context: AttemptContext
    task_id: str | None
    error: str | None
    reason: str | None
    missed: MissedSla | None = None


_decoder = msgspec.msgpack.Decoder(CallbackOrder)


def main(payload: bytes, fds: list[int]) -> int:
    """The zygote's handler: 0 when every callback returned."""
    log_fd, error_fd = fds
    redirect_output(log_fd)
    errors = _call_all(_decoder.decode(payload))
    if errors:
        os.write(error_fd, "; ".join(errors)[:4000].encode(errors="backslashreplace"))
    return 1 if errors else 0


def _call_all(order: CallbackOrder) -> list[str]:
    """Call each callback, also after one has raised; returns what they raised, one line each."""
    try:
        dag = load_file(Path(order.fileloc), import_root(order.fileloc, order.dags_folder)).dag(order.context.dag_id)
        task = dag.get_task(order.task_id) if order.task_id else None
        callbacks = task.callbacks(order.kind) if task else dag.callbacks(order.kind)
        if order.missed:
            callbacks = sla_callbacks.bound(order.missed, callbacks, dag, order.context)
    except BaseException as error:
        print_trace(error)
        return [f"{order.fileloc} cannot be imported: {last_line(error)}"]
    context = _context(order, build_context(order.context, dag, task, NoXCom()))
    errors = []
    for callback in callbacks:
        try:
            with airflow_names.importable():
                callback(context)
        except BaseException as error:
            print_trace(error)
            errors.append(f"{getattr(callback, '__name__', callback)}: {last_line(error)}")
    return errors


def _context(order: CallbackOrder, context: Context) -> Context:
    more: dict[str, object] = {}
    if order.error is not None:
        more["exception"] = AirflowException(order.error)
    if order.reason is not None:
        more["reason"] = order.reason
    return context.extended(**more)
