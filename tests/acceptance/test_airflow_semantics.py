"""The comparison's DAG files end here as they ended in Airflow 2.11 and 3.3, as it is recorded in tests/data."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compare_airflow.in_windsock import windsock
from tests.compare_airflow.page import PAGE, page
from tests.compare_airflow.recorded import judge, recorded
from tests.compare_airflow.rows import DAGS, ROWS, VERSIONS, Row

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found() -> Found:
    """What came of every row that is there; all ran at the same time."""
    rows = [row for row in ROWS if row.is_there]
    with windsock(rows) as engine:
        seen = engine.run()
        return {row.name: seen.outcome(row) for row in rows}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_dag_file_ends_as_in_airflow(row: Row, version: str, found: Found) -> None:
    if not row.is_there:
        pytest.skip(f"not there: {row.needs}")
    assert judge(row, version, found[row.name]) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_airflow_was_recorded_for_every_dag_file(version: str) -> None:
    assert list(recorded(version)["files"]) == [row.name for row in ROWS]


def test_every_dag_file_has_a_row() -> None:
    files = {file.stem for file in DAGS.glob("*.py")} - {"names"}
    assert files == {row.name for row in ROWS}


def test_the_page_says_what_the_rows_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.compare_airflow --write"
