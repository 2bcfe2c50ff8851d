"""Operators that decide which of the tasks behind them run: branches, short circuits, and LatestOnly.

They only name what is to be skipped (:attr:`Context.to_skip`); the scheduler skips it in the transaction in which their
success is written. What has already begun goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from engine.authoring.exceptions import AirflowException, AuthoringError
from engine.authoring.operator import BaseOperator
from engine.authoring.python import PythonOperator
from engine.authoring.suggest import did_you_mean
from engine.authoring.weekdays import weekday_numbers

if TYPE_CHECKING:
    from engine.authoring.context import Context
    from engine.authoring.dag import DAG


def descendants(dag: DAG, task_ids: Iterable[str]) -> set[str]:
    """Everything downstream of the tasks, without themselves unless one is downstream of another."""
    found: set[str] = set()
    front = set(task_ids)
    while front:
        front = {child for task_id in front for child in dag.get_task(task_id).downstream_task_ids} - found
        found |= front
    return found


def follow(task: BaseOperator, context: Context, chosen: object) -> Any:
    """Skip the tasks directly behind `task` that are neither chosen nor downstream of a chosen one; returns `chosen`.

    Raises AirflowException for what is no task of the DAG.
    """
    names = _names(task, chosen)
    wanted = names | descendants(task.dag, names)
    context.to_skip |= task.downstream_task_ids - wanted
    return chosen


def _names(task: BaseOperator, chosen: object) -> set[str]:
    if chosen is None:
        return set()
    names = [chosen] if isinstance(chosen, str) else list(chosen) if isinstance(chosen, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise AirflowException(f"{task.task_id} must choose a task_id, a list of them or None, not {chosen!r}.")
    for name in names:
        if name not in task.dag.task_dict:
            hint = did_you_mean(name, task.downstream_task_ids or task.dag.task_dict)
            raise AirflowException(f"{task.task_id} chose {name!r}, which is no task of DAG {task.dag_id!r}.{hint}")
    return set(names)


class BaseBranchOperator(BaseOperator):
    """Runs :meth:`choose_branch`, and skips those tasks directly behind it that it did not choose."""

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:  # noqa: ARG002
        """The task_id to follow, a list of them, or None: follow nothing."""
        raise AuthoringError(f"{self.task_type} has no choose_branch(self, context) method.", "Define one.")

    def execute(self, context: Context) -> Any:
        """Decide; the choice becomes the task's XCom."""
        return follow(self, context, self.choose_branch(context))


class BranchPythonOperator(PythonOperator):
    """Follows the task_id, or the list of them, that its function returns; None follows nothing."""

    def execute(self, context: Context) -> Any:
        """Call the function and decide."""
        return follow(self, context, super().execute(context))


class ShortCircuitOperator(PythonOperator):
    """Skips what is behind it when its function returns something false.

    With `ignore_downstream_trigger_rules`, the default, all of it; otherwise only the tasks directly behind it, and the
    trigger rules of the others decide.
    """

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = bool(ignore_downstream_trigger_rules)

    def execute(self, context: Context) -> Any:
        """Call the function and decide."""
        condition = super().execute(context)
        if not condition:
            direct = self.downstream_task_ids
            everything = self.ignore_downstream_trigger_rules
            context.to_skip |= descendants(self.dag, [self.task_id]) if everything else direct
        return condition


class LatestOnlyOperator(BaseBranchOperator):
    """Skips the tasks directly behind it in a scheduled run that is not the latest; runs by hand always go on."""

    def choose_branch(self, context: Context) -> Iterable[str] | None:
        """All, or nothing."""
        from engine.authoring.timetables import DataInterval, next_interval

        start, end = context.record.data_interval_start, context.record.data_interval_end
        if context.record.run_type != "scheduled" or start is None or end is None:
            return sorted(self.downstream_task_ids)
        now = datetime.now(UTC)
        following = next_interval(self.dag.schedule, self.dag.start_date, None, True, DataInterval(start, end), now)
        latest = following is None or following.interval.start < now <= following.interval.end
        return sorted(self.downstream_task_ids) if latest else []


class BranchDayOfWeekOperator(BaseBranchOperator):
    """Follows `follow_task_ids_if_true` on the given days of the week, else `follow_task_ids_if_false`."""

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Sequence[str],
        follow_task_ids_if_false: str | Sequence[str],
        week_day: Any,
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.week_day = week_day
        self.use_task_logical_date = bool(use_task_logical_date)
        self._days = weekday_numbers(week_day)

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:
        """By the logical date's day, or today's."""
        day = _moment(context, logical=self.use_task_logical_date).isoweekday()
        return self.follow_task_ids_if_true if day in self._days else self.follow_task_ids_if_false


class BranchDateTimeOperator(BaseBranchOperator):
    """Follows `follow_task_ids_if_true` between two moments (datetimes, or times of the day), else the other."""

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Sequence[str],
        follow_task_ids_if_false: str | Sequence[str],
        target_lower: datetime | time | None,
        target_upper: datetime | time | None,
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if target_lower is None and target_upper is None:
            raise AuthoringError(f"{self.task_id}: both target_lower and target_upper are None.", "Give one of them.")
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.target_lower = target_lower
        self.target_upper = target_upper
        self.use_task_logical_date = bool(use_task_logical_date)

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:
        """By the logical date, or now."""
        now = _moment(context, logical=self.use_task_logical_date)
        lower, upper = _at(now, self.target_lower), _at(now, self.target_upper)
        if lower and upper and upper < lower and isinstance(self.target_upper, time):
            upper += timedelta(days=1)  # a window over midnight
        inside = (lower is None or lower <= now) and (upper is None or now <= upper)
        return self.follow_task_ids_if_true if inside else self.follow_task_ids_if_false


def _moment(context: Context, *, logical: bool) -> datetime:
    return context.logical_date if logical else datetime.now(UTC)


def _at(now: datetime, target: datetime | time | None) -> datetime | None:
    if isinstance(target, time):
        return datetime.combine(now.date(), target, target.tzinfo or UTC)
    if target is not None and target.tzinfo is None:
        return target.replace(tzinfo=UTC)
    return target
