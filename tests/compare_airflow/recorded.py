"""What the Airflows did, as it was recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.compare_airflow.outcomes import undeclared, unneeded
from tests.compare_airflow.rows import HERE, VERSIONS, Row

RECORDED = {version: HERE.parent / "data" / f"airflow-{version}.outcomes.json" for version in VERSIONS}


def recorded(version: str) -> dict[str, Any]:
    """Version, settings, and for each DAG file what came of it."""
    document: dict[str, Any] = json.loads(RECORDED[version].read_text(encoding="utf-8"))
    return document


def judge(row: Row, version: str, found: dict[str, Any]) -> list[str]:
    """What is wrong with an outcome beside this Airflow's, one sentence each; empty where nothing is."""
    expected = recorded(version)["files"][row.name]
    if row.name == "no_catchup":
        expected = _as_of_now(expected)
    return [
        *(f"Airflow {version}: {each}" for each in undeclared(row, version, expected, found)),
        *(
            f"Airflow {version}: {at} is declared to be different, and is the same"
            for at in unneeded(row, version, expected, found)
        ),
    ]


def _as_of_now(outcome: dict[str, Any]) -> dict[str, Any]:
    """A yearly DAG without catch-up runs for the last whole year, which was another when it was recorded."""
    (run,) = outcome["runs"]["no_catchup"]
    then, later = int(run[:4]), datetime.now(UTC).year - 1 - int(run[:4])
    text = json.dumps(outcome)
    for year in (then + 1, then):
        text = text.replace(f"{year}-01-01T", f"{year + later}-01-01T")
    moved: dict[str, Any] = json.loads(text)
    return moved
