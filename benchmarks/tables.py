"""The results as tables: for a terminal, and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.gate import bounds, peer_walls, share_of_forks, times_airflow

Row = Mapping[str, Any]
Table = tuple[str, list[list[str]]]  # a title, and rows of which the first is the head


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Every table that these results fill."""
    makers: dict[str, Callable[[Mapping[str, Any]], Table]] = {
        "engine": _shapes,
        "recovery": _recovery,
        "parsing": _parsing,
        "turns": _turns,
        "house": _house,
    }
    found = [make(results) for part, make in makers.items() if results.get(part)]
    if results.get("engine"):
        found.insert(1, _split(results))
        found.insert(2, _cost(results))
    return [*found, _bounds(results)]


def terminal(table: Table) -> str:
    """Columns, the first to the left and the others to the right."""
    title, rows = table
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    return "\n".join(["", title, "-" * min(len(lines[0]), 120), *lines])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if not column else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def markdown(table: Table) -> str:
    """The same for a page."""
    title, (head, *rows) = table
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(row)} |" for row in (head, rule, *rows)), ""])


def _who(row: Row) -> str:
    several = f", {row['schedulers']} schedulers" if row["schedulers"] > 1 else ""
    return f"{'Airflow' if row['engine'] == 'airflow' else 'Windsock'}, {row['database']}{several}"


def _shapes(results: Mapping[str, Any]) -> Table:
    rows = results["engine"]
    walls = peer_walls(rows)
    lags = ["lag p50 ms", "p95", "p99"]
    head = ["shape", "who", "wall s", "min … max", "tasks/s", "fork+wait/s", "share", "x Airflow", *lags]
    return "Shapes", [
        head,
        *(
            [
                row["title"],
                _who(row),
                f"{row['median']['wall_seconds']:.2f}",
                f"{row['wall_min']:.2f} … {row['wall_max']:.2f}",
                f"{row['median']['tasks_per_second']:.0f}",
                f"{row['fork_wait_per_second']:.0f}",
                f"{share_of_forks(row):.3f}",
                "" if row["engine"] == "airflow" else _or_dash(times_airflow(row, walls), ".0f"),
                *(_milliseconds(row["median"]["told"][lag]) for lag in ("lag_p50", "lag_p95", "lag_p99")),
            ]
            for row in rows
        ),
    ]


def _split(results: Mapping[str, Any]) -> Table:
    head = ["shape", "who", "assignment", "execution", "transition", "assignment ms", "execution ms", "transition ms"]
    return "Where a task's time goes", [head, *(_split_row(row) for row in results["engine"])]


def _split_row(row: Row) -> list[str]:
    told = row["median"]["told"]
    parts = [told["assignment"], told["execution"], told["transition"]]
    shares = [f"{part / sum(parts) * 100:.0f} %" for part in parts]
    return [row["title"], _who(row), *shares, *(_milliseconds(part) for part in parts)]


def _cost(results: Mapping[str, Any]) -> Table:
    head = ["shape", "who", "statements/task", "log bytes/task", "scheduler CPU ms/task", "PSS MiB"]
    return "What a task costs", [
        head,
        *(
            [
                row["title"],
                _who(row),
                _or_dash(row["median"]["statements_per_task"], ".1f"),
                _or_dash(row["median"]["log_bytes_per_task"], ".0f"),
                _or_dash(row["median"]["scheduler_cpu_ms_per_task"], ".2f"),
                _or_dash(row["median"]["pss_mib"], ".0f"),
            ]
            for row in results["engine"]
        ),
    ]


def _recovery(results: Mapping[str, Any]) -> Table:
    head = ["kill -9 of", "database", "next start s", "run ended s", "attempts", "tasks"]
    return "Recovery", [
        head,
        *(
            [
                row["killed"],
                row["database"],
                f"{row['next_start_seconds']:.2f}",
                f"{row['end_seconds']:.2f}",
                str(row["attempts"]),
                str(row["tasks"]),
            ]
            for row in results["recovery"]
        ),
    ]


def _parsing(results: Mapping[str, Any]) -> Table:
    found = results["parsing"]
    return f"{found['files']} DAG files of ten tasks", [
        ["what", "s"],
        ["from the processor's start until all are stored", f"{found['first_seconds']:.2f}"],
        ["all changed, until all are stored", f"{found['changed_seconds']:.2f}"],
        ["all touched and none changed, processor time", f"{found['touched_cpu_seconds']:.3f}"],
        ["one look at files that nobody touched, processor time", f"{found['look_cpu_seconds']:.4f}"],
    ]


def _turns(results: Mapping[str, Any]) -> Table:
    head = ["database", "finished tasks", "turn ms (median)", "turns", "chain of 40, s"]
    return "A turn of the scheduler", [
        head,
        *(
            [
                row["database"],
                f"{row['finished']:,}".replace(",", " "),
                f"{row['turn_ms']:.2f}",
                str(row["turns"]),
                f"{row['chain_seconds']:.2f}",
            ]
            for row in results["turns"]
        ),
    ]


def _house(results: Mapping[str, Any]) -> Table:
    memory = ["core PSS MiB", "with exporters", "at most"]
    head = ["standalone on", "healthy s", "processes", *memory, "idle CPU %", "idle statements/s"]
    return "The house when nothing happens", [
        head,
        *(
            [
                row["database"],
                f"{row['healthy_seconds']:.2f}",
                str(row["processes"]),
                f"{row['core_pss_mib']:.0f}",
                f"{row['pss_mib']:.0f}",
                f"{row['highest_pss_mib']:.0f}",
                f"{row['cpu_share'] * 100:.2f}",
                _or_dash(row["statements_per_second"], ".1f"),
            ]
            for row in results["house"]
        ),
    ]


def _bounds(results: Mapping[str, Any]) -> Table:
    head = ["number to reach", "bound", "measured", "verdict"]
    return "Numbers to reach", [
        head,
        *(
            [
                bound.title,
                f"{'≥' if bound.at_least else '≤'} {bound.limit:g} {bound.unit}".rstrip(),
                _or_dash(bound.measured, ".3g"),
                bound.verdict,
            ]
            for bound in bounds(results)
        ),
    ]


def _milliseconds(seconds: float | None) -> str:
    return _or_dash(None if seconds is None else seconds * 1000, ".1f")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
