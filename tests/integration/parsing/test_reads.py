"""What a parse process tells of the files that a DAG file is made of, and what the processor makes of that."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from engine.authoring.defaults import Defaults
from engine.metastore.tables import Dag
from engine.parsing.orders import ParseReport
from engine.parsing.pool import Finished, ParsePool
from engine.parsing.reads import GONE, MOST
from tests.integration.parsing.test_processor import Bench, make_bench  # noqa: F401 - a fixture
from tests.servers.processes import wait_until

DAG_FILE = """
from engine import DAG, BashOperator
{reading}
with DAG("quiet", schedule=None):
    BashOperator(task_id="a", bash_command=f"echo {{text}}")
"""


@pytest.fixture
def pool() -> Iterator[ParsePool]:
    with selectors.DefaultSelector() as selector:
        made = ParsePool(2, 30.0, Defaults(), selector)
        yield made
        made.close()


@pytest.fixture
def report(pool: ParsePool, tmp_path: Path) -> Callable[..., ParseReport]:
    """Parse a DAG file with these lines in it, which are to define `text`."""

    def parse(*lines: str) -> ParseReport:
        path = tmp_path / "dags" / "quiet.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(DAG_FILE.format(reading="\n".join(("from pathlib import Path", *lines))))
        pool.start(str(path), str(path.parent))
        finished: list[Finished] = []

        def is_done() -> bool:
            finished.extend(pool.collect())
            return bool(finished)

        wait_until(is_done, "the file to be parsed")
        assert not finished[0].report.faults
        return finished[0].report

    return parse


def test_a_file_that_reads_nothing_else_is_made_of_nothing_else(report: Callable[..., ParseReport]) -> None:
    told = report("import csv, zoneinfo, sqlite3", 'zoneinfo.ZoneInfo("Europe/Berlin")', 'text = "x"')
    assert (told.reads, told.sources, told.asks) == ({}, [], False)


def test_files_and_folders_that_it_reads_are_told_as_they_were(
    report: Callable[..., ParseReport], tmp_path: Path
) -> None:
    data, missing = tmp_path / "data.txt", tmp_path / "missing.txt"
    data.write_text("hello")
    told = report(
        "import os",
        f"names = os.listdir({str(tmp_path)!r})",
        f"text = open({str(data)!r}).read()",
        f"try: open({str(missing)!r})\nexcept FileNotFoundError: pass",
    )
    status = data.stat()
    assert told.reads.keys() == {str(tmp_path), str(data), str(missing)}
    assert (told.reads[str(data)], told.reads[str(missing)]) == ((status.st_mtime_ns, status.st_size), GONE)
    assert not told.asks


def test_a_module_from_outside_the_folder_is_told_and_one_from_within_is_a_source(
    report: Callable[..., ParseReport], tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "near.py").write_text("text = 'x'")
    (tmp_path / "far.py").write_text("text = 'x'")
    told = report("import sys", f"sys.path.append({str(tmp_path)!r})", "import far", "from near import text")
    assert told.sources == [str(tmp_path / "dags" / "near.py")]
    assert told.reads.keys() == {str(tmp_path / "far.py")}


def test_what_it_writes_itself_says_nothing(report: Callable[..., ParseReport], tmp_path: Path) -> None:
    path = Path(tmp_path / "count.txt")
    path.write_text("1")
    told = report(f"text = Path({str(path)!r}).read_text()", f'Path({str(path)!r}).write_text("2")')
    assert (told.reads, told.asks) == ({}, False)


@pytest.mark.parametrize(
    "asking",
    [
        'import socket; socket.getaddrinfo("127.0.0.1", 80)',
        'import subprocess; subprocess.run(["true"])',
        'import os; os.system("true")',
        'import sqlite3; sqlite3.connect(":memory:").close()',
        "import psycopg",
        "from sqlalchemy import create_engine",
        "import _cffi_backend",  # compiled, and not from the standard library
    ],
)
def test_who_asks_others_or_might_unheard_says_so(report: Callable[..., ParseReport], asking: str) -> None:
    assert report(asking, 'text = "x"').asks


def test_who_reads_very_many_files_counts_as_one_that_asks(report: Callable[..., ParseReport], tmp_path: Path) -> None:
    told = report(
        f"for number in range({MOST + 1}):",
        f"    try: open({str(tmp_path)!r} + f'/data-{{number}}')",
        "    except OSError: pass",
        'text = "x"',
    )
    assert told.asks
    assert len(told.reads) <= MOST


class Clock:
    """The processor's clock, which a test puts forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def _starts(bench: Bench) -> int:
    return bench.signals.counts.count(("dag_processing.processes", {"file_path": "quiet.py", "action": "start"}))


def _has_parsed(bench: Bench, times: int) -> bool:
    return _starts(bench) == times and bench.processor.rounds == times


def _version(bench: Bench) -> str:
    with bench.store.read() as connection:
        return str(connection.execute(select(Dag.version)).scalar_one())


def test_a_file_at_rest_is_parsed_when_what_it_reads_changes_or_its_rows_are_altered(
    make_bench: Callable[..., Bench],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    clock = Clock()
    monkeypatch.setattr("engine.parsing.processor.time", SimpleNamespace(monotonic=clock.monotonic))
    bench = make_bench(scheduler__max_file_process_interval="100000")
    data = tmp_path / "data.txt"
    data.write_text("one")
    bench.write("quiet.py", DAG_FILE.format(reading=f"text = open({str(data)!r}).read()"))
    bench.start()
    bench.settled()
    first = _version(bench)
    for parses, seconds in ((2, 31.0), (3, 61.0), (4, 121.0)):
        clock.ahead += seconds
        bench.wait(partial(_has_parsed, bench, parses))
    clock.ahead += 120.0
    looks = bench.processor.looks
    bench.wait(lambda: bench.processor.looks > looks + 1)
    assert _starts(bench) == 4  # it waits for 240 s now
    data.write_text("another")
    bench.wait(lambda: _version(bench) != first)
    with bench.store.begin() as tx:
        tx.connection.execute(Dag.__table__.delete())
    clock.ahead += 61.0  # a look into the metastore later
    bench.wait(bench.dags)
