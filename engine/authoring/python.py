"""PythonOperator, ``@task`` and EmptyOperator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Self

from engine.authoring import current
from engine.authoring.exceptions import AuthoringError
from engine.authoring.operator import BaseOperator
from engine.authoring.serialized import OperatorKind
from engine.authoring.xcom_arg import XComArg

if TYPE_CHECKING:
    import inspect

    from engine.authoring.context import Context


class EmptyOperator(BaseOperator):
    """Does nothing; needs no process."""

    kind: ClassVar[OperatorKind] = "empty"

    def execute(self, context: Context) -> None:
        """Nothing to do."""


class PythonOperator(BaseOperator):
    """Calls a function with `op_args` and `op_kwargs`, and those context names that its signature asks for."""

    template_fields = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Any,
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: dict[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(python_callable):
            msg = f"python_callable of {self.task_id!r} must be a function, not {python_callable!r}."
            raise AuthoringError(msg, "Pass the function itself, without calling it.")
        self.python_callable: Callable[..., Any] = python_callable
        self.op_args = list(op_args or ())
        self.op_kwargs = dict(op_kwargs or {})
        self.templates_dict = templates_dict
        self.template_ext = tuple(templates_exts or ())
        self.show_return_value_in_logs = show_return_value_in_logs

    def execute(self, context: Context) -> Any:
        """Call the function; its result becomes the task's XCom."""
        if self.templates_dict:
            context = context.extended(templates_dict=self.templates_dict)
        keywords = wanted_keywords(self.python_callable, self.op_args, self.op_kwargs, context)
        return self.python_callable(*self.op_args, **keywords)


def wanted_keywords(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], context: Context
) -> dict[str, Any]:
    """`kwargs`, and from the context what the function's parameters name (with ``**kwargs``: everything)."""
    from inspect import Parameter, signature

    try:
        parameters = signature(function).parameters
    except ValueError:  # written in C and silent about its parameters
        return dict(kwargs)
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return {**_left_over(context, context, parameters, args), **kwargs}
    return {**_left_over(parameters, context, parameters, args), **kwargs}


def _left_over(
    names: Mapping[str, Any], context: Context, parameters: Mapping[str, inspect.Parameter], args: Sequence[Any]
) -> dict[str, Any]:
    positional = set(list(parameters)[: len(args)])
    closed = {name for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY}
    return {name: context[name] for name in names if name in context and name not in positional | closed}


class PythonDecoratedOperator(PythonOperator):
    """The task that calling an ``@task`` function makes."""

    @property
    def task_type(self) -> str:
        return "_PythonDecoratedOperator"  # Airflow's name, which dashboards know

    @property
    def operator_name(self) -> str:
        return "@task"


class TaskFunction:
    """A function under ``@task``: calling it inside a DAG makes a task and returns its future output."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self.function = function
        self.arguments = arguments
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        self._check_call(args, kwargs)
        arguments = dict(self.arguments)
        dag = arguments.get("dag") or current.dag()
        base = str(arguments.pop("task_id", None) or self.function.__name__)
        arguments["task_id"] = free_task_id(base, dag.task_dict if dag else {})
        operator = PythonDecoratedOperator(
            python_callable=self.function, op_args=args, op_kwargs=kwargs, doc_md=self.function.__doc__, **arguments
        )
        return operator.output

    def override(self, **arguments: Any) -> Self:
        """The same function with other task arguments."""
        return type(self)(self.function, {**self.arguments, **arguments})

    def _check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        from inspect import signature

        from engine.authoring.context import NAMES

        try:
            bound = signature(self.function).bind_partial(*args, **kwargs)
        except TypeError as error:
            raise AuthoringError(f"{self.function.__name__}(): {error}.") from error
        for name, parameter in signature(self.function).parameters.items():
            required = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if required and name not in bound.arguments and name not in NAMES:
                raise AuthoringError(f"{self.function.__name__}() misses the argument {name!r}.")

    def __getattr__(self, name: str) -> Any:
        if name in ("expand", "expand_kwargs", "partial"):
            msg = f"{self.function.__name__}.{name}(): mapped tasks are not supported yet."
            raise AuthoringError(msg, "Loop inside the task, or make the tasks in a loop in the DAG file.")
        raise AttributeError(name)


def free_task_id(task_id: str, taken: Mapping[str, Any]) -> str:
    """`task_id`, or the first of ``task_id__1``, ``task_id__2`` … that is free."""
    candidate, count = task_id, 0
    while candidate in taken:
        count += 1
        candidate = f"{task_id}__{count}"
    return candidate


class _TaskDecorator:
    """``@task`` and ``@task(retries=2)``."""

    def __call__(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        if function is None:
            return lambda function: TaskFunction(function, arguments)
        if not callable(function):
            raise AuthoringError("@task takes keyword arguments only.", "Write @task(task_id=…).")
        return TaskFunction(function, arguments)

    def python(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        """``@task.python``, another spelling of ``@task``."""
        return self(function, **arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        remedy = "Use @task, or BashOperator for a shell command."
        raise AuthoringError(f"@task.{name} is not supported yet.", remedy)


task = _TaskDecorator()
