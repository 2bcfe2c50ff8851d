"""PythonOperator, ``@task`` and EmptyOperator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Self

from engine.authoring import current
from engine.authoring.absent_names import PAST_SUCCESSES, instead_of
from engine.authoring.exceptions import AirflowException, AuthoringError
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


class CallingOperator(BaseOperator):
    """What calls a function with `op_args` and `op_kwargs`, and those context names that its signature asks for."""

    template_fields = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Any,
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: dict[str, Any] | None = None,
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

    def call(self, context: Context) -> Any:
        """What the function returns."""
        if self.templates_dict:
            context = context.extended(templates_dict=self.templates_dict)
        keywords = wanted_keywords(self.python_callable, self.op_args, self.op_kwargs, context)
        return self.python_callable(*self.op_args, **keywords)


class PythonOperator(CallingOperator):
    """Calls a function in a process of its own."""

    def __init__(
        self,
        *,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.template_ext = tuple(templates_exts or ())
        self.show_return_value_in_logs = show_return_value_in_logs

    def execute(self, context: Context) -> Any:
        """Call the function; its result becomes the task's XCom."""
        return self.call(context)


def wanted_keywords(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], context: Context
) -> dict[str, Any]:
    """`kwargs`, and from the context what the function's parameters name (with ``**kwargs``: everything)."""
    from inspect import Parameter, signature

    try:
        parameters = signature(function).parameters
    except ValueError:  # written in C and silent about its parameters
        return dict(kwargs)
    _refuse_the_past(function, parameters.keys() - kwargs.keys() - set(list(parameters)[: len(args)]))
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return {**_left_over(context, context, parameters, args), **kwargs}
    return {**_left_over(parameters, context, parameters, args), **kwargs}


def _refuse_the_past(function: Callable[..., Any], asked: Iterable[str]) -> None:
    for name in sorted(set(PAST_SUCCESSES).intersection(asked)):
        raise AuthoringError(f"{_name(function)}() asks for {name}, which is not there.", instead_of(name, ()))


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", function))


def _left_over(
    names: Mapping[str, Any], context: Context, parameters: Mapping[str, inspect.Parameter], args: Sequence[Any]
) -> dict[str, Any]:
    positional = set(list(parameters)[: len(args)])
    closed = {name for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY}
    return {name: context[name] for name in names if name in context and name not in positional | closed}


class PythonDecoratedOperator(PythonOperator):
    """The task that calling an ``@task`` function makes.

    With `multiple_outputs`, or a return annotation that is a dict, each item of the result is an XCom of its own too.
    """

    def __init__(self, *, multiple_outputs: bool | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inferred = multiple_outputs is None and returns_dict(self.python_callable)
        self.multiple_outputs = inferred or bool(multiple_outputs)

    @property
    def task_type(self) -> str:
        return "_PythonDecoratedOperator"  # Airflow's name, which dashboards know

    @property
    def operator_name(self) -> str:
        return "@task"

    def execute(self, context: Context) -> Any:
        """Call the function, and push the items of its result where that was asked for."""
        result = super().execute(context)
        if self.multiple_outputs and self.do_xcom_push:
            push_items(context, self.task_id, result)
        return result


def push_items(context: Context, task_id: str, result: object) -> None:
    """Each item of a dict as an XCom of its own; raises AirflowException for anything else."""
    if not isinstance(result, Mapping) or not all(isinstance(key, str) for key in result):
        what = "keys that are no strings" if isinstance(result, Mapping) else type(result).__name__
        raise AirflowException(
            f"{task_id} has multiple_outputs, so it must return a dict with strings as keys, not {what}. "
            "Return one, or set multiple_outputs=False."
        )
    for key, value in result.items():
        context["ti"].xcom_push(key, value)


def returns_dict(function: Callable[..., Any]) -> bool:
    """Whether the return annotation says dict, as in Airflow; one that cannot be resolved says nothing."""
    if "return" not in getattr(function, "__annotations__", {}):
        return False
    from typing import get_origin, get_type_hints

    try:
        told = get_type_hints(function).get("return")
    except Exception:  # names of `if TYPE_CHECKING:` blocks
        return False
    kind = get_origin(told) or told
    return isinstance(kind, type) and issubclass(kind, Mapping)


class TaskFunction:
    """A function under ``@task``: calling it inside a DAG makes a task and returns its future output."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any], kind: str = "python") -> None:
        self.function = function
        self.arguments = arguments
        self.kind = kind
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        self._check_call(args, kwargs)
        arguments = dict(self.arguments)
        dag = arguments.get("dag") or current.dag()
        base = str(arguments.pop("task_id", None) or self.function.__name__)
        arguments["task_id"] = free_task_id(base, dag.task_dict if dag else {})
        operator = _operator_class(self.kind)(
            python_callable=self.function, op_args=args, op_kwargs=kwargs, doc_md=self.function.__doc__, **arguments
        )
        return operator.output

    def override(self, **arguments: Any) -> Self:
        """The same function with other task arguments."""
        return type(self)(self.function, {**self.arguments, **arguments}, self.kind)

    def _check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        from inspect import signature

        from engine.authoring.context import NAMES

        try:
            bound = signature(self.function).bind_partial(*args, **kwargs)
        except TypeError as error:
            parameters = f"{self.function.__name__}{signature(self.function)}"
            msg = f"{self.function.__name__}(): {error}."
            raise AuthoringError(msg, f"Call it as it is defined: {parameters}.") from error
        for name, parameter in signature(self.function).parameters.items():
            required = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if required and name not in bound.arguments and name not in NAMES:
                call = f"Call {self.function.__name__}({name}=…), or give it a default."
                hint = instead_of(name, ()) if name in PAST_SUCCESSES else call
                raise AuthoringError(f"{self.function.__name__}() misses the argument {name!r}.", hint)

    def __getattr__(self, name: str) -> Any:
        if name in ("expand", "expand_kwargs", "partial"):
            msg = f"{self.function.__name__}.{name}(): mapped tasks are not supported yet."
            raise AuthoringError(msg, "Loop inside the task, or make the tasks in a loop in the DAG file.")
        raise AttributeError(name)


def _operator_class(kind: str) -> type[BaseOperator]:
    if kind == "python":
        return PythonDecoratedOperator
    from engine.authoring.decorated import DECORATED

    return DECORATED[kind]


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
        return _decorated("python", function, arguments)

    def python(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        """``@task.python``, another spelling of ``@task``."""
        return self(function, **arguments)

    def branch(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        """``@task.branch``: what the function returns is followed, the rest behind it is skipped."""
        return _decorated("branch", function, arguments)

    def short_circuit(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        """``@task.short_circuit``: a false result skips what is behind it."""
        return _decorated("short_circuit", function, arguments)

    def sensor(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        """``@task.sensor``: the function is called until it returns something true."""
        return _decorated("sensor", function, arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        remedy = "There are @task, @task.branch, @task.short_circuit, @task.sensor; BashOperator runs a shell command."
        raise AuthoringError(f"@task.{name} is not supported yet.", remedy)


def _decorated(kind: str, function: Callable[..., Any] | None, arguments: Mapping[str, Any]) -> Any:
    if function is None:
        return lambda function: TaskFunction(function, arguments, kind)
    if not callable(function):
        raise AuthoringError("@task takes keyword arguments only.", "Write @task(task_id=…).")
    return TaskFunction(function, arguments, kind)


task = _TaskDecorator()
