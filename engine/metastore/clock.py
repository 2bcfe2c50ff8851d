"""The database's clock as a column, so that the first statement of a transaction may tell the time as well."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from alerting.tables import UtcDateTime


class Clock(FunctionElement[datetime]):
    """When the statement began. NULL on SQLite, whose clock is this machine's and costs no statement."""

    name = "clock"
    type = UtcDateTime()
    inherit_cache = True


@compiles(Clock)
def _nowhere(_element: Clock, _compiler: SQLCompiler, **_more: Any) -> str:
    return "NULL"


@compiles(Clock, "postgresql")
def _of_postgresql(_element: Clock, _compiler: SQLCompiler, **_more: Any) -> str:
    return "statement_timestamp()"


@compiles(Clock, "mysql")
def _of_mysql(_element: Clock, _compiler: SQLCompiler, **_more: Any) -> str:
    return "UTC_TIMESTAMP(6)"
