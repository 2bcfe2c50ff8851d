"""Callbacks of missed deadlines: ``sla_miss_callback`` with Airflow 2's five arguments, and those of ``deadline=``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from engine.authoring.attempt_context import AttemptContext, NoXCom
from engine.authoring.context import Context, build_context
from engine.authoring.run_objects import instant

if TYPE_CHECKING:
    from engine.authoring.dag import DAG
    from engine.authoring.promises import Callback


class MissedTask(msgspec.Struct, frozen=True):
    """An ``sla=`` that was missed; of the run where `task_id` is empty."""

    task_id: str
    due_at: datetime


class BlockingTask(msgspec.Struct, frozen=True, kw_only=True):
    """What holds it up, as it stood when the deadline was due."""

    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    state: str | None
    start_date: datetime | None


class MissedSla(msgspec.Struct, frozen=True, kw_only=True):
    """What was missed: tasks and what blocks them, or the DAG's deadline of this `position`, from 1."""

    missed: tuple[MissedTask, ...] = ()
    blocking: tuple[BlockingTask, ...] = ()
    position: int | None = None
    due_at: datetime | None = None


@dataclass(frozen=True)
class SlaMiss:
    """Airflow's record of one missed SLA. `timestamp` is when it was due."""

    task_id: str
    dag_id: str
    execution_date: Any
    timestamp: Any
    email_sent: bool = False
    notification_sent: bool = False
    description: str | None = None

    @property
    def logical_date(self) -> Any:
        return self.execution_date


def missed_of(payload: Mapping[str, Any]) -> MissedSla | None:
    """What a callback request says of missed deadlines, if it is about any."""
    if "missed" not in payload and "position" not in payload:
        return None
    known = {name: payload[name] for name in MissedSla.__struct_fields__ if name in payload}
    return msgspec.convert(known, MissedSla)


def bound(
    missed: MissedSla, callbacks: list[Callable[..., Any]], dag: DAG, record: AttemptContext
) -> list[Callable[[Context], Any]]:
    """The callbacks as functions of the context, which is all that they are called with."""
    if missed.position is not None:
        callback = dag.deadline[missed.position - 1].callback if missed.position <= len(dag.deadline) else None
        return [] if callback is None else [_named(callback.callback_callable, partial(_call_deadline, callback))]
    return [_named(callback, partial(_call_sla_miss, callback, missed, dag, record)) for callback in callbacks]


def _named(callback: Callable[..., Any] | str, call: Callable[[Context], Any]) -> Callable[[Context], Any]:
    call.__name__ = getattr(callback, "__name__", str(callback))
    return call


def _call_sla_miss(
    callback: Callable[..., Any], missed: MissedSla, dag: DAG, record: AttemptContext, context: Context
) -> None:
    date = instant(record.logical_date or record.run_after)
    blocking = [_instance(one, dag, record) for one in missed.blocking if one.task_id in dag.task_dict]
    slas = [SlaMiss(one.task_id or dag.dag_id, dag.dag_id, date, instant(one.due_at)) for one in missed.missed]
    when = record.logical_date or record.run_after
    task_list = "\n".join(f"{one.task_id} on {when.isoformat()}" for one in slas)
    blocking_task_list = "\n".join(f"{one.task_id} on {when.isoformat()}" for one in blocking)
    callback(context["dag"], task_list, blocking_task_list, slas, blocking)


def _instance(one: BlockingTask, dag: DAG, record: AttemptContext) -> Any:
    """A task instance as ``context["ti"]`` is one."""
    own = replace(
        record,
        task_id=one.task_id,
        map_index=one.map_index,
        try_number=one.try_number,
        max_tries=one.max_tries,
        start_date=one.start_date,
        state=one.state or "none",
    )
    return build_context(own, dag, dag.get_task(one.task_id), NoXCom())["ti"]


def _call_deadline(callback: Callback, context: Context) -> None:
    function = _found(callback.callback_callable)
    given = dict(callback.kwargs)
    if _takes_context(function):
        given["context"] = context
    result = function(**given)
    if inspect.isawaitable(result):
        import asyncio  # the zygote of the callbacks would wait for it each time

        asyncio.run(_awaited(result))


async def _awaited(result: Any) -> None:
    await result


def _found(callback: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(callback, str):
        return callback
    module, _, name = callback.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _takes_context(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.name == "context" or one.kind is one.VAR_KEYWORD for one in parameters)
