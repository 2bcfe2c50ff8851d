"""Windsock's orchestrator core, and what a DAG file imports from it.

``from engine import DAG, BashOperator, task``: the names are resolved on first use (PEP 562), so that
``import engine.config`` does not pay for authoring, nor a DAG file for anything but authoring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.authoring.bash import BashOperator
    from engine.authoring.context import Context, get_current_context
    from engine.authoring.dag import DAG, dag
    from engine.authoring.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowSkipException,
        SkipTask,
    )
    from engine.authoring.operator import BaseOperator, chain
    from engine.authoring.python import EmptyOperator, PythonOperator, task
    from engine.authoring.serialized import TriggerRule
    from engine.authoring.xcom_arg import XComArg

__all__ = [
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "BaseOperator",
    "BashOperator",
    "Context",
    "EmptyOperator",
    "PythonOperator",
    "SkipTask",
    "TriggerRule",
    "XComArg",
    "chain",
    "dag",
    "get_current_context",
    "task",
]

_HOMES = {
    "DAG": "dag",
    "AirflowException": "exceptions",
    "AirflowFailException": "exceptions",
    "AirflowSkipException": "exceptions",
    "BaseOperator": "operator",
    "BashOperator": "bash",
    "Context": "context",
    "EmptyOperator": "python",
    "PythonOperator": "python",
    "SkipTask": "exceptions",
    "TriggerRule": "serialized",
    "XComArg": "xcom_arg",
    "chain": "operator",
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
