"""What ``@task.branch``, ``@task.short_circuit`` and ``@task.sensor`` make; imported when one of them is used."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from engine.authoring.branching import BranchPythonOperator, ShortCircuitOperator
from engine.authoring.operator import BaseOperator
from engine.authoring.standard_sensors import PythonSensor


class BranchDecoratedOperator(BranchPythonOperator):
    """``@task.branch``."""

    @property
    def task_type(self) -> str:
        return "_BranchPythonDecoratedOperator"  # Airflow's name, which dashboards know


class ShortCircuitDecoratedOperator(ShortCircuitOperator):
    """``@task.short_circuit``."""

    @property
    def task_type(self) -> str:
        return "_ShortCircuitDecoratedOperator"  # Airflow's name, which dashboards know


class DecoratedSensorOperator(PythonSensor):
    """``@task.sensor``."""


DECORATED: Final[Mapping[str, type[BaseOperator]]] = MappingProxyType(
    {
        "branch": BranchDecoratedOperator,
        "short_circuit": ShortCircuitDecoratedOperator,
        "sensor": DecoratedSensorOperator,
    }
)
