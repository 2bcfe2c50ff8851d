"""BaseOperator: one task of a DAG, its arguments and its neighbours."""

from __future__ import annotations

import logging
from abc import ABCMeta
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from engine.authoring import arguments, current
from engine.authoring.airflow_absent import DEFERRING
from engine.authoring.defaults import active
from engine.authoring.exceptions import AirflowFailException, AuthoringError
from engine.authoring.params import split
from engine.authoring.serialized import CallbackKind, OperatorKind, TriggerRule
from engine.authoring.suggest import did_you_mean
from engine.authoring.xcom_arg import Dependencies, XComArg, references
from engine.authoring.zones import aware, zone_named

if TYPE_CHECKING:
    from engine.authoring.context import Context
    from engine.authoring.dag import DAG

_TAKES_ANY_KEYWORD = 0x08  # inspect.CO_VARKEYWORDS
WEIGHT_RULES = ("downstream", "upstream", "absolute")
# Airflow's arguments that change nothing here while they are switched off, and are refused otherwise.
_NOT_YET = (
    "run_as_user",
    "executor_config",
    "executor",
    "resources",
    "inlets",
    "outlets",
    "multiple_outputs",
    "map_index_template",
)
_WITHOUT_MEANING = frozenset({"doc", "doc_rst", "doc_json", "doc_yaml", "task_group"})


class OperatorType(ABCMeta):
    """Fills the arguments that the author left out from ``default_args``, then wires XCom arguments as dependencies."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise AuthoringError(f"{cls.__name__} takes keyword arguments only.", f"Write {cls.__name__}(task_id=…).")
        dag = kwargs.get("dag") or current.dag()
        defaults = {**(dag.default_args if dag else {}), **(kwargs.pop("default_args", None) or {})}
        accepted = accepted_arguments(cls)
        filled = {name: value for name, value in defaults.items() if name in accepted and name not in kwargs}
        if isinstance(defaults.get("params"), dict) and kwargs.get("params"):
            kwargs["params"] = {**defaults["params"], **kwargs["params"]}
        if dag:
            dag.used_default_args.update(filled)
        try:
            operator = super().__call__(**filled, **kwargs)
        except TypeError:  # something is missing: perhaps because its name was mistyped
            _refuse_misspelt(cls.__name__, kwargs.keys() - accepted, accepted - kwargs.keys())
            raise
        operator.wire_references()
        return operator


def _refuse_misspelt(owner: str, strangers: Iterable[str], left_out: Iterable[str]) -> None:
    for name in strangers:
        if hint := did_you_mean(name, left_out):
            raise AuthoringError(f"{owner} has no argument {name!r}.", hint.strip())


def accepted_arguments(cls: type) -> frozenset[str]:
    """Names that a class accepts: those of its ``__init__`` and, through ``**kwargs``, of its parents'."""
    cached: frozenset[str] | None = cls.__dict__.get("_accepted_arguments")
    if cached is None:
        cached = frozenset(_argument_names(cls))
        cls._accepted_arguments = cached  # type: ignore[attr-defined]
    return cached


def _argument_names(cls: type) -> Iterator[str]:
    for parent in cls.__mro__:
        init: Any = parent.__dict__.get("__init__")
        while hasattr(init, "__wrapped__"):
            init = init.__wrapped__
        code = getattr(init, "__code__", None)
        if code is None:
            continue
        yield from code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        if not code.co_flags & _TAKES_ANY_KEYWORD:
            return


class BaseOperator(Dependencies, metaclass=OperatorType):
    """A task. Subclasses implement :meth:`execute` and list in ``template_fields`` what is rendered before it.

    Durations are timedeltas (``retry_delay`` and ``max_retry_delay`` take seconds too). What the author leaves out
    comes from ``default_args``, then from the settings. Raises AuthoringError for what cannot be.
    """

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()
    # What a parse process stores; a subclass that brings its own execute() always runs as "python".
    kind: ClassVar[OperatorKind] = "python"

    def __init__(
        self,
        *,
        task_id: str,
        dag: DAG | None = None,
        owner: str = "windsock",
        email: str | Iterable[str] | None = None,
        email_on_failure: bool | None = None,
        email_on_retry: bool | None = None,
        retries: int | None = None,
        retry_delay: timedelta | float = timedelta(seconds=300),
        retry_exponential_backoff: bool = False,
        max_retry_delay: timedelta | float | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        execution_timeout: timedelta | None = None,
        sla: timedelta | None = None,
        on_execute_callback: Any = None,
        on_failure_callback: Any = None,
        on_retry_callback: Any = None,
        on_skipped_callback: Any = None,
        on_success_callback: Any = None,
        trigger_rule: str = TriggerRule.ALL_SUCCESS,
        pool: str | None = None,
        pool_slots: int = 1,
        queue: str = "default",
        priority_weight: int = 1,
        weight_rule: str = "downstream",
        max_active_tis_per_dag: int | None = None,
        task_concurrency: int | None = None,
        depends_on_past: bool = False,
        wait_for_downstream: bool = False,
        ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False,
        max_active_tis_per_dagrun: int | None = None,
        do_xcom_push: bool = True,
        params: dict[str, Any] | None = None,
        doc_md: str | None = None,
        **others: Any,
    ) -> None:
        self.task_id = arguments.identifier("task_id", task_id)
        self.defined_at = arguments.caller()
        self._refuse_others(others)
        self.owner = arguments.text("owner", owner)
        self.email = arguments.addresses(email)
        self.email_on_failure = active().email_on_failure if email_on_failure is None else bool(email_on_failure)
        self.email_on_retry = active().email_on_retry if email_on_retry is None else bool(email_on_retry)
        self.retries = arguments.whole_number("retries", active().retries if retries is None else retries, 0)
        self.retry_delay = arguments.duration("retry_delay", retry_delay, numbers=True) or timedelta(0)
        self.retry_exponential_backoff = bool(retry_exponential_backoff)
        self.max_retry_delay = arguments.duration("max_retry_delay", max_retry_delay, numbers=True)
        self.execution_timeout = arguments.duration("execution_timeout", execution_timeout, positive=True)
        self.sla = arguments.duration("sla", sla, positive=True)
        self.start_date = _moment("start_date", start_date)
        self.end_date = _moment("end_date", end_date)
        self.on_execute_callback = arguments.callbacks("on_execute_callback", on_execute_callback)
        self.on_failure_callback = arguments.callbacks("on_failure_callback", on_failure_callback)
        self.on_retry_callback = arguments.callbacks("on_retry_callback", on_retry_callback)
        self.on_skipped_callback = arguments.callbacks("on_skipped_callback", on_skipped_callback)
        self.on_success_callback = arguments.callbacks("on_success_callback", on_success_callback)
        self.trigger_rule = _trigger_rule(trigger_rule)
        self.pool = arguments.text("pool", pool or "default_pool")
        self.pool_slots = arguments.whole_number("pool_slots", pool_slots, 1)
        self.queue = arguments.text("queue", queue)
        self.priority_weight = arguments.whole_number("priority_weight", priority_weight)
        self.weight_rule = _weight_rule(weight_rule)
        limit = task_concurrency if max_active_tis_per_dag is None else max_active_tis_per_dag
        self.max_active_tis_per_dag = (
            None if limit is None else arguments.whole_number("max_active_tis_per_dag", limit, 1)
        )
        self.wait_for_downstream = bool(wait_for_downstream)
        self.depends_on_past = bool(depends_on_past) or self.wait_for_downstream
        self.ignore_first_depends_on_past = bool(ignore_first_depends_on_past)
        self.wait_for_past_depends_before_skipping = bool(wait_for_past_depends_before_skipping)
        if max_active_tis_per_dagrun is not None:  # a task has one attempt at a time in a run, which is the least limit
            arguments.whole_number("max_active_tis_per_dagrun", max_active_tis_per_dagrun, 1)
        self.do_xcom_push = bool(do_xcom_push)
        self.params, self.param_schemas = split(f"params of task {task_id!r}", params)
        self.doc_md = doc_md
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        self._dag: DAG | None = None
        if dag := dag or current.dag():
            dag.add_task(self)

    def _refuse_others(self, others: dict[str, Any]) -> None:
        owner = f"{type(self).__name__}(task_id={self.task_id!r})"
        if others.pop("deferrable", None):
            raise AuthoringError(f"{owner}: {DEFERRING.what}.", f"Remove deferrable=True. {DEFERRING.remedy}")
        arguments.unsupported(owner, {name: others.pop(name, None) for name in _NOT_YET})
        unknown = [name for name in others if name not in _WITHOUT_MEANING]
        arguments.unknown(owner, unknown, accepted_arguments(type(self)) - {"self"})

    def __repr__(self) -> str:
        return f"<Task({self.task_type}): {self.task_id}>"

    @property
    def task_type(self) -> str:
        """The operator's name on pages and in metrics."""
        return type(self).__name__

    @property
    def operator_name(self) -> str:
        return self.task_type

    @cached_property
    def log(self) -> logging.Logger:
        """For ``self.log.info(…)``, which goes into the attempt's log. Named as in Airflow."""
        kind = type(self)
        return logging.getLogger(f"airflow.task.operators.{kind.__module__}.{kind.__qualname__}")

    @property
    def dag(self) -> DAG:
        """The DAG of this task; raises AuthoringError where it has none."""
        if self._dag is None:
            msg = f"Task {self.task_id!r} belongs to no DAG."
            raise AuthoringError(msg, "Make it inside 'with DAG(...):' or pass dag=.")
        return self._dag

    @dag.setter
    def dag(self, dag: DAG) -> None:
        if self._dag is not None and self._dag is not dag:
            msg = f"Task {self.task_id!r} is already in DAG {self._dag.dag_id!r}."
            raise AuthoringError(msg, "Make a task for each DAG: a function that returns one helps.")
        self._dag = dag

    @property
    def dag_id(self) -> str:
        return self.dag.dag_id

    def has_dag(self) -> bool:
        return self._dag is not None

    @property
    def output(self) -> XComArg:
        """What this task returns, to be passed to another task's arguments."""
        return XComArg(self)

    @property
    def upstream_list(self) -> list[BaseOperator]:
        return [self.dag.task_dict[task_id] for task_id in sorted(self.upstream_task_ids)]

    @property
    def downstream_list(self) -> list[BaseOperator]:
        return [self.dag.task_dict[task_id] for task_id in sorted(self.downstream_task_ids)]

    def callbacks(self, kind: CallbackKind) -> list[Callable[..., Any]]:
        """The functions to call when `kind` happens; empty for kinds that only DAGs have."""
        found: list[Callable[..., Any]] = getattr(self, f"{kind}_callback", [])
        return found

    def tasks(self) -> list[BaseOperator]:
        return [self]

    def wire_references(self) -> None:
        """Put the tasks whose output the template fields mention upstream of this one."""
        for field in self.template_fields:
            for argument in references(getattr(self, field, None)):
                argument.operator.set_downstream(self)

    def execute(self, context: Context) -> Any:  # noqa: ARG002
        """Do the work; what it returns is pushed as XCom ``return_value``. Raise to fail."""
        raise AuthoringError(f"{self.task_type} has no execute(self, context) method.", "Define one.")

    @classmethod
    def partial(cls, **_: Any) -> Any:
        """Airflow's mapped tasks, which are refused."""
        msg = f"{cls.__name__}.partial(): mapped tasks are not supported yet."
        raise AuthoringError(msg, "Loop inside the task, or make the tasks in a loop in the DAG file.")

    def as_setup(self) -> Any:
        """Airflow's setup tasks, which are refused."""
        raise self._no_setups("as_setup")

    def as_teardown(self, **_: Any) -> Any:
        """Airflow's teardown tasks, which are refused."""
        raise self._no_setups("as_teardown")

    def _no_setups(self, name: str) -> AuthoringError:
        msg = f"Task {self.task_id!r}.{name}(): setup and teardown tasks are not supported yet."
        return AuthoringError(msg, "Draw the arrows, and give the last task trigger_rule='all_done'.")

    def defer(self, **_: Any) -> NoReturn:
        """Airflow's way to wait elsewhere, which is refused; trying again would not help."""
        msg = f"{self.task_type}.defer(): {DEFERRING.what}. {DEFERRING.remedy}"
        raise AirflowFailException(msg)

    def on_kill(self) -> None:
        """Airflow's hook. Here a task's whole process group ends with it, so it is rarely needed."""

    def render_template_fields(self, context: Context) -> None:
        """Replace the template fields by what they render to. Raises TemplateError."""
        from engine.authoring.templating import render_fields

        for name, value in render_fields(self, context).items():
            setattr(self, name, value)


def _moment(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise AuthoringError(f"{name} must be a datetime, not {value!r}.", f"Write {name}=datetime(2026, 1, 1).")
    return aware(value, zone_named(active().timezone))


def _trigger_rule(value: object) -> TriggerRule:
    try:
        return TriggerRule(str(value))
    except ValueError:
        hint = did_you_mean(str(value), list(TriggerRule)).strip()
        remedy = f"{hint} Use one of {', '.join(TriggerRule)}, such as trigger_rule='all_done'.".strip()
        raise AuthoringError(f"trigger_rule={value!r} does not exist.", remedy) from None


def _weight_rule(value: object) -> str:
    if (rule := str(getattr(value, "value", value))) not in WEIGHT_RULES:
        raise AuthoringError(f"weight_rule={value!r} does not exist.", f"Use one of {', '.join(WEIGHT_RULES)}.")
    return rule


def connect(upstream: BaseOperator, downstream: BaseOperator) -> None:
    """Draw one arrow. A task without a DAG joins the other's."""
    _share_dag(upstream, downstream)
    upstream.downstream_task_ids.add(downstream.task_id)
    downstream.upstream_task_ids.add(upstream.task_id)


def _share_dag(one: BaseOperator, other: BaseOperator) -> None:
    if one.has_dag() and not other.has_dag():
        one.dag.add_task(other)
    elif other.has_dag() and not one.has_dag():
        other.dag.add_task(one)
    elif one.dag is not other.dag:
        msg = f"Tasks {one.task_id!r} and {other.task_id!r} are in different DAGs ({one.dag_id}, {other.dag_id})."
        raise AuthoringError(msg, "Only tasks of one DAG can depend on one another.")


def chain(*links: Dependencies | Collection[Dependencies]) -> None:
    """``chain(a, [b, c], [d, e], f)``: each link upstream of the next; two lists of one length pair by pair."""
    for left, right in pairwise(links):
        if isinstance(left, Dependencies):
            left.set_downstream(right)
        elif isinstance(right, Dependencies):
            right.set_upstream(left)
        else:
            _pair(left, right)


def cross_downstream(from_tasks: Collection[Dependencies], to_tasks: Collection[Dependencies]) -> None:
    """Each of `from_tasks` upstream of each of `to_tasks`."""
    for one in from_tasks:
        one.set_downstream(to_tasks)


def _pair(left: Collection[Dependencies], right: Collection[Dependencies]) -> None:
    if len(left) != len(right):
        msg = f"chain() cannot pair {len(left)} tasks with {len(right)}."
        raise AuthoringError(msg, "Give both lists one length, or put a single task between them.")
    for one, other in zip(left, right, strict=True):
        one.set_downstream(other)
