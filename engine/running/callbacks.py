"""Inside a callback's process: import the DAG file, rebuild the context, call what its author gave.

The zygote's handler gets a :class:`CallbackOrder` and two files: the callback's log and a pipe for its words
(:mod:`engine.running.callback_words`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

# Nearly every DAG file imports these: what the zygote holds, no callback needs to import while people wait for it.
import engine.authoring.bash
import engine.authoring.dag
import engine.authoring.python  # noqa: F401
from alerting import notice
from alerting.events import AlertEvent
from engine.authoring import airflow_names
from engine.authoring.attempt_context import AttemptContext, NoXCom
from engine.authoring.context import Context, build_context
from engine.authoring.exceptions import AirflowException
from engine.authoring.loader import load_file
from engine.authoring.serialized import CallbackKind
from engine.running import sla_callbacks
from engine.running.attempt import import_root, last_line, redirect_output
from engine.running.callback_words import Planned, Raised, Returned, Told, Word, say
from engine.running.masking import masking
from engine.running.sla_callbacks import MissedSla
from engine.running.traces import print_trace

Say = Callable[[Word], None]


class CallbackOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to call: a task's callbacks, or the DAG's where `task_id` is None.

    `error` is how the attempt ended, `run_error` what failed of a run; Airflow's contexts have the first one only.
    `places` are those of the author's list that are to be called; None for all.
    """

    kind: CallbackKind
    fileloc: str
    dags_folder: str
    context: AttemptContext
    task_id: str | None
    error: str | None
    reason: str | None
    run_error: str | None = None
    missed: MissedSla | None = None
    places: list[int] | None = None


_decoder = msgspec.msgpack.Decoder(CallbackOrder)


def main(payload: bytes, fds: list[int]) -> int:
    """The zygote's handler: 0 when every callback returned."""
    log_fd, words_fd = fds
    redirect_output(log_fd)
    return 0 if _call_all(_decoder.decode(payload), partial(say, words_fd)) else 1


def _call_all(order: CallbackOrder, tell: Say) -> bool:
    """Call each callback, also after one has raised; returns whether all came back."""
    try:
        dag = load_file(Path(order.fileloc), import_root(order.fileloc, order.dags_folder)).dag(order.context.dag_id)
        task = dag.get_task(order.task_id) if order.task_id else None
        callbacks = task.callbacks(order.kind) if task else dag.callbacks(order.kind)
        if order.missed:
            callbacks = sla_callbacks.bound(order.missed, callbacks, dag, order.context)
    except BaseException as error:
        print_trace(error)
        tell(Raised(None, f"{order.fileloc} cannot be imported: {last_line(error)}"))
        return False
    context = _context(order, build_context(order.context, dag, task, NoXCom()))
    tell(Planned([_name(callback) for callback in callbacks]))
    places = [place for place in range(len(callbacks)) if order.places is None or place in order.places]
    came_back = [_call(place, callbacks[place], context, tell) for place in places]
    return all(came_back)


def _call(place: int, callback: Callable[..., Any], context: Context, tell: Say) -> bool:
    def hand_over(event: AlertEvent) -> None:
        tell(Told(place, event))

    try:
        with airflow_names.importable(), notice.handing_over(hand_over), masking(), notice.noticing_uncalled():
            callback(context)
    except BaseException as error:
        print_trace(error)
        tell(Raised(place, f"{_name(callback)}: {last_line(error)}"))
        return False
    tell(Returned(place))
    return True


def _name(callback: Callable[..., Any]) -> str:
    return str(getattr(callback, "__name__", callback))


def _context(order: CallbackOrder, context: Context) -> Context:
    more: dict[str, object] = {}
    if order.error is not None:
        more["exception"] = AirflowException(order.error)
    if order.reason is not None:
        more["reason"] = order.reason
    if order.run_error is not None:
        more["run_error"] = order.run_error
    return context.extended(**more)
