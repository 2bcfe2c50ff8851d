"""docs/semantics.md, made from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from tests.compare_airflow.recorded import recorded
from tests.compare_airflow.rows import ABSENT, ELSEWHERE, ROWS, VERSIONS, Row
from tests.servers.binaries import ROOT

PAGE = ROOT / "docs" / "semantics.md"


def page() -> str:
    """The whole page."""
    versions = " and ".join(str(recorded(version)["version"]) for version in VERSIONS)
    there = [row for row in ROWS if row.is_there]
    same = sum(not row.differences for row in there)
    opening = f"""# Airflow's semantics, row by row

Each row is a DAG file of [tests/compare_airflow/dags](../tests/compare_airflow/dags). It was run by Airflow {versions}
and is run by Windsock. The final state of every task and of every run is compared, with the number of tries, the dates
of scheduled runs, and, where it matters, the lines that tasks and callbacks wrote, the order of tasks, and how many
ran at once.

Of {len(ROWS)} rows {same} are the same, {len(there) - same} are different on purpose, and {len(ROWS) - len(there)} are
not there yet.

* `make compare` runs the DAG files here and compares them with what the two Airflows did, as it is recorded in
  `tests/data`. `make test` does the same.
* `make compare PEER=airflow` installs both Airflows below `.tools`, runs the DAG files in them too, and records anew.
* This page is written by `python -m tests.compare_airflow --write`.
"""
    return "\n".join([opening, *_tables(), *_closing(), ""])


def _tables() -> Iterator[str]:
    for area, rows in groupby(ROWS, key=lambda row: row.area):
        yield f"## {area}\n\n| DAG file | What it shows | Windsock |\n| --- | --- | --- |"
        yield "\n".join(f"| `{row.name}` | {row.says} | {_verdict(row)} |" for row in rows) + "\n"


def _verdict(row: Row) -> str:
    if not row.is_there:
        return f"not there: {row.needs}"
    if not row.differences:
        return "same"
    return "different on purpose. " + " ".join(
        dict.fromkeys(_reason(each.why, each.versions) for each in row.differences)
    )


def _reason(why: str, versions: tuple[str, ...]) -> str:
    return why if versions == VERSIONS else f"{why} (Otherwise in Airflow {', '.join(versions)}.)"


def _closing() -> Iterator[str]:
    yield "## Different on purpose, beyond final states\n"
    yield "\n".join(f"* {sentence}" for sentence in ELSEWHERE) + "\n"
    yield "## Not there\n"
    yield "\n".join(f"* {sentence}" for sentence in ABSENT)
