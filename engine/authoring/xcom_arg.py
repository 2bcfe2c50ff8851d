"""``a >> b``, and a task's output as another task's argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from engine.authoring.exceptions import AuthoringError

if TYPE_CHECKING:
    from engine.authoring.context import Context
    from engine.authoring.operator import BaseOperator

Arrow = TypeVar("Arrow", bound="Dependencies | Iterable[Dependencies]")

RETURN_VALUE = "return_value"


class Dependencies(ABC):
    """What arrows can be drawn between: a task, or a task's output."""

    @abstractmethod
    def tasks(self) -> list[BaseOperator]:
        """The tasks at this end of an arrow."""

    def set_upstream(self, other: Dependencies | Iterable[Dependencies]) -> None:
        _connect_all(_tasks_of(other), self.tasks())

    def set_downstream(self, other: Dependencies | Iterable[Dependencies]) -> None:
        _connect_all(self.tasks(), _tasks_of(other))

    def __rshift__(self, other: Arrow) -> Arrow:
        self.set_downstream(other)
        return other

    def __lshift__(self, other: Arrow) -> Arrow:
        self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Self:
        self.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Self:
        self.set_downstream(other)
        return self


class XComArg(Dependencies):
    """A value that `operator` will have left under `key` by the time that it is needed."""

    def __init__(self, operator: BaseOperator, key: str = RETURN_VALUE) -> None:
        self.operator = operator
        self.key = key

    def __getitem__(self, key: str) -> XComArg:
        if not isinstance(key, str):
            raise AuthoringError(
                f"The output of {self.operator.task_id!r} cannot be indexed by {key!r} in a DAG file.",
                "Take the key of one of several outputs, a string; or take the item inside a task.",
            )
        return XComArg(self.operator, key)

    def __iter__(self) -> Iterator[Any]:
        msg = f"The output of {self.operator.task_id!r} is not known while the DAG file is read."
        raise AuthoringError(msg, "Loop over it inside a task.")

    def __str__(self) -> str:
        """A template for string fields; unlike the object itself it draws no arrow."""
        return f"{{{{ ti.xcom_pull(task_ids={self.operator.task_id!r}, key={self.key!r}) }}}}"

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, key={self.key!r})"

    def tasks(self) -> list[BaseOperator]:
        return [self.operator]

    def resolve(self, context: Context) -> Any:
        """The value in the run of `context`; None where the task left none."""
        return context["ti"].xcom_pull(task_ids=self.operator.task_id, key=self.key)


def references(value: object) -> Iterator[XComArg]:
    """The XCom arguments inside a value, through lists, tuples, sets and dicts."""
    if isinstance(value, XComArg):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from references(item)


def _tasks_of(other: object) -> list[BaseOperator]:
    if isinstance(other, Dependencies):
        return other.tasks()
    if isinstance(other, (list, tuple, set, frozenset)):
        return [task for item in other for task in _tasks_of(item)]
    msg = f"A task can only depend on tasks, not on {other!r}."
    raise AuthoringError(msg, "Write task >> task or task >> [task, task].")


def _connect_all(upstream: list[BaseOperator], downstream: list[BaseOperator]) -> None:
    from engine.authoring.operator import connect

    for one in upstream:
        for other in downstream:
            connect(one, other)
