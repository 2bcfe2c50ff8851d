"""``ti``, ``dag_run`` and their like: what user code and templates see of a run, read from the attempt's record."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.authoring.exceptions import AuthoringError
from engine.authoring.xcom_arg import RETURN_VALUE

if TYPE_CHECKING:
    from pendulum import DateTime

    from engine.authoring.attempt_context import AttemptContext, XComAccess


def instant(moment: datetime | None) -> DateTime | None:
    """As a pendulum DateTime in UTC, which is what Airflow's users expect; pendulum is imported here."""
    if moment is None:
        return None
    import pendulum

    return pendulum.instance(moment.astimezone(UTC), tz="UTC")


class TaskInstanceKey(NamedTuple):
    """Identity of an attempt."""

    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    map_index: int


class DagRunView:
    """``dag_run``."""

    def __init__(self, record: AttemptContext) -> None:
        self._record = record
        self.dag_id = record.dag_id
        self.run_id = record.run_id
        self.run_type = record.run_type
        self.conf = record.conf
        self.state = record.run_state
        self.external_trigger = record.run_type == "manual"

    def __repr__(self) -> str:
        return f"<DagRun {self.dag_id} {self.run_id}>"

    @property
    def logical_date(self) -> DateTime | None:
        return instant(self._record.logical_date)

    @property
    def execution_date(self) -> DateTime | None:
        return self.logical_date

    @property
    def data_interval_start(self) -> DateTime | None:
        return instant(self._record.data_interval_start)

    @property
    def data_interval_end(self) -> DateTime | None:
        return instant(self._record.data_interval_end)

    @property
    def run_after(self) -> DateTime | None:
        return instant(self._record.run_after)

    @property
    def queued_at(self) -> DateTime | None:
        return instant(self._record.queued_at)

    @property
    def start_date(self) -> DateTime | None:
        return instant(self._record.run_start_date)


class TaskInstanceView:
    """``ti`` and ``task_instance``."""

    def __init__(self, record: AttemptContext, task: Any, dag_run: DagRunView, xcom: XComAccess) -> None:
        self._record = record
        self._xcom = xcom
        self.task = task
        self.dag_run = dag_run
        self.dag_id = record.dag_id
        self.task_id = record.task_id
        self.run_id = record.run_id
        self.map_index = record.map_index
        self.try_number = record.try_number
        self.max_tries = record.max_tries
        self.state = record.state
        self.hostname = record.hostname
        self.log_url = record.log_url

    def __repr__(self) -> str:
        return f"<TaskInstance {self.dag_id}.{self.task_id} {self.run_id} [{self.state}]>"

    @property
    def key(self) -> TaskInstanceKey:
        return TaskInstanceKey(self.dag_id, self.task_id, self.run_id, self.try_number, self.map_index)

    @property
    def operator(self) -> str:
        return str(self.task.task_type)

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger("airflow.task")

    @property
    def start_date(self) -> DateTime | None:
        return instant(self._record.start_date)

    @property
    def queued_dttm(self) -> DateTime | None:
        return instant(self._record.queued_at)

    @property
    def logical_date(self) -> DateTime | None:
        return self.dag_run.logical_date

    @property
    def execution_date(self) -> DateTime | None:
        return self.dag_run.logical_date

    def xcom_push(self, key: str, value: Any) -> None:
        """Leave a value that JSON can hold for other tasks."""
        self._xcom.push(key, value)

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        key: str = RETURN_VALUE,
        dag_id: str | None = None,
        default: Any = None,
        *,
        run_id: str | None = None,
        include_prior_dates: bool = False,
        **others: Any,
    ) -> Any:
        """What a task of this run has left under `key` (`default` where nothing); a list for several task_ids.

        Without task_ids: the value of a task directly upstream. With `include_prior_dates` what a task left last, in
        this run or one of an earlier logical date.
        """
        if refused := [name for name, value in others.items() if value]:
            raise AuthoringError(f"xcom_pull({', '.join(refused)}) is not supported.", "Give task_ids and key.")
        wanted = self._upstream() if task_ids is None else (task_ids,) if isinstance(task_ids, str) else tuple(task_ids)
        prior = {"prior": True} if include_prior_dates else {}
        found = self._xcom.pull(wanted, key, dag_id=dag_id, run_id=run_id, **prior)
        if task_ids is None:
            return next((found[task_id] for task_id in wanted if task_id in found), default)
        values = [found.get(task_id, default) for task_id in wanted]
        return values[0] if isinstance(task_ids, str) else values

    def _upstream(self) -> tuple[str, ...]:
        return tuple(sorted(getattr(self.task, "upstream_task_ids", ())))


class NotThereYet:
    """``var`` and ``conn``: a clear sentence at the first use."""

    def __init__(self, name: str, what: str) -> None:
        self._message = f"{name}: {what} are not supported yet."

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AuthoringError(self._message, "Use params, env or an environment variable.")
