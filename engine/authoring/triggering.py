"""Tasks that reach over to other DAGs: TriggerDagRunOperator and ExternalTaskSensor.

An attempt has no connection to the metastore: it asks through its supervisor (``engine.running.answers``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from engine.authoring import arguments
from engine.authoring.exceptions import (
    AirflowException,
    AirflowRescheduleException,
    AirflowSkipException,
    AuthoringError,
)
from engine.authoring.operator import BaseOperator
from engine.authoring.python import wanted_keywords
from engine.authoring.sensors import BaseSensorOperator
from engine.authoring.suggest import did_you_mean
from engine.authoring.zones import aware, zone_named

if TYPE_CHECKING:
    from engine.authoring.attempt_context import ExistingRun
    from engine.authoring.context import Context

RUN_ID_KEY: Final = "trigger_run_id"
_RUN_STATES: Final = ("queued", "running", "success", "failed")
_TASK_STATES: Final = (
    *("scheduled", "queued", "running", "success", "failed", "up_for_retry", "skipped", "upstream_failed"),
    *("up_for_reschedule", "removed"),
)


class TriggerDagRunOperator(BaseOperator):
    """Makes a run of another DAG, and with `wait_for_completion` waits for its end.

    However often an attempt is repeated, its task makes one run: a retry takes up the run that an attempt before it
    made. Only where that one has failed, and neither `trigger_run_id` nor `logical_date` is given, it makes another.
    With `reset_dag_run` each attempt clears the run of that id or logical date, whoever made it: its tasks run again,
    with the conf that it had.
    The waiting is a reschedule: it holds no slot.
    """

    template_fields = ("trigger_dag_id", "trigger_run_id", "logical_date", "conf")

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: dict[str, Any] | None = None,
        logical_date: str | datetime | None = None,
        execution_date: str | datetime | None = None,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: timedelta | float = 60,
        allowed_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        deferrable: bool = False,  # noqa: ARG002 - waiting holds no slot anyway
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if fail_when_dag_is_paused:
            msg = f"{self.task_id}: fail_when_dag_is_paused is not supported yet."
            raise AuthoringError(msg, "Remove it. The run waits until the DAG is unpaused.")
        self.trigger_dag_id = arguments.text("trigger_dag_id", trigger_dag_id)
        self.trigger_run_id = trigger_run_id
        self.conf = arguments.json_object(f"conf of task {self.task_id!r}", conf)
        given = execution_date if logical_date is None else logical_date
        self.logical_date = given.isoformat() if isinstance(given, datetime) else given
        self.reset_dag_run = bool(reset_dag_run)
        self.wait_for_completion = bool(wait_for_completion)
        self.poke_interval = arguments.duration("poke_interval", poke_interval, numbers=True) or timedelta(0)
        self.allowed_states = _states("allowed_states", allowed_states, _RUN_STATES, ["success"])
        self.failed_states = _states("failed_states", failed_states, _RUN_STATES, ["failed"])
        self.skip_when_already_exists = bool(skip_when_already_exists)

    def execute(self, context: Context) -> None:
        """Ask for the run, and judge how it stands."""
        found = self._ask(context)
        if "error" in found:
            if "exists" in found and self.skip_when_already_exists:
                raise AirflowSkipException(found["error"])
            raise AirflowException(f"{self.trigger_dag_id} could not be triggered: {found['error']}")
        run_id, state = found["run_id"], found["state"]
        context["ti"].xcom_push(RUN_ID_KEY, run_id)
        print(f"{self.trigger_dag_id} {run_id} is {state}")  # noqa: T201 - standard output is the attempt's log
        if self.wait_for_completion:
            self._judge(run_id, state)

    def _ask(self, context: Context) -> Mapping[str, Any]:
        date = _read_date("logical_date", self.logical_date, context)
        named = bool(self.trigger_run_id or date)
        origin = _origin(context)
        run_id = self.trigger_run_id or (f"manual__{date.isoformat()}" if date else _default_run_id(context, origin))
        fresh = context.record.sensing_since is None
        about: dict[str, Any] = {"origin": origin, "logical_date": date, "conf": self.conf}
        about |= {"existing": self._existing(fresh=fresh) if named else "refuse"}
        return context.xcom.trigger(self.trigger_dag_id, run_id, anew=fresh and not named, **about)

    def _existing(self, *, fresh: bool) -> ExistingRun:
        """Each attempt clears the run once: what it asks when it looks again is about that one."""
        if not self.reset_dag_run:
            return "refuse"
        return "clear" if fresh else "take"

    def _judge(self, run_id: str, state: str) -> None:
        if state in self.failed_states:
            raise AirflowException(f"{self.trigger_dag_id} {run_id} ended as {state}.")
        if state not in self.allowed_states:
            raise AirflowRescheduleException(datetime.now(UTC) + self.poke_interval)


def _origin(context: Context) -> str:
    """Who asks: the same through all attempts of a task, another one after the task was cleared."""
    record = context.record
    identity = [record.dag_id, record.run_id, record.task_id, record.map_index, record.max_tries]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return f"task:{record.dag_id[:100]}.{record.task_id[:100]}#{digest}"


def _default_run_id(context: Context, origin: str) -> str:
    return f"manual__{context.record.run_after.isoformat()}__{origin.rpartition('#')[2][:8]}"


class ExternalTaskSensor(BaseSensorOperator):
    """Waits for tasks, or a run, of another DAG with the same logical date, or one that lies `execution_delta` before.

    `execution_date_fn` computes the date, or a list of them, from this run's. Tasks in `failed_states` fail this one,
    those in `skipped_states` skip it.
    """

    template_fields = ("external_dag_id", "external_task_id", "external_task_ids")

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Iterable[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        arguments.unsupported(f"{self.task_type}({self.task_id!r})", {"external_task_group_id": external_task_group_id})
        if external_task_id and external_task_ids:
            raise AuthoringError(f"{self.task_id}: external_task_id and external_task_ids are both given.", "Keep one.")
        if execution_delta is not None and execution_date_fn is not None:
            raise AuthoringError(f"{self.task_id}: execution_delta and execution_date_fn are both given.", "Keep one.")
        self.external_dag_id = arguments.text("external_dag_id", external_dag_id)
        self.external_task_id = external_task_id
        self.external_task_ids = list(external_task_ids or ())
        self.execution_delta = execution_delta
        self.execution_date_fn = execution_date_fn
        self.check_existence = bool(check_existence)
        known = _TASK_STATES if external_task_id or self.external_task_ids else _RUN_STATES
        self.allowed_states = _states("allowed_states", allowed_states, known, ["success"])
        self.skipped_states = _states("skipped_states", skipped_states, known, [])
        self.failed_states = _states("failed_states", failed_states, known, [])
        if both := set(self.allowed_states) & {*self.failed_states, *self.skipped_states}:
            raise AuthoringError(f"{self.task_id}: {', '.join(sorted(both))} is allowed and not at once.", "Keep one.")

    def poke(self, context: Context) -> bool:
        """Ask how they stand."""
        names = [self.external_task_id] if self.external_task_id else list(dict.fromkeys(self.external_task_ids))
        dates = self._dates(context)
        found = context.xcom.run_states(self.external_dag_id, dates, names)
        if self.check_existence and found.get("missing"):
            raise AirflowException(f"DAG {self.external_dag_id!r} or its tasks are not there: {found['missing']}.")
        states = found.get("states", [])
        about = f"{self.external_dag_id} {', '.join(names)}".rstrip()
        if failed := [state for state in states if state in self.failed_states]:
            if self.soft_fail:
                raise AirflowSkipException(f"{about}: {len(failed)} are {failed[0]}.")
            raise AirflowException(f"{about}: {len(failed)} are {failed[0]}.")
        if any(state in self.skipped_states for state in states):
            raise AirflowSkipException(f"{about} is in a state that skips this task.")
        return sum(state in self.allowed_states for state in states) >= len(dates) * max(len(names), 1)

    def _dates(self, context: Context) -> list[datetime]:
        date = context.logical_date
        if self.execution_delta is not None:
            return [date - self.execution_delta]
        if self.execution_date_fn is None:
            return [date]
        logical = context["logical_date"]
        told = self.execution_date_fn(logical, **wanted_keywords(self.execution_date_fn, [logical], {}, context))
        return [told] if isinstance(told, datetime) else list(told)


def _states(name: str, value: Iterable[str] | None, known: Iterable[str], default: list[str]) -> list[str]:
    if value is None:
        return default
    states = [str(getattr(state, "value", state)) for state in ([value] if isinstance(value, str) else value)]
    for state in states:
        if state not in known:
            hint = did_you_mean(state, known).strip() or f"Use some of {', '.join(known)}."
            raise AuthoringError(f"{name}: there is no state {state!r}.", hint)
    return states


def _read_date(name: str, text: str | None, context: Context) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise AirflowException(f"{name} of {context.record.task_id} must be ISO 8601, not {text!r}.") from None
    return aware(moment, zone_named("UTC"))
