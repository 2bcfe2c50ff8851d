"""``column IN (…)`` for the statements of every turn.

PostgreSQL gets the list as one array, so that the statement's text is the same for a list of any length: it is
compiled, parsed and prepared once. The others have no arrays; there it is an IN with as many parameters as elements.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, BindParameter, Boolean, ColumnElement, String, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class OneOf(FunctionElement[bool]):
    """True where a column is an element of the list that the statement is executed with under this name."""

    name = "one_of"
    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], listed: str) -> None:
        super().__init__(column, bindparam(listed, expanding=True, type_=column.type))

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """A condition as it is: SQLite, which has no booleans, would compare it with 1."""
        return self


def one_of(column: Any, listed: str) -> ColumnElement[bool]:
    """`column` is an element of the list parameter `listed`."""
    return OneOf(column, listed)


def array_of(element: TypeEngine[Any]) -> ARRAY[Any]:
    """PostgreSQL's type for a list parameter. Texts have no length in it, since a cast to one cuts them off."""
    kind = element.impl_instance if isinstance(element, TypeDecorator) else element
    return ARRAY(String() if isinstance(kind, String) else element)


@compiles(OneOf)
def _as_list(element: OneOf, compiler: SQLCompiler, **more: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **more)} IN {compiler.process(values, **more)}"


@compiles(OneOf, "postgresql")
def _as_array(element: OneOf, compiler: SQLCompiler, **more: Any) -> str:
    column, values = element.clauses
    array: BindParameter[Any] = bindparam(values.key, type_=array_of(column.type))
    return f"{compiler.process(column, **more)} = ANY ({compiler.process(array, **more)})"
