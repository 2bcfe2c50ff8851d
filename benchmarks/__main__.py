"""``python -m benchmarks``: measures, prints tables, and writes JSON to ``bench-results/``.

``python -m benchmarks tuning`` measures the tuning knobs instead. ``--write`` puts the figures into docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    alerts_run,
    bridge_run,
    comparison,
    endings_run,
    house_run,
    parsing_run,
    recovery_run,
    sla_run,
    tuning,
    turns_run,
)
from benchmarks.databases import NAMES
from benchmarks.engine_run import kept_homes
from benchmarks.gate import AIRFLOW_CHAIN_SECONDS, AIRFLOW_TASKS_PER_SECOND, AIRFLOW_VERSION, too_slow
from benchmarks.machine import ORDINARY_MIB, bash_rate, fork_wait_rate
from benchmarks.page import write_figures
from benchmarks.shapes import ALL, CHAIN, FEW, Shape
from benchmarks.tables import tables, terminal

FOLDER = Path("bench-results")
PARTS = ("engine", "alerts", "bridge")
MORE_PARTS = ("endings", "several", "recovery", "parsing", "turns", "house", "sla")
SEVERAL_SHAPES = ("fan_out_bash_1000", "many_100_10")


def main() -> int:
    """Exit status 1 where a shape, alerts or the bridge is too slow; bounds that are not met are told only."""
    arguments = _arguments()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        print("note: PYTHONDONTWRITEBYTECODE is set; every import is compiled anew", file=sys.stderr)
    FOLDER.mkdir(exist_ok=True)
    with kept_homes():
        if arguments.what == "tuning":
            return tuning.main(FOLDER / "tuning.json", write=arguments.write)
        return _measure(arguments)


def _measure(arguments: argparse.Namespace) -> int:
    parts = arguments.part or ((*PARTS, *MORE_PARTS) if arguments.all else PARTS)
    results: dict[str, Any] = {"machine": _machine()}
    slow: list[str] = []
    for part in parts:
        slow += _run(part, arguments, results)
        (FOLDER / "results.json").write_text(json.dumps(results, indent=1))
    for table in tables(results):
        print(terminal(table))
    print(f"\nwritten to {FOLDER / 'results.json'}")
    if arguments.write:
        print(f"written to {write_figures(results)}")
    for sentence in slow:
        print(sentence, file=sys.stderr)
    return 1 if slow and not arguments.no_gate else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["measure", "tuning"], default="measure")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each shape; the median counts (default 3)")
    parser.add_argument(
        "--database", choices=NAMES, action="append", help="default: sqlite, postgresql; with --all all"
    )
    parser.add_argument("--part", choices=(*PARTS, *MORE_PARTS), action="append", help=f"default: {', '.join(PARTS)}")
    parser.add_argument("--shape", choices=[shape.key for shape in ALL], action="append", help="default: a few")
    parser.add_argument("--all", action="store_true", help="every shape, database and part")
    parser.add_argument("--peer", choices=["airflow"], help="run the shapes in Airflow 3.3 too, in turns")
    parser.add_argument("--peer-rounds", type=int, help="runs of each shape in Airflow (default: as many as --rounds)")
    parser.add_argument("--no-gate", action="store_true", help="end with status 0, however slow it was")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/")
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    bare, ordinary = fork_wait_rate(), fork_wait_rate(ORDINARY_MIB)
    machine = {
        "fork_wait_per_second": ordinary.per_second,
        "resident_mib": ordinary.resident_mib,
        "bare_fork_wait_per_second": bare.per_second,
        "bare_resident_mib": bare.resident_mib,
        "bash_per_second": bash_rate(),
        "cores": os.cpu_count(),
    }
    print(
        f"machine: {machine['cores']} cores, fork+wait of a Python process: {ordinary.per_second:.0f}/s at "
        f"{ordinary.resident_mib:.0f} MiB, {bare.per_second:.0f}/s at {bare.resident_mib:.0f} MiB; "
        f"{machine['bash_per_second']:.0f} bash -c true/s\n"
        f"Airflow {AIRFLOW_VERSION} on two cores: {AIRFLOW_TASKS_PER_SECOND:g} tasks/s, "
        f"{CHAIN.title} in {AIRFLOW_CHAIN_SECONDS:g} s",
        flush=True,
    )
    return machine


def _run(part: str, arguments: argparse.Namespace, results: dict[str, Any]) -> Sequence[str]:
    names = arguments.database or (NAMES if arguments.all else NAMES[:2])
    match part:
        case "engine":
            rows = results.setdefault("engine", [])
            _keep(rows, _engine(arguments, names))
            return too_slow(rows)
        case "several":
            shapes = [shape for shape in ALL if shape.key in SEVERAL_SHAPES]
            for name in names:
                for schedulers in comparison.SEVERAL if name != "sqlite" else ():
                    _keep(results.setdefault("engine", []), comparison.measure(name, shapes, 1, schedulers))
        case "recovery":
            results["recovery"] = [row for name in names for row in recovery_run.measure(name)]
        case "parsing":
            results["parsing"] = parsing_run.measure()
        case "turns":
            results["turns"] = [row for name in names if name != "mariadb" for row in turns_run.measure(name)]
        case "house":
            results["house"] = [house_run.measure(name) for name in names]
        case "alerts":
            return _apart("alerts", alerts_run.measure, alerts_run.show, alerts_run.slow_words)
        case "sla":
            return _apart("sla", sla_run.measure, sla_run.show, sla_run.slow_words)
        case "endings":
            return _apart("endings", endings_run.measure, endings_run.show, endings_run.slow_words)
        case "bridge":
            return _apart(
                "bridge", lambda: bridge_run.measure(arguments.rounds), bridge_run.show, bridge_run.slow_words
            )
    return []


def _engine(arguments: argparse.Namespace, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    chosen: Sequence[Shape] = ALL if arguments.all else FEW
    shapes = [shape for shape in ALL if shape.key in arguments.shape] if arguments.shape else chosen
    for name in names:
        if name == "postgresql" and arguments.peer:
            peer_rounds = arguments.peer_rounds or arguments.rounds
            yield from comparison.measure_beside_airflow(shapes, arguments.rounds, peer_rounds)
        else:
            yield from comparison.measure(name, shapes, arguments.rounds)


def _keep(rows: list[dict[str, Any]], found: Iterator[dict[str, Any]]) -> None:
    """Take each row as it comes, with a line that says so: a long run must not look like one that hangs."""
    for row in found:
        median = row["median"]
        print(
            f"{row['engine']:<9}{row['database']:<11}{row['schedulers']}  {row['title']:<28}"
            f"{median['wall_seconds']:>9.2f} s{median['tasks_per_second']:>9.1f} tasks/s",
            flush=True,
        )
        rows.append(row)


def _apart(
    name: str, measure: Callable[[], Any], show: Callable[[Any], None], slow_words: Callable[[Any], list[str]]
) -> list[str]:
    found = measure()
    show(found)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1))
    return slow_words(found)


if __name__ == "__main__":
    sys.exit(main())
