"""Operators as a DAG file writes them. Their stored names, and the labels of metrics, are those that Airflow gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_AS_WRITTEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "_PythonDecoratedOperator": "@task",
        "_BranchPythonDecoratedOperator": "@task.branch",
        "_ShortCircuitDecoratedOperator": "@task.short_circuit",
        "DecoratedSensorOperator": "@task.sensor",
    }
)


def as_written(operator: str) -> str:
    """``@task`` for ``_PythonDecoratedOperator``; a class's own name is what a file writes."""
    return _AS_WRITTEN.get(operator, operator)
