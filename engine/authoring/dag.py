"""DAG: tasks, their order, and when they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, tzinfo
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from engine.authoring import arguments, current, promises
from engine.authoring.defaults import active
from engine.authoring.exceptions import AuthoringError
from engine.authoring.operator import BaseOperator, accepted_arguments
from engine.authoring.params import split
from engine.authoring.schedules import schedule_from
from engine.authoring.serialized import CallbackKind, ContinuousSchedule, Schedule
from engine.authoring.zones import aware, zone_named

if TYPE_CHECKING:
    from engine.authoring.timetables import DataInterval

_UNSET: Final[Any] = object()
# Airflow's arguments that change nothing here while they are switched off, and are refused otherwise.
_NOT_YET = ("timetable", "access_control", "fail_stop", "fail_fast", "render_template_as_native_obj")
_WITHOUT_MEANING = frozenset(
    {
        "default_view",
        "orientation",
        "owner_links",
        "jinja_environment_kwargs",
        "full_filepath",
        "auto_register",
        "dag_display_name",
    }
)


class DAG:
    """A DAG. Names and meanings are Airflow's; ``schedule=None``, the default, means manual runs only.

    ``catchup``, ``max_active_runs``, ``max_active_tasks`` and the time zone of a naive ``start_date`` fall back to
    the settings. Raises AuthoringError for what cannot be.
    """

    def __init__(
        self,
        dag_id: str,
        description: str | None = None,
        schedule: Any = _UNSET,
        schedule_interval: Any = _UNSET,
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        catchup: bool | None = None,
        default_args: dict[str, Any] | None = None,
        max_active_runs: int | None = None,
        max_active_tasks: int | None = None,
        concurrency: int | None = None,
        dagrun_timeout: timedelta | None = None,
        params: dict[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        doc_md: str | None = None,
        on_failure_callback: Any = None,
        on_success_callback: Any = None,
        sla: timedelta | None = None,
        sla_miss_callback: Any = None,
        sla_runs: str | None = None,
        sla_after_failure: str | None = None,
        deadline: Any = None,
        is_paused_upon_creation: bool | None = None,
        user_defined_macros: dict[str, Any] | None = None,
        user_defined_filters: dict[str, Callable[..., Any]] | None = None,
        template_searchpath: str | Iterable[str] | None = None,
        template_undefined: Any = None,
        **others: Any,
    ) -> None:
        self.dag_id = arguments.identifier("dag_id", dag_id)
        self.defined_at = arguments.caller()
        self._refuse_others(others)
        self.description = description
        self.default_args = dict(default_args or {})
        self.used_default_args: set[str] = {"start_date", "end_date", "params"}
        self.start_date = _date("start_date", start_date or self.default_args.get("start_date"))
        self.end_date = _date("end_date", end_date or self.default_args.get("end_date"))
        self.schedule = schedule_from(_one_schedule(schedule, schedule_interval), self.timezone)
        self.catchup = active().catchup if catchup is None else bool(catchup)
        self.max_active_runs = _max_active_runs(max_active_runs, self.schedule)
        tasks = concurrency if max_active_tasks is None else max_active_tasks
        self.max_active_tasks = _limit("max_active_tasks", tasks, active().max_active_tasks)
        self.dagrun_timeout = arguments.duration("dagrun_timeout", dagrun_timeout, positive=True)
        self.params, self.param_schemas = split(
            f"params of DAG {dag_id!r}", {**(self.default_args.get("params") or {}), **(params or {})}
        )
        self.tags = _tags(tags)
        self.doc_md = doc_md
        self.on_failure_callback = arguments.callbacks("on_failure_callback", on_failure_callback)
        self.on_success_callback = arguments.callbacks("on_success_callback", on_success_callback)
        self.sla = arguments.duration("sla", sla, positive=True)
        self.sla_runs = promises.sla_runs(sla_runs)
        self.sla_after_failure = promises.after_failure(sla_after_failure)
        self.deadline = promises.deadlines(deadline)
        self.sla_miss_callback = arguments.callbacks("sla_miss_callback", sla_miss_callback)
        self.is_paused_upon_creation = is_paused_upon_creation
        self.user_defined_macros = dict(user_defined_macros or {})
        self.user_defined_filters = dict(user_defined_filters or {})
        self.template_searchpath = _paths(template_searchpath)
        self.template_undefined = template_undefined
        self.fileloc = self.defined_at[0]  # the loader sets the DAG file's path
        self.task_dict: dict[str, BaseOperator] = {}

    def _refuse_others(self, others: dict[str, Any]) -> None:
        owner = f"DAG({self.dag_id!r})"
        arguments.unsupported(owner, {name: others.pop(name, None) for name in _NOT_YET})
        unknown = [name for name in others if name not in _WITHOUT_MEANING]
        arguments.unknown(owner, unknown, accepted_arguments(DAG))

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"

    def __enter__(self) -> Self:
        current.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        current.leave()

    @property
    def timezone(self) -> tzinfo:
        """The time zone that cron expressions are read in: the start date's."""
        return (self.start_date and self.start_date.tzinfo) or zone_named(active().timezone)

    @property
    def tasks(self) -> list[BaseOperator]:
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    @property
    def folder(self) -> str:
        return str(Path(self.fileloc).parent)

    @property
    def owner(self) -> str:
        """The owners of its tasks, without repetition."""
        return ", ".join(sorted({task.owner for task in self.tasks})) or "windsock"

    @property
    def roots(self) -> list[BaseOperator]:
        return [task for task in self.tasks if not task.upstream_task_ids]

    @property
    def leaves(self) -> list[BaseOperator]:
        return [task for task in self.tasks if not task.downstream_task_ids]

    def add_task(self, task: BaseOperator) -> None:
        """Take a task in. Raises AuthoringError where its task_id is taken."""
        task.dag = self
        other = self.task_dict.setdefault(task.task_id, task)
        if other is not task:
            msg = f"DAG {self.dag_id!r} has two tasks {task.task_id!r}: the first stands in line {other.defined_at[1]}."
            raise AuthoringError(msg, "Give one of them another task_id.")

    def get_task(self, task_id: str) -> BaseOperator:
        """The task of that name; raises AuthoringError with a suggestion."""
        if task := self.task_dict.get(task_id):
            return task
        from engine.authoring.suggest import did_you_mean

        hint = did_you_mean(task_id, self.task_dict).strip() or f"Its tasks are {', '.join(self.task_dict) or 'none'}."
        raise AuthoringError(f"DAG {self.dag_id!r} has no task {task_id!r}.", hint)

    def callbacks(self, kind: CallbackKind) -> list[Callable[..., Any]]:
        """The functions to call when `kind` happens; empty for kinds that only tasks have."""
        found: list[Callable[..., Any]] = getattr(self, f"{kind}_callback", [])
        return found

    def infer_manual_interval(self, logical_date: datetime) -> DataInterval:
        """What a run by hand at `logical_date` covers."""
        from engine.authoring.timetables import manual_interval

        return manual_interval(self.schedule, logical_date)


def dag(dag_id: str | Callable[..., Any] = "", **arguments: Any) -> Any:
    """``@dag(schedule=…)``: a function whose body makes the tasks; calling it makes a DAG of its name."""
    if callable(dag_id):
        return dag()(dag_id)

    def decorate(function: Callable[..., Any]) -> Callable[..., DAG]:
        @wraps(function)
        def make(*args: Any, **kwargs: Any) -> DAG:
            documented = {"doc_md": function.__doc__, **arguments}
            with DAG(dag_id or function.__name__, **documented) as made:
                function(*args, **kwargs)
            return made

        return make

    return decorate


def _one_schedule(schedule: Any, schedule_interval: Any) -> Any:
    if schedule is not _UNSET and schedule_interval is not _UNSET:
        raise AuthoringError("schedule and schedule_interval are both given.", "Keep schedule.")
    given = schedule_interval if schedule is _UNSET else schedule
    return None if given is _UNSET else given


def _date(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise AuthoringError(f"{name} must be a datetime, not {value!r}.", f"Write {name}=datetime(2026, 1, 1).")
    return aware(value, zone_named(active().timezone))


def _max_active_runs(value: int | None, schedule: Schedule) -> int:
    if not isinstance(schedule, ContinuousSchedule):
        return _limit("max_active_runs", value, active().max_active_runs)
    if (limit := _limit("max_active_runs", value, 1)) != 1:
        raise AuthoringError(
            f"schedule='@continuous' makes one run after the other, but max_active_runs is {limit}.",
            "Leave max_active_runs out, or write max_active_runs=1.",
        )
    return limit


def _limit(name: str, value: int | None, default: int) -> int:
    return default if value is None else arguments.whole_number(name, value, 1)


def _tags(tags: Iterable[str] | None) -> list[str]:
    found = list(dict.fromkeys(tags or ()))
    for tag in found:
        if not isinstance(tag, str) or not 0 < len(tag) <= 100:
            raise AuthoringError(f"Tag {tag!r} is not valid.", "A tag is a string of 1 to 100 characters.")
    if isinstance(tags, str):
        raise AuthoringError(f"tags={tags!r} is a string.", f"Write tags=[{tags!r}].")
    return found


def _paths(value: str | Iterable[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else [str(path) for path in value or ()]
