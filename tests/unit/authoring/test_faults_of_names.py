"""What an author is told who knows Airflow better than the names here."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.authoring.faults import Fault, fault_of
from engine.authoring.loader import load_file
from engine.parsing.folder import looks_like_dag_file


def fault(tmp_path: Path, source: str) -> Fault:
    path = tmp_path / "d.py"
    path.write_text(source)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the file raises
        load_file(path)
    return fault_of(caught.value, str(path))


def test_a_name_that_engine_offers_and_nobody_imported_is_told_with_its_import(tmp_path: Path) -> None:
    found = fault(tmp_path, "from engine import DAG\nBashOperator(task_id='a')\n")
    assert found.summary == "Line 2: NameError: name 'BashOperator' is not defined."
    assert found.remedy == "Add to the imports: from engine import BashOperator."


def test_a_slip_in_a_name_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    found = fault(tmp_path, "from engine import BashOperatr\n")
    assert found.summary == "Line 1: engine has no 'BashOperatr' to import."
    assert found.remedy.endswith("Did you mean 'BashOperator'?")


def test_a_module_that_engine_lacks_is_told_with_what_to_import_instead(tmp_path: Path) -> None:
    found = fault(tmp_path, "from engine.operators.bash import BashOperator\n")
    assert found.line == 1
    assert found.remedy.startswith("Import from engine itself: from engine import DAG, BashOperator.")


def test_a_file_written_for_airflow_is_worth_a_look() -> None:
    assert looks_like_dag_file(b"from airflow import DAG\n")
    assert not looks_like_dag_file(b"import airflow_nothing\n")
    assert not looks_like_dag_file(b"a dag without a source\n")


RAISED = (
    "ImportError(name='engine')",
    "ImportError(OSError('engine'), name='engine')",
    "ImportError('not here', name='engine')",
    "ImportError(name='airflow.models')",
    "ImportError(OSError('airflow'), name='airflow.models')",
    "ImportError(name=7)",
    "ModuleNotFoundError(name=7)",
    "SyntaxError('bad', (7, 1, 1, 'text'))",
)


@pytest.mark.parametrize("error", RAISED)
def test_an_error_that_the_file_made_itself_is_told_by_its_line(tmp_path: Path, error: str) -> None:
    found = fault(tmp_path, f"raise {error}\n")
    assert found.line == 1
    assert error.partition("(")[0] in found.summary
    assert found.remedy
