from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from engine.authoring.defaults import Defaults
from engine.authoring.exceptions import AuthoringError
from engine.authoring.faults import Fault, fault_of
from engine.authoring.loader import LoadedFile, load_file, module_name


@pytest.fixture(autouse=True)
def _path_and_modules_are_put_back() -> Iterator[None]:
    path, modules = sys.path.copy(), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("windsock_dag_") or name == "neighbour":
            del sys.modules[name]


def load(folder: Path, code: str, name: str = "file.py", **arguments: object) -> LoadedFile:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(code))
    return load_file(path, **arguments)  # type: ignore[arg-type]


def fault(folder: Path, code: str) -> Fault:
    path = folder / "file.py"
    path.write_text(dedent(code))
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any exception, SystemExit included
        load_file(path)
    return fault_of(caught.value, str(path))


def test_dags_of_variables_and_of_with_blocks_are_found_once_each(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        from engine import DAG
        one = same = DAG("one")
        def make():
            with DAG("two"):
                pass
        make()
        with DAG("three") as three:
            pass
        """,
    )
    assert {dag.dag_id for dag in loaded.dags} == {"one", "two", "three"}
    assert {dag.fileloc for dag in loaded.dags} == {str(tmp_path / "file.py")}
    assert loaded.dag("one").defined_at == (str(tmp_path / "file.py"), 3)
    assert not loaded.faults


def test_a_dag_that_is_missing_is_told_with_a_suggestion(tmp_path: Path) -> None:
    loaded = load(tmp_path, "from engine import DAG\nd = DAG('daily_report')")
    with pytest.raises(AuthoringError, match="Did you mean 'daily_report'"):
        loaded.dag("dayly_report")


def test_two_dags_of_one_name_in_a_file_are_a_fault_that_names_both_lines(tmp_path: Path) -> None:
    loaded = load(tmp_path, "from engine import DAG\na = DAG('d')\n\nb = DAG('d')")
    assert loaded.dags == (loaded.dag("d"),)
    assert loaded.faults[0].line == 4
    assert "first stands in line 2" in loaded.faults[0].summary


def test_files_import_from_the_dag_folder_and_leave_no_bytecode_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("NAME = 'from_neighbour'")
    code = "from engine import DAG\nimport neighbour\nd = DAG(neighbour.NAME)"
    loaded = load(tmp_path, code, "team/file.py", dags_folder=tmp_path)
    assert loaded.dags[0].dag_id == "from_neighbour"
    assert not (tmp_path / "team" / "__pycache__").exists()


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    assert module_name(tmp_path / "a" / "x.py") != module_name(tmp_path / "b" / "x.py")


def test_settings_hold_while_the_file_is_read(tmp_path: Path) -> None:
    code = "from engine import DAG, EmptyOperator\nwith DAG('d') as d: EmptyOperator(task_id='t')"
    loaded = load(tmp_path, code, defaults=Defaults(retries=7, max_active_runs=2))
    dag = loaded.dags[0]
    assert (dag.get_task("t").retries, dag.max_active_runs) == (7, 2)


def test_what_an_error_left_open_does_not_leak_into_the_next_file(tmp_path: Path) -> None:
    fault(tmp_path, "from engine import DAG\nwith DAG('broken'):\n    1 / 0")
    loaded = load(tmp_path, "from engine import DAG, EmptyOperator\nt = EmptyOperator(task_id='t')\nd = DAG('good')")
    assert [dag.dag_id for dag in loaded.dags] == ["good"]
    assert loaded.dags[0].task_ids == []


@pytest.mark.parametrize(
    ("code", "line", "summary", "remedy"),
    [
        ("x = 1\ndef broken(:\n    pass", 2, "Line 2: SyntaxError: invalid syntax: 'def broken(:'.", "line 2"),
        ("if True:\nx = 1", 2, "Line 2: IndentationError", "Correct the syntax"),
        ("\n\n1 / 0", 3, "Line 3: ZeroDivisionError: division by zero", "Correct the DAG file at line 3"),
        ("import nowhere", 1, "No module named 'nowhere'", "Install 'nowhere'"),
        ("from airflow import DAGS", 1, "airflow has no 'DAGS' here", "Did you mean 'DAG'?"),
        ("from engine.dag import DAG", 1, "No module named 'engine.dag'", "Import from engine itself"),
        ("from engine import DAG\nDAG('a b')", 2, "Line 2: dag_id 'a b' is not valid", "letters, digits"),
        ("from engine import DAG\nDAG('d', schedule='61 * * * *')", 2, "'61 * * * *'", "Write five fields"),
        ("from engine import DAGS", 1, "engine has no 'DAGS' to import", "Did you mean 'DAG'?"),
        ("import sys\nsys.exit(3)", 2, "Line 2: The import called exit(3)", "Remove the call"),
        ("def f():\n    raise ValueError('deep')\n\nf()", 2, "Line 2: ValueError: deep", "line 2"),
        ("from engine import AirflowException as E\nraise E('no')", 2, "Line 2: AirflowException: no", "line 2"),
    ],
)
def test_a_fault_tells_line_cause_and_remedy(tmp_path: Path, code: str, line: int, summary: str, remedy: str) -> None:
    found = fault(tmp_path, code)
    assert found.line == line
    assert summary in found.summary
    assert remedy in found.remedy


def test_a_fault_without_a_line_names_the_file(tmp_path: Path) -> None:
    found = fault(tmp_path, "from engine import DAG\x00")
    assert found.line is None
    assert found.summary == "The file: SyntaxError: source code string cannot contain null bytes."
    assert found.remedy == "Correct the syntax in the file."


def test_the_story_holds_the_traceback_of_the_dag_file_only(tmp_path: Path) -> None:
    story = fault(tmp_path, "def f():\n    raise ValueError('deep')\n\nf()").story
    assert "in f" in story
    assert "loader.py" not in story


def test_bytes_that_are_no_utf8_are_told(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_bytes(b"x = 1\n# \xff\xfe\n")
    with pytest.raises(AuthoringError) as caught:
        load_file(path)
    found = fault_of(caught.value, str(path))
    assert found.summary == "Line 2: The file is not UTF-8: byte 0xff stands for no character."
    assert "UTF-8" in found.remedy


def test_another_encoding_may_be_declared(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_bytes(b"# coding: latin-1\nfrom engine import DAG\nd = DAG('d', '\xe9')")
    assert load_file(path).dags[0].description == "é"
