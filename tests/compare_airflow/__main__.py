"""``python -m tests.compare_airflow``: the same DAG files here and in Airflow 2.11 and 3.3; behind `make compare`."""
# ruff: noqa: T201 - it is a command

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.compare_airflow.in_airflow import SETTINGS, ComparedAirflow
from tests.compare_airflow.in_windsock import windsock
from tests.compare_airflow.page import PAGE, page
from tests.compare_airflow.recorded import RECORDED, judge, recorded
from tests.compare_airflow.rows import ROWS, VERSIONS, Row
from tests.e2e_airflow.installation import RELEASES
from tests.servers.databases import PostgreSQL


def main() -> int:
    """Exit status 1 where a row that is there differs without a reason, or the page is not what the data say."""
    parser = argparse.ArgumentParser(prog="python -m tests.compare_airflow", description=__doc__)
    parser.add_argument("--peer", choices=["", "airflow"], default="", help="run Airflow too, and record what it does")
    parser.add_argument("--version", choices=VERSIONS, action="append", help="of Airflow; default: both")
    parser.add_argument("--row", choices=[row.name for row in ROWS], action="append", help="default: all")
    parser.add_argument("--only-record", action="store_true", help="do not run anything here")
    parser.add_argument("--all", action="store_true", help="run here also what is declared as not there")
    parser.add_argument("--write", action="store_true", help="only write docs/semantics.md")
    arguments = parser.parse_args()
    if arguments.write:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    rows = [row for row in ROWS if not arguments.row or row.name in arguments.row]
    for version in (arguments.version or VERSIONS) if arguments.peer else ():
        record(version, rows)
    if arguments.only_record:
        return 0
    return compare([row for row in rows if row.is_there or arguments.all])


def compare(rows: Sequence[Row]) -> int:
    """Run the rows here and hold them against what is recorded; prints a line for each."""
    with windsock(rows) as engine:
        seen = engine.run()
        found = {row.name: seen.outcome(row) for row in rows}
    unexplained = 0
    for row in rows:
        faults = [fault for version in VERSIONS for fault in judge(row, version, found[row.name])]
        unexplained += len(faults) if row.is_there else 0
        print(f"{row.name:<34}{_verdict(row, faults)}")
        for fault in faults:
            print(f"    {fault}")
    print(f"\n{len(rows)} DAG files, {unexplained} undeclared differences")
    absent = [row.name for row in ROWS if not row.is_there and row not in rows]
    if absent:
        print(f"not there, and not run: {', '.join(absent)}")
    if PAGE.read_text(encoding="utf-8") != page():
        print("docs/semantics.md is not what the rows say: python -m tests.compare_airflow --write")
        return 1
    return 1 if unexplained else 0


def _verdict(row: Row, faults: list[str]) -> str:
    if not row.is_there:
        return "declared as not there, and differs" if faults else f"agrees: take {row.needs!r} out of NOT_THERE"
    if faults:
        return "differs"
    return "different on purpose" if row.differences else "same"


def record(version: str, rows: Sequence[Row]) -> None:
    """Run these rows in an Airflow, and keep what came of them beside what is kept of the others."""
    release = RELEASES[version]
    print(f"Airflow {version}: {len(rows)} DAG files", flush=True)
    release.install()
    server = PostgreSQL()
    try:
        with tempfile.TemporaryDirectory(prefix="wsc-") as home:
            with ComparedAirflow(release, Path(home), server.create()) as airflow:
                seen = airflow.run(rows)
            kept = recorded(version) if RECORDED[version].exists() else {"files": {}}
            files = kept["files"] | {row.name: seen.outcome(row) for row in rows}
    finally:
        server.stop()
    document = {
        "version": _exact(release.pins),
        "settings": SETTINGS,
        "files": {row.name: files[row.name] for row in ROWS if row.name in files},
    }
    RECORDED[version].write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to {RECORDED[version]}", flush=True)


def _exact(pins: Path) -> str:
    prefix = "apache-airflow=="
    lines = pins.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix(prefix).split()[0] for line in lines if line.startswith(prefix))


if __name__ == "__main__":
    sys.exit(main())
