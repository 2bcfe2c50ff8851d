"""DAG files written for Airflow find Windsock's classes, and only while they are imported or run."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import engine
from engine.authoring import airflow_names
from engine.authoring.airflow_absent import absent_module, absent_name
from engine.authoring.faults import Fault, fault_of
from engine.authoring.loader import load_file


def load(folder: Path, code: str) -> dict[str, str]:
    path = folder / "file.py"
    path.write_text(dedent(code))
    return {task.task_id: task.task_type for dag in load_file(path).dags for task in dag.tasks}


def fault(folder: Path, line: str) -> Fault:
    path = folder / "file.py"
    path.write_text(f"{line}\n")
    with pytest.raises(ImportError) as caught:
        load_file(path)
    return fault_of(caught.value, str(path))


@pytest.mark.parametrize("module", airflow_names.MODULES)
def test_every_module_offers_what_engine_offers_under_the_same_name(module: str) -> None:
    with airflow_names.importable():
        found = import_module(module)
        for name in airflow_names.MODULES[module]:
            assert getattr(found, name) is getattr(engine, name)
        assert set(airflow_names.MODULES[module]) <= set(dir(found))


@pytest.mark.parametrize(
    "imports",
    [
        """
        from airflow import DAG
        from airflow.operators.bash import BashOperator
        from airflow.operators.python import PythonOperator
        """,
        """
        try:
            from airflow.nowhere import DAG
        except ImportError:
            from airflow.sdk import DAG
        from airflow.providers.standard.operators.bash import BashOperator
        from airflow.providers.standard.operators.python import PythonOperator
        """,
    ],
    ids=["airflow 2", "airflow 3"],
)
def test_a_file_written_for_airflow_is_read_as_it_is(tmp_path: Path, imports: str) -> None:
    code = """
        with DAG("d"):
            BashOperator(task_id="a", bash_command="true") >> PythonOperator(task_id="b", python_callable=print)
        """
    assert load(tmp_path, dedent(imports) + dedent(code)) == {"a": "BashOperator", "b": "PythonOperator"}


def test_the_names_are_gone_when_the_file_is_read(tmp_path: Path) -> None:
    load(tmp_path, "import airflow.operators.bash")
    assert not [name for name in sys.modules if name.partition(".")[0] == "airflow"]
    with pytest.raises(ModuleNotFoundError):
        import_module("airflow.operators.bash")


def test_an_airflow_that_is_installed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ModuleType("airflow")
    monkeypatch.setitem(sys.modules, "airflow", real)
    with airflow_names.importable():
        assert import_module("airflow").DAG is engine.DAG
    assert import_module("airflow") is real


def test_a_name_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    found = fault(tmp_path, "from airflow.operators.python import PythonOperatr")
    assert found.summary == "Line 1: airflow.operators.python has no 'PythonOperatr' here."
    assert found.remedy.startswith("It offers PythonOperator,")
    assert found.remedy.endswith("Did you mean 'PythonOperator'?")


def test_a_module_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    found = fault(tmp_path, "from airflow.operators.bsh import BashOperator")
    assert found.summary == "Line 1: Windsock has nothing in place of Airflow's module 'airflow.operators.bsh'."
    assert found.remedy == "Did you mean 'airflow.operators.bash'? docs/authoring.md lists what there is."


def test_a_provider_that_is_not_there_is_told_with_where_to_look(tmp_path: Path) -> None:
    found = fault(tmp_path, "from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator")
    assert found.summary == "Line 1: Windsock has nothing in place of Airflow's module 'airflow.providers.cncf'."
    assert found.remedy.endswith("docs/authoring.md lists what there is.")


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        ("from airflow.sdk import Asset", "assets and datasets are not supported yet.", "TriggerDagRunOperator"),
        ("from airflow import Dataset", "assets and datasets are not supported yet.", "TriggerDagRunOperator"),
        ("from airflow.datasets import Dataset", "assets and datasets are not supported yet.", "TriggerDagRunOperator"),
        ("from airflow.sdk import setup", "setup and teardown tasks are not supported yet.", "all_done"),
        ("from airflow.decorators import teardown", "setup and teardown tasks are not supported yet.", "all_done"),
        ("from airflow.sdk import task_group", "task groups are not supported yet.", "prefix"),
        ("from airflow.utils.task_group import TaskGroup", "task groups are not supported yet.", "prefix"),
        ("from airflow.models import Variable", "variables are not supported yet.", "environment variable"),
        ("from airflow.hooks.base import BaseHook", "connections and hooks are not supported yet.", "client library"),
        ("from airflow.timetables.interval import X", "timetables are not supported yet.", "schedule='0 3 * * *'"),
        (
            "from airflow.sensors.date_time import DateTimeSensorAsync",
            "deferrable operators are not supported yet.",
            "mode='reschedule'",
        ),
        (
            "from airflow.providers.standard.sensors.time import TimeSensorAsync",
            "deferrable operators are not supported yet.",
            "mode='reschedule'",
        ),
        ("from airflow.triggers.base import X", "deferrable operators are not supported yet.", "mode='reschedule'"),
        ("from airflow.utils.dates import days_ago", "days_ago() and its like are not there.", "datetime(2026, 1, 1)"),
        ("from airflow.models.baseoperatorlink import X", "links and plugins are not supported yet.", "Remove them"),
        ("from airflow.utils import timezone", "time zone functions are not there.", "tzinfo=UTC"),
        ("from engine import Asset", "assets and datasets are not supported yet.", "TriggerDagRunOperator"),
    ],
    ids=lambda given: given if given.startswith("from") else "",
)
def test_what_airflow_has_and_windsock_has_not_is_refused_with_what_to_write_instead(
    tmp_path: Path, line: str, what: str, remedy: str
) -> None:
    found = fault(tmp_path, line)
    assert found.summary.endswith(what)
    assert remedy in found.remedy
    assert "Did you mean" not in found.remedy
    assert "It offers" not in found.remedy


def test_a_name_that_is_looked_up_in_an_imported_module_is_refused_likewise(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("from airflow import sdk\nsdk.Asset('a')\n")
    with pytest.raises(AttributeError) as caught:
        load_file(path)
    found = fault_of(caught.value, str(path))
    assert found.summary == "Line 2: airflow.sdk has no 'Asset' here: assets and datasets are not supported yet."


@pytest.mark.parametrize(
    "line",
    [
        "from airflow.utils.log import X",
        "from airflow.security import X",
        "from airflow.providers.sftp.operators.sftp import X",
        "from airflow.operators.generic_transfer import X",
        "from airflow.models import BaseHok",
    ],
)
def test_of_a_module_or_name_that_is_like_none_no_other_is_guessed(tmp_path: Path, line: str) -> None:
    found = fault(tmp_path, line)
    assert "Did you mean" not in found.remedy


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("from airflow.operator.bash import BashOperator", "airflow.operators"),
        ("from airflow.providers.standrd.operators.bash import BashOperator", "airflow.providers.standard"),
        ("from airflow.sensors.weekdays import DayOfWeekSensor", "airflow.sensors.weekday"),
    ],
)
def test_a_slip_in_the_name_of_a_module_is_told_with_what_was_meant(tmp_path: Path, line: str, meant: str) -> None:
    assert f"Did you mean {meant!r}?" in fault(tmp_path, line).remedy


def test_nothing_is_called_absent_that_is_there() -> None:
    for module, names in airflow_names.MODULES.items():
        assert absent_module(module) is None
        assert [name for name in names if absent_name(module, name)] == []
