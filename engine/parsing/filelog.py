"""The processor's logs: what was done to each DAG file, and the table of all files. Both are limited in size."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 5_000_000
KEEP_DAYS: Final = 30
QUIET: Final = timedelta(minutes=10)  # a file that never changes is told of this often


def append(path: Path, text: str, max_bytes: int = MAX_BYTES) -> None:
    """Add to a log; beyond `max_bytes` it becomes ``<name>.1`` and a new one begins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size + len(text) > max_bytes:
            path.replace(path.with_name(f"{path.name}.1"))
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


@dataclass(slots=True)
class _Told:
    """What a file's log has last said."""

    story: tuple[str, ...]
    at: datetime
    repeated: int = 0


@dataclass(slots=True)
class FileLogs:
    """``<base>/scheduler/<date>/<DAG file>.log``. `clean` masks secrets in what user code printed."""

    base: Path
    clean: Callable[[str], str] = str
    _told: dict[str, _Told] = field(default_factory=dict)
    _day: date | None = None

    def tell(self, name: str, story: Sequence[str], output: str = "", *, seconds: float, now: datetime) -> None:
        """Write what was done to a file; the same story is repeated every ten minutes at most, with a count."""
        self._turn_page(now)
        known = self._told.get(name)
        if known and known.story == tuple(story) and now - known.at < QUIET:
            known.repeated += 1
            return
        lines = [f"Parsed in {seconds:.3f} s.", *story]
        if known and known.story == tuple(story):
            lines = [f"Parsed {known.repeated + 1} times since, the last time in {seconds:.3f} s.", *story]
        elif output:
            lines.append(f"The import printed:\n{output.rstrip()}")
        self._told[name] = _Told(tuple(story), now)
        stamp = f"[{now.isoformat(timespec='milliseconds')}] "
        self._append(name, now, self.clean("".join(f"{stamp}{line}\n" for line in lines)))

    def forget(self, name: str, now: datetime) -> None:
        """Say that a file is gone."""
        self._told.pop(name, None)
        self._append(
            name, now, f"[{now.isoformat(timespec='milliseconds')}] The file is gone; its DAGs are inactive.\n"
        )

    def _append(self, name: str, now: datetime, text: str) -> None:
        append(self._folder / f"{now.date().isoformat()}" / f"{name}.log", text)

    @property
    def _folder(self) -> Path:
        return self.base / "scheduler"

    def _turn_page(self, now: datetime) -> None:
        """On a new day every file is told of again, and days long gone are removed."""
        if self._day == now.date():
            return
        self._day = now.date()
        self._told.clear()
        self._point_latest_to(self._day)
        oldest = (self._day - timedelta(days=KEEP_DAYS)).isoformat()
        for folder in self._folder.glob("????-??-??"):
            if folder.name < oldest:
                shutil.rmtree(folder, ignore_errors=True)

    def _point_latest_to(self, day: date) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        link = self._folder / "latest"
        fresh = self._folder / ".latest"
        with contextlib.suppress(OSError):  # a convenience; some file systems know no links
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(day.isoformat())
            fresh.replace(link)


@dataclass(frozen=True, slots=True)
class Row:
    """One file in the table."""

    path: str
    pid: int | None
    runtime: float | None
    dags: int
    errors: int
    last_runtime: float | None
    last_run: datetime | None


_HEADER = ("File Path", "PID", "Current Duration", "# DAGs", "# Errors", "Last Duration", "Last Run")


def write_table(base: Path, rows: Iterable[Row], now: datetime) -> None:
    """Add the table of all files to ``dag_processor_manager.log``."""
    cells = [_HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    rule = tuple("-" * width for width in widths)
    table = "\n".join(_line(line, widths) for line in (cells[0], rule, *cells[1:]))
    bar = "=" * 80
    text = f"[{now.isoformat(timespec='milliseconds')}] DAG File Processing Stats\n{bar}\n{table}\n{bar}\n"
    append(base / "dag_processor_manager" / "dag_processor_manager.log", text)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.path,
        str(row.pid or ""),
        _seconds(row.runtime),
        str(row.dags),
        str(row.errors),
        _seconds(row.last_runtime),
        row.last_run.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if row.last_run else "",
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}s"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]).rstrip()
