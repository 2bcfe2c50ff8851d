"""DAG object → :class:`SerializedDag`. Raises AuthoringError for what only the finished DAG shows, such as a cycle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from engine.authoring import arguments
from engine.authoring.bash import BashOperator
from engine.authoring.dag import DAG
from engine.authoring.exceptions import AuthoringError
from engine.authoring.operator import BaseOperator, accepted_arguments
from engine.authoring.params import ParamValidationError, validate
from engine.authoring.python import EmptyOperator
from engine.authoring.serialized import (
    CallbackKind,
    NoSchedule,
    OperatorKind,
    SerializedDag,
    SerializedTask,
)
from engine.authoring.suggest import did_you_mean

_HEAVIEST = 2**31 - 1  # what the metastore holds; as in Airflow, a weight beyond it counts as this

_TASK_CALLBACKS: tuple[CallbackKind, ...] = ("on_execute", "on_failure", "on_retry", "on_skipped", "on_success")
_DAG_CALLBACKS: tuple[CallbackKind, ...] = ("on_failure", "on_success", "sla_miss")


def serialize(dag: DAG) -> SerializedDag:
    """The stored form of a DAG, tasks in topological order."""
    _check(dag)
    order = topological(dag)
    weights = effective_weights(dag, order)
    return SerializedDag(
        dag_id=dag.dag_id,
        fileloc=dag.fileloc,
        schedule=dag.schedule,
        tasks=tuple(_task(dag.task_dict[task_id], weights[task_id]) for task_id in order),
        description=_text_or_none("description", dag.description),
        start_date=_utc(_start_date(dag)),
        end_date=_utc(dag.end_date),
        catchup=dag.catchup,
        max_active_runs=dag.max_active_runs,
        max_active_tasks=dag.max_active_tasks,
        dagrun_timeout_seconds=_seconds(dag.dagrun_timeout),
        params=arguments.json_object(f"params of DAG {dag.dag_id!r}", dag.params),
        param_schemas=dag.param_schemas,
        tags=tuple(dag.tags),
        owner=dag.owner,
        callbacks=tuple(kind for kind in _DAG_CALLBACKS if dag.callbacks(kind)),
        sla_seconds=_seconds(dag.sla),
        sla_runs=dag.sla_runs,
        sla_after_failure=dag.sla_after_failure,
        deadlines=tuple(one.serialized() for one in dag.deadline),
        is_paused_upon_creation=dag.is_paused_upon_creation,
        doc_md=_text_or_none("doc_md", dag.doc_md),
        needs_file_to_render=needs_file(dag),
    )


def topological(dag: DAG) -> list[str]:
    """Task ids, each after all its upstream tasks, otherwise in the file's order. Raises AuthoringError for a cycle."""
    waiting = {task_id: len(task.upstream_task_ids) for task_id, task in dag.task_dict.items()}
    position = {task_id: index for index, task_id in enumerate(dag.task_dict)}
    ready = [task_id for task_id, count in waiting.items() if not count]
    order: list[str] = []
    for task_id in ready:  # grows while it is walked
        order.append(task_id)
        for child in sorted(dag.task_dict[task_id].downstream_task_ids, key=position.__getitem__):
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    if len(order) < len(waiting):
        raise _cycle_error(dag, {task_id for task_id, count in waiting.items() if count})
    return order


def _cycle_error(dag: DAG, stuck: set[str]) -> AuthoringError:
    path = find_cycle({task_id: dag.task_dict[task_id].upstream_task_ids & stuck for task_id in stuck})
    line = dag.task_dict[path[0]].defined_at[1]
    told = " >> ".join(path)
    return AuthoringError(
        f"DAG {dag.dag_id!r} has a cycle: {told}.", f"Remove one of the arrows {told}.", line=line or None
    )


def find_cycle(upstream: Mapping[str, set[str]]) -> list[str]:
    """A cycle in a graph in which every node has an upstream node, as a >> b >> … >> a, from its smallest name."""
    seen: list[str] = []
    node = min(upstream)
    while node not in seen:
        seen.append(node)
        node = min(upstream[node])
    cycle = seen[seen.index(node) :][::-1]
    start = cycle.index(min(cycle))
    return [*cycle[start:], *cycle[:start], cycle[start]]


def effective_weights(dag: DAG, order: list[str]) -> dict[str, int]:
    """task_id → weight after the weight rule: a task's own plus that of everything downstream (or upstream) of it."""
    below = _reachable(dag, order[::-1], downstream=True)
    above = _reachable(dag, order, downstream=False)
    own = [dag.task_dict[task_id].priority_weight for task_id in order]
    alike = set(own) == {1}
    weights: dict[str, int] = {}
    for task_id in order:
        task = dag.task_dict[task_id]
        reached = {"absolute": 0, "upstream": above[task_id]}.get(task.weight_rule, below[task_id])
        others = reached.bit_count() if alike else sum(weight for bit, weight in enumerate(own) if reached >> bit & 1)
        weights[task_id] = max(-_HEAVIEST, min(task.priority_weight + others, _HEAVIEST))
    return weights


def _reachable(dag: DAG, order: list[str], *, downstream: bool) -> dict[str, int]:
    # Sets of tasks as bits of an integer, by position in `order` as told downwards: unions are cheap.
    names = order[::-1] if downstream else order
    bit = {task_id: 1 << index for index, task_id in enumerate(names)}
    reached: dict[str, int] = {}
    for task_id in order:
        task = dag.task_dict[task_id]
        mask = 0
        for other in task.downstream_task_ids if downstream else task.upstream_task_ids:
            mask |= bit[other] | reached[other]
        reached[task_id] = mask
    return reached


def kind_of(task: BaseOperator) -> OperatorKind:
    """How an attempt of `task` runs. An execute() or a callback of its own needs Python, whatever it derives from."""
    if task.on_execute_callback:
        return "python"  # it is called in the attempt's own process
    if isinstance(task, BashOperator) and type(task).execute is BashOperator.execute:
        return "bash"
    if isinstance(task, EmptyOperator) and type(task).execute is EmptyOperator.execute:
        return "empty"
    return "python"


def needs_file(dag: DAG) -> bool:
    """Whether Bash attempts too must import the DAG file, because it defines what their templates use."""
    bash = [task for task in dag.tasks if kind_of(task) == "bash"]
    own = dag.user_defined_macros or dag.user_defined_filters or dag.template_searchpath or dag.template_undefined
    return bool(bash and own) or any(task.params or not _plain_template_fields(task) for task in bash)


def _plain_template_fields(task: BaseOperator) -> bool:
    return tuple(task.template_fields) == tuple(BashOperator.template_fields) and (
        tuple(task.template_ext) == BashOperator.template_ext
    )


def _task(task: BaseOperator, weight: int) -> SerializedTask:
    kind = kind_of(task)
    return SerializedTask(
        task_id=task.task_id,
        operator=task.task_type,
        kind=kind,
        upstream=tuple(sorted(task.upstream_task_ids)),
        trigger_rule=task.trigger_rule,
        retries=task.retries,
        retry_delay_seconds=task.retry_delay.total_seconds(),
        retry_exponential_backoff=task.retry_exponential_backoff,
        max_retry_delay_seconds=_seconds(task.max_retry_delay),
        execution_timeout_seconds=_seconds(task.execution_timeout),
        sla_seconds=_seconds(task.sla),
        email=tuple(task.email),
        email_on_failure=task.email_on_failure,
        email_on_retry=task.email_on_retry,
        callbacks=tuple(kind for kind in _TASK_CALLBACKS if task.callbacks(kind)),
        owner=task.owner,
        pool=task.pool,
        pool_slots=task.pool_slots,
        queue=task.queue,
        priority_weight=weight,
        max_active_tis_per_dag=task.max_active_tis_per_dag,
        depends_on_past=task.depends_on_past,
        wait_for_downstream=task.wait_for_downstream,
        ignore_first_depends_on_past=task.ignore_first_depends_on_past,
        wait_for_past_depends_before_skipping=task.wait_for_past_depends_before_skipping,
        do_xcom_push=task.do_xcom_push,
        start_date=_utc(task.start_date),
        end_date=_utc(task.end_date),
        doc=_text_or_none("doc_md", task.doc_md),
        bash=task.spec() if kind == "bash" and isinstance(task, BashOperator) else None,
    )


def _check(dag: DAG) -> None:
    line = dag.defined_at[1] or None
    if not isinstance(dag.schedule, NoSchedule) and _start_date(dag) is None:
        msg = f"DAG {dag.dag_id!r} has a schedule but no start_date."
        raise AuthoringError(msg, "Write start_date=datetime(2026, 1, 1) in DAG(...).", line=line)
    if not isinstance(dag.schedule, NoSchedule):
        _check_params(dag, line)
    known = accepted_arguments(BaseOperator)
    for name in dag.default_args:
        if name not in dag.used_default_args | known and (hint := did_you_mean(name, known)):
            msg = f"default_args of DAG {dag.dag_id!r} has {name!r}, which no task takes."
            raise AuthoringError(msg, hint.strip(), line=line)


def _check_params(dag: DAG, line: int | None) -> None:
    """A scheduled run has nothing but the defaults: they must be there, and valid."""
    try:
        validate(dag.param_schemas, dag.params)
    except ParamValidationError as error:
        msg = f"DAG {dag.dag_id!r} has a schedule, but the defaults of its params are not valid. {error}"
        raise AuthoringError(msg, "Give the Param a valid default, or set schedule=None.", line=line) from None


def _start_date(dag: DAG) -> datetime | None:
    if dag.start_date:
        return dag.start_date
    return min((task.start_date for task in dag.tasks if task.start_date), default=None)


def _utc(moment: datetime | None) -> datetime | None:
    return datetime.fromtimestamp(moment.timestamp(), UTC) if moment else None


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _text_or_none(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise AuthoringError(f"{name} must be a string, not {value!r}.", f"Write it in quotes: {name}='…'.")
