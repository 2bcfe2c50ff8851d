"""Windsock's orchestrator core, and what a DAG file imports from it.

``from engine import DAG, BashOperator, task``: the names are resolved on first use (PEP 562), so that
``import engine.config`` does not pay for authoring, nor a DAG file for anything but authoring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.authoring.bash import BashOperator
    from engine.authoring.branching import (
        BaseBranchOperator,
        BranchDateTimeOperator,
        BranchDayOfWeekOperator,
        BranchPythonOperator,
        LatestOnlyOperator,
        ShortCircuitOperator,
    )
    from engine.authoring.context import Context, get_current_context
    from engine.authoring.dag import DAG, dag
    from engine.authoring.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        SkipTask,
    )
    from engine.authoring.operator import BaseOperator, chain, cross_downstream
    from engine.authoring.params import Param, ParamValidationError
    from engine.authoring.promises import AsyncCallback, DeadlineAlert, DeadlineReference, SyncCallback
    from engine.authoring.python import EmptyOperator, PythonOperator, task
    from engine.authoring.sensors import BaseSensorOperator, PokeReturnValue
    from engine.authoring.serialized import TriggerRule
    from engine.authoring.standard_sensors import (
        BashSensor,
        DateTimeSensor,
        DayOfWeekSensor,
        FileSensor,
        PythonSensor,
        TimeDeltaSensor,
        TimeSensor,
    )
    from engine.authoring.triggering import ExternalTaskSensor, TriggerDagRunOperator
    from engine.authoring.weekdays import WeekDay
    from engine.authoring.xcom_arg import XComArg

__all__ = [
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AsyncCallback",
    "BaseBranchOperator",
    "BaseOperator",
    "BaseSensorOperator",
    "BashOperator",
    "BashSensor",
    "BranchDateTimeOperator",
    "BranchDayOfWeekOperator",
    "BranchPythonOperator",
    "Context",
    "DateTimeSensor",
    "DayOfWeekSensor",
    "DeadlineAlert",
    "DeadlineReference",
    "EmptyOperator",
    "ExternalTaskSensor",
    "FileSensor",
    "LatestOnlyOperator",
    "Param",
    "ParamValidationError",
    "PokeReturnValue",
    "PythonOperator",
    "PythonSensor",
    "ShortCircuitOperator",
    "SkipTask",
    "SyncCallback",
    "TimeDeltaSensor",
    "TimeSensor",
    "TriggerDagRunOperator",
    "TriggerRule",
    "WeekDay",
    "XComArg",
    "chain",
    "cross_downstream",
    "dag",
    "get_current_context",
    "task",
]

_HOMES = {
    "AirflowException": "exceptions",
    "AirflowFailException": "exceptions",
    "AirflowRescheduleException": "exceptions",
    "AirflowSensorTimeout": "exceptions",
    "AirflowSkipException": "exceptions",
    "AsyncCallback": "promises",
    "BaseBranchOperator": "branching",
    "BaseOperator": "operator",
    "BaseSensorOperator": "sensors",
    "BashOperator": "bash",
    "BashSensor": "standard_sensors",
    "BranchDateTimeOperator": "branching",
    "BranchDayOfWeekOperator": "branching",
    "BranchPythonOperator": "branching",
    "Context": "context",
    "DAG": "dag",
    "DateTimeSensor": "standard_sensors",
    "DayOfWeekSensor": "standard_sensors",
    "DeadlineAlert": "promises",
    "DeadlineReference": "promises",
    "EmptyOperator": "python",
    "ExternalTaskSensor": "triggering",
    "FileSensor": "standard_sensors",
    "LatestOnlyOperator": "branching",
    "Param": "params",
    "ParamValidationError": "params",
    "PokeReturnValue": "sensors",
    "PythonOperator": "python",
    "PythonSensor": "standard_sensors",
    "ShortCircuitOperator": "branching",
    "SkipTask": "exceptions",
    "SyncCallback": "promises",
    "TimeDeltaSensor": "standard_sensors",
    "TimeSensor": "standard_sensors",
    "TriggerDagRunOperator": "triggering",
    "TriggerRule": "serialized",
    "WeekDay": "weekdays",
    "XComArg": "xcom_arg",
    "chain": "operator",
    "cross_downstream": "operator",
    "dag": "dag",
    "get_current_context": "context",
    "task": "python",
}


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        from engine.authoring.suggest import did_you_mean

        msg = f"engine has no {name!r} to import.{did_you_mean(name, __all__)}"
        raise AttributeError(msg)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"engine.authoring.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
