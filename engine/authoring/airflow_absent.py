"""What DAG files import from Airflow that is not there on purpose, and what to write instead.

Only what people meet is listed, under the names that Airflow 2 and 3 have for it. A name that stands here is never
taken for a slip of the pen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Absent(NamedTuple):
    """`what` is not there, as the end of a sentence; `remedy` is one sentence."""

    what: str
    remedy: str


_ASSETS: Final = Absent(
    "assets and datasets are not supported yet",
    "Schedule the DAG by time, or let the DAG that makes the data start it with TriggerDagRunOperator.",
)
_CONFIGURATION: Final = Absent(
    "Airflow's settings are not there", "Read an environment variable, or give the value as a param."
)
_CONNECTIONS: Final = Absent(
    "connections and hooks are not supported yet",
    "Call the client library itself in a task, with what it needs from an environment variable.",
)
DEFERRING: Final = Absent(
    "deferrable operators are not supported yet",
    "Take a sensor with mode='reschedule': it holds no slot between two looks.",
)
_EMAIL: Final = Absent(
    "the EmailOperator is not there", "Set email_on_failure, or use alerting.notify in a callback: docs/alerting.md."
)
_GROUPS: Final = Absent(
    "task groups are not supported yet", "Make the tasks in the DAG itself, with a prefix in each task_id."
)
_INTERNALS: Final = Absent(
    "Airflow's own tables and internals are not there", "Use what a task's context has: ti, dag_run, params and more."
)
_INTERPRETERS: Final = Absent(
    "tasks with a Python of their own are not supported yet",
    "Let a BashOperator call that Python: bash_command='/opt/venv/bin/python script.py'.",
)
_LABELS: Final = Absent(
    "labels, links and plugins are not supported yet", "Remove them: they change nothing that runs."
)
_MACROS: Final = Absent(
    "macros cannot be imported", "Use them in a template: {{ macros.ds_add(ds, 1) }}. In a task, use datetime."
)
_NOTIFIERS: Final = Absent(
    "notifiers are not supported yet", "Use alerting.notify as the callback: docs/alerting.md tells how."
)
_SETUPS: Final = Absent(
    "setup and teardown tasks are not supported yet",
    "Draw the arrows, and give the last task trigger_rule='all_done'.",
)
_STATES: Final = Absent("Airflow's classes of states are not there", "Write the state as a string: 'success'.")
_STORAGE: Final = Absent("object storage is not supported yet", "Use fsspec, or the storage's own client, in a task.")
_TIMETABLES: Final = Absent(
    "timetables are not supported yet", "Write a cron expression, a preset or a timedelta: schedule='0 3 * * *'."
)
_TIMEZONE: Final = Absent(
    "Airflow's time zone functions are not there",
    "Write datetime(2026, 1, 1, tzinfo=UTC), from datetime import UTC, datetime.",
)
_VARIABLES: Final = Absent("variables are not supported yet", "Use params, env or an environment variable.")
_XCOM: Final = Absent("the class XCom is not there", "Use ti.xcom_push() and ti.xcom_pull() in a task.")

_NAMES: Final[Mapping[str, Absent]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "Asset",
                "AssetAlias",
                "AssetAll",
                "AssetAny",
                "AssetOrTimeSchedule",
                "AssetWatcher",
                "Dataset",
                "DatasetAlias",
                "DatasetAll",
                "DatasetAny",
                "DatasetOrTimeSchedule",
                "Metadata",
                "asset",
            ),
            _ASSETS,
        ),
        **dict.fromkeys(("BaseTrigger", "TaskDeferred", "TriggerEvent"), DEFERRING),
        **dict.fromkeys(("SubDagOperator", "TaskGroup", "task_group"), _GROUPS),
        **dict.fromkeys(("setup", "teardown"), _SETUPS),
        **dict.fromkeys(
            (
                "BranchExternalPythonOperator",
                "BranchPythonVirtualenvOperator",
                "ExternalPythonOperator",
                "PythonVirtualenvOperator",
            ),
            _INTERPRETERS,
        ),
        **dict.fromkeys(("BaseOperatorLink", "EdgeModifier", "Label"), _LABELS),
        **dict.fromkeys(("DagBag", "DagModel", "DagRun", "TaskInstance", "settings"), _INTERNALS),
        "Connection": _CONNECTIONS,
        "EmailOperator": _EMAIL,
        "ObjectStoragePath": _STORAGE,
        "Variable": _VARIABLES,
        "XCom": _XCOM,
        "conf": _CONFIGURATION,
        "macros": _MACROS,
        "timezone": _TIMEZONE,
    }
)
_ENDINGS: Final[Mapping[str, Absent]] = MappingProxyType(
    {
        "Async": DEFERRING,
        "Hook": _CONNECTIONS,
        "Notifier": _NOTIFIERS,
        "Timetable": _TIMETABLES,
        "Trigger": DEFERRING,
    }
)
_DAYS_AGO: Final = Absent(
    "days_ago() and its like are not there",
    "Write a date that stays as it is: start_date=datetime(2026, 1, 1), from datetime import datetime.",
)
_HELPERS: Final = Absent(
    "Airflow's helpers are not there", "chain and cross_downstream come from airflow.models.baseoperator."
)


def _moved(name: str) -> Absent:
    return Absent("that is its old name", f"Import from {name}.")


_MODULES: Final[Mapping[str, Absent]] = MappingProxyType(
    {
        "airflow.assets": _ASSETS,
        "airflow.configuration": _CONFIGURATION,
        "airflow.datasets": _ASSETS,
        "airflow.hooks": _CONNECTIONS,
        "airflow.io": _STORAGE,
        "airflow.macros": _MACROS,
        "airflow.models.baseoperatorlink": _LABELS,
        "airflow.models.connection": _CONNECTIONS,
        "airflow.models.dagbag": _INTERNALS,
        "airflow.models.dagrun": _INTERNALS,
        "airflow.models.taskinstance": _INTERNALS,
        "airflow.models.variable": _VARIABLES,
        "airflow.models.xcom": _XCOM,
        "airflow.notifications": _NOTIFIERS,
        "airflow.operators.bash_operator": _moved("airflow.operators.bash"),
        "airflow.operators.dummy": _moved("airflow.operators.empty, and write EmptyOperator"),
        "airflow.operators.dummy_operator": _moved("airflow.operators.empty, and write EmptyOperator"),
        "airflow.operators.email": _EMAIL,
        "airflow.operators.python_operator": _moved("airflow.operators.python"),
        "airflow.operators.subdag": _GROUPS,
        "airflow.plugins_manager": _LABELS,
        "airflow.providers.standard.hooks": _CONNECTIONS,
        "airflow.providers.standard.triggers": DEFERRING,
        "airflow.sdk.bases.hook": _CONNECTIONS,
        "airflow.sdk.bases.notifier": _NOTIFIERS,
        "airflow.sdk.bases.operatorlink": _LABELS,
        "airflow.sdk.definitions.asset": _ASSETS,
        "airflow.sdk.definitions.connection": _CONNECTIONS,
        "airflow.sdk.definitions.edges": _LABELS,
        "airflow.sdk.definitions.taskgroup": _GROUPS,
        "airflow.sdk.definitions.variable": _VARIABLES,
        "airflow.secrets": _CONNECTIONS,
        "airflow.sensors.base_sensor_operator": _moved("airflow.sensors.base"),
        "airflow.settings": _INTERNALS,
        "airflow.timetables": _TIMETABLES,
        "airflow.triggers": DEFERRING,
        "airflow.utils.dates": _DAYS_AGO,
        "airflow.utils.db": _INTERNALS,
        "airflow.utils.edgemodifier": _LABELS,
        "airflow.utils.email": _EMAIL,
        "airflow.utils.helpers": _HELPERS,
        "airflow.utils.session": _INTERNALS,
        "airflow.utils.state": _STATES,
        "airflow.utils.task_group": _GROUPS,
        "airflow.utils.timezone": _TIMEZONE,
    }
)


def absent_module(name: str) -> Absent | None:
    """What a module of Airflow stands for that is not there; None for one of which nothing is known."""
    return _MODULES.get(name)


def absent_name(module: str, name: str) -> Absent | None:
    """What a name that is imported from `module` stands for; None where nothing is known of it."""
    if found := _MODULES.get(f"{module}.{name}") or _NAMES.get(name):
        return found
    return next((absent for ending, absent in _ENDINGS.items() if name.endswith(ending)), None)
