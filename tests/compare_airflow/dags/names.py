"""What the DAG files of the comparison import, from Airflow 3, Airflow 2 or Windsock (engine), whichever is there."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
_SCRATCH = Path(__file__).resolve().parent.parent / "scratch"
_HOMES = {
    "DAG": ("airflow.sdk", "airflow"),
    "Param": ("airflow.sdk", "airflow.models.param"),
    "AirflowFailException": ("airflow.exceptions",),
    "AirflowSkipException": ("airflow.exceptions",),
    "BashOperator": ("airflow.providers.standard.operators.bash", "airflow.operators.bash"),
    "BranchPythonOperator": ("airflow.providers.standard.operators.python", "airflow.operators.python"),
    "EmptyOperator": ("airflow.providers.standard.operators.empty", "airflow.operators.empty"),
    "LatestOnlyOperator": ("airflow.providers.standard.operators.latest_only", "airflow.operators.latest_only"),
    "PythonOperator": ("airflow.providers.standard.operators.python", "airflow.operators.python"),
    "PythonSensor": ("airflow.providers.standard.sensors.python", "airflow.sensors.python"),
    "ShortCircuitOperator": ("airflow.providers.standard.operators.python", "airflow.operators.python"),
    "TriggerDagRunOperator": (
        "airflow.providers.standard.operators.trigger_dagrun",
        "airflow.operators.trigger_dagrun",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    for home in (*_HOMES[name], "engine"):
        try:
            return getattr(import_module(home), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"neither Airflow nor Windsock has {name}")


def tell(dag_id: str, line: str) -> None:
    """Append a line to what the comparison reads of this DAG; whole, from whichever process."""
    _SCRATCH.mkdir(exist_ok=True)
    with (_SCRATCH / f"{dag_id}.lines").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def counted(name: str) -> int:
    """How often this was called with this name, in whichever process; the first call answers 1."""
    tell(f".{name}", "x")
    return len((_SCRATCH / f".{name}.lines").read_text(encoding="utf-8").splitlines())


def combinations(rule: str) -> None:
    """Parents that succeed, fail, skip or are upstream_failed, and a child with this trigger rule for each mixture."""
    bash, empty = __getattr__("BashOperator"), __getattr__("EmptyOperator")
    parents = {
        "s": empty(task_id="s"),
        "f": bash(task_id="f", bash_command="exit 1"),
        "k": bash(task_id="k", bash_command="exit 99"),
        "u": empty(task_id="u"),
    }
    parents["f"] >> parents["u"]
    for mixture in ("s", "f", "k", "u", "sf", "sk", "fk", "su", "ku", "sfku"):
        child = empty(task_id=f"after_{mixture}", trigger_rule=rule)
        for letter in mixture:
            parents[letter] >> child
