"""The context of a task, with Airflow's names: a mapping whose values are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from engine.authoring.absent_names import instead_of
from engine.authoring.exceptions import AuthoringError
from engine.authoring.run_objects import DagRunView, NotThereYet, TaskInstanceView, instant

if TYPE_CHECKING:
    from engine.authoring.attempt_context import AttemptContext, DagFacts, TaskFacts, XComAccess
    from engine.authoring.dag import DAG
    from engine.authoring.operator import BaseOperator

_current: ContextVar[Context] = ContextVar("current_context")


class Context(Mapping[str, Any]):
    """``context['ds']``, ``context['ti']`` … Names of dates are absent in a run that has no logical date."""

    def __init__(
        self, record: AttemptContext, dag: DAG | DagFacts, task: BaseOperator | TaskFacts | None, xcom: XComAccess
    ) -> None:
        self.record = record
        self.dag = dag
        self.task = task
        self.xcom = xcom
        self._made: dict[str, Any] = {}
        self._more: tuple[str, ...] = ()  # names that only this context has
        self.to_skip: set[str] = set()  # the tasks that this one has decided against, for its outcome

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            if name not in self:
                raise KeyError(f"this context has no {name!r}. {instead_of(name, NAMES)}".rstrip())
            self._made[name] = NAMES[name](self)
        return self._made[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Without the sentence of an error that nobody would read."""
        if name in self:
            return self[name]
        return default

    def __contains__(self, name: object) -> bool:
        if name in self._more:
            return True
        return name in NAMES and not (self.record.logical_date is None and name in _NEED_LOGICAL_DATE)

    def __iter__(self) -> Iterator[str]:
        """Every name once, whatever is made meanwhile: to read one of them may make others."""
        yield from self._more
        yield from (name for name in NAMES if name in self and name not in self._more)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def extended(self, **more: Any) -> Context:
        """The same context with more names."""
        context = Context(self.record, self.dag, self.task, self.xcom)
        context._made = {**self._made, **more}
        context._more = tuple(dict.fromkeys((*self._more, *more)))
        context.to_skip = self.to_skip
        return context

    @property
    def logical_date(self) -> datetime:
        if self.record.logical_date is None:
            raise KeyError(f"this context has no 'logical_date'. {instead_of('logical_date', NAMES)}")
        return self.record.logical_date.astimezone(UTC)


def build_context(
    record: AttemptContext, dag: DAG | DagFacts, task: BaseOperator | TaskFacts | None, xcom: XComAccess
) -> Context:
    """The context of one attempt; costs nothing until a name is used."""
    return Context(record, dag, task, xcom)


def get_current_context() -> Context:
    """The context of the task that is running, for code that was not handed it."""
    try:
        return _current.get()
    except LookupError:
        msg = "get_current_context() was called outside a running task."
        raise AuthoringError(msg, "Call it inside the function of a task.") from None


def set_current_context(context: Context) -> None:
    """Let :func:`get_current_context` return `context` from now on in this process."""
    _current.set(context)


def ds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def ds_nodash(moment: datetime) -> str:
    return moment.strftime("%Y%m%d")


def ts(moment: datetime) -> str:
    return moment.isoformat()


def ts_nodash(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%S")


def ts_nodash_with_tz(moment: datetime) -> str:
    return moment.isoformat().replace("-", "").replace(":", "")


def _of_logical_date(form: Callable[[datetime], str], days: int, context: Context) -> str:
    return form(context.logical_date + timedelta(days=days))


def _next(context: Context) -> datetime:
    """Airflow's next_execution_date: the interval's end for a scheduled run, the run's own date for one by hand."""
    end = context.record.data_interval_end
    return end.astimezone(UTC) if end and context.record.run_type != "manual" else context.logical_date


def _previous(context: Context) -> datetime:
    if context.record.run_type == "manual":
        return context.logical_date
    from engine.authoring.timetables import manual_interval

    return manual_interval(context.dag.schedule, context.logical_date).start


def _of(moment: Callable[[Context], datetime], form: Callable[[datetime], str], context: Context) -> str:
    return form(moment(context))


def _params(context: Context) -> dict[str, Any]:
    from engine.authoring.params import validate

    own = getattr(context.task, "params", {})
    values = {**context.record.params, **own, **context.record.conf}
    validate(getattr(context.task, "param_schemas", {}), values)
    return values


def _task_instance(context: Context) -> TaskInstanceView:
    return TaskInstanceView(context.record, context.task, context["dag_run"], context.xcom)


def _key_text(context: Context) -> str:
    day = ds_nodash(context.record.logical_date or context.record.run_after)
    return f"{context.record.dag_id}__{context.record.task_id}__{day}"


def _macros(_: Context) -> Any:
    from engine.authoring import macros

    return macros


def _pendulum(moment: Callable[[Context], datetime | None], context: Context) -> Any:
    return instant(moment(context))


_logical_date = partial(_pendulum, lambda context: context.logical_date)

NAMES: Final[Mapping[str, Callable[[Context], Any]]] = MappingProxyType(
    {
        "ds": partial(_of_logical_date, ds, 0),
        "ds_nodash": partial(_of_logical_date, ds_nodash, 0),
        "ts": partial(_of_logical_date, ts, 0),
        "ts_nodash": partial(_of_logical_date, ts_nodash, 0),
        "ts_nodash_with_tz": partial(_of_logical_date, ts_nodash_with_tz, 0),
        "yesterday_ds": partial(_of_logical_date, ds, -1),
        "yesterday_ds_nodash": partial(_of_logical_date, ds_nodash, -1),
        "tomorrow_ds": partial(_of_logical_date, ds, 1),
        "tomorrow_ds_nodash": partial(_of_logical_date, ds_nodash, 1),
        "prev_ds": partial(_of, _previous, ds),
        "prev_ds_nodash": partial(_of, _previous, ds_nodash),
        "next_ds": partial(_of, _next, ds),
        "next_ds_nodash": partial(_of, _next, ds_nodash),
        "logical_date": _logical_date,
        "execution_date": _logical_date,
        "prev_execution_date": partial(_pendulum, _previous),
        "next_execution_date": partial(_pendulum, _next),
        "data_interval_start": partial(_pendulum, lambda context: context.record.data_interval_start),
        "data_interval_end": partial(_pendulum, lambda context: context.record.data_interval_end),
        "dag": lambda context: context.dag,
        "task": lambda context: context.task,
        "ti": _task_instance,
        "task_instance": lambda context: context["ti"],
        "task_instance_key_str": _key_text,
        "dag_run": lambda context: DagRunView(context.record),
        "run_id": lambda context: context.record.run_id,
        "params": _params,
        "templates_dict": lambda context: getattr(context.task, "templates_dict", None),
        "inlets": lambda _: [],
        "outlets": lambda _: [],
        "try_number": lambda context: context.record.try_number,
        "test_mode": lambda _: False,
        "macros": _macros,
        "var": lambda _: NotThereYet("var", "variables"),
        "conn": lambda _: NotThereYet("conn", "connections"),
    }
)
_DATE_ENDINGS = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "execution_date", "logical_date")
_NEED_LOGICAL_DATE: Final = frozenset(name for name in NAMES if name.endswith(_DATE_ENDINGS))
