"""What an author reads of an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.authoring.attempt_context import NoXCom
from engine.authoring.exceptions import AirflowException, TemplateError
from engine.authoring.loader import load_file
from engine.authoring.params import ParamValidationError
from engine.running.attempt import last_line
from engine.running.traces import print_trace

SOURCE = """
from engine import DAG, task

@task
def fails():
    raise ValueError("mine")

with DAG("d", schedule=None):
    fails()
"""


def test_a_traceback_begins_in_the_authors_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d.py"
    path.write_text(SOURCE)
    task = load_file(path).dag("d").get_task("fails")
    with pytest.raises(ValueError, match="mine") as caught:
        task.execute({})
    print_trace(caught.value)
    printed = capsys.readouterr().err
    assert f'File "{path}", line 6, in fails' in printed
    assert "/engine/authoring/" not in printed
    assert printed.rstrip().endswith("ValueError: mine")


def test_a_known_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_trace(TemplateError("bash_command uses 'dss', which is not there.", "Did you mean 'ds'?"))
    assert capsys.readouterr().err == "TemplateError: bash_command uses 'dss', which is not there. Did you mean 'ds'?\n"


def test_an_error_of_our_own_keeps_its_frames(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        NoXCom().pull(1, 2, 3)  # type: ignore[call-arg]
    except TypeError as error:
        print_trace(error)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_exception_of_ours_is_named_without_the_room_that_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    error = AirflowException("no rows\nat all")
    error.__cause__ = ParamValidationError("n is too small")
    print_trace(error)
    printed = capsys.readouterr().err
    assert last_line(error) == "AirflowException: no rows at all"
    assert "ParamValidationError: n is too small\n" in printed
    assert printed.endswith("AirflowException: no rows\nat all\n")
    assert "engine." not in printed


def test_an_exception_of_somebody_elses_keeps_its_module() -> None:
    assert last_line(json.JSONDecodeError("no", "x", 0)).startswith("json.decoder.JSONDecodeError: no")
    assert last_line(ValueError("engine.Authoring: no")) == "ValueError: engine.Authoring: no"


def test_an_airflow_exception_that_an_author_raises_keeps_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.py"
    path.write_text(
        SOURCE.replace("ValueError", "AirflowException").replace("DAG, task", "AirflowException, DAG, task")
    )
    task = load_file(path).dag("d").get_task("fails")
    with pytest.raises(AirflowException, match="mine") as caught:
        task.execute({})
    print_trace(caught.value)
    printed = capsys.readouterr().err
    assert f'File "{path}", line 6, in fails' in printed
    assert printed.endswith("\nAirflowException: mine\n")
