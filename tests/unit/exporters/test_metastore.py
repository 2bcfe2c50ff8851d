"""The parts of the metastore exporter that need no database server."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporters.catalogue import METASTORE
from exporters.metastore.database import ReadOnlyDatabase
from exporters.metastore.errors import DatabaseUrlError, ReadError, UnknownSchemaError
from exporters.metastore.families import relative
from exporters.metastore.page import metrics_page
from exporters.metastore.reader import MetastoreReader
from exporters.metastore.samples import Samples
from exporters.metastore.service import MetastoreConfig, MetastoreExporter
from exporters.metastore.sharing import Reading, SharedRead
from tests.servers.processes import wait_until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Values = Mapping[str, Mapping[tuple[str, ...], float]]
WELL: Values = {"metastore.callback_backlog": {(): 7}}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shared(read: Callable[[], Values], clock: Clock | None = None, patience: float = 20) -> SharedRead:
    return SharedRead(lambda: read, cache_seconds=5, patience_seconds=patience, clock=clock or Clock())


def refuse() -> Values:
    raise ReadError("it is away")


def test_a_reading_is_shown_until_it_is_too_old() -> None:
    clock = Clock()
    source = shared(lambda: WELL, clock)
    assert source.newest().values == WELL
    clock.now += 4.9
    source.newest()
    assert source.reads == 1
    clock.now += 0.2
    source.newest()
    assert source.reads == 2


def test_scrapes_that_come_during_a_read_wait_for_it() -> None:
    entered, go = threading.Event(), threading.Event()

    def read() -> Values:
        entered.set()
        assert go.wait(60)
        return WELL

    source = shared(read)
    found: list[Reading] = []
    scrapes = [threading.Thread(target=lambda: found.append(source.newest())) for _ in range(5)]
    for scrape in scrapes:
        scrape.start()
    assert entered.wait(60)
    go.set()
    for scrape in scrapes:
        scrape.join(60)
    assert [reading.values for reading in found] == [WELL] * 5
    assert source.reads == 1


def test_a_failed_read_shows_nothing_of_the_one_before(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([WELL, None, None, WELL])
    clock = Clock()
    source = shared(lambda: next(answers) or refuse(), clock)
    faults = []
    caplog.set_level("INFO", "exporters")
    for _ in range(4):
        reading = source.newest()
        faults.append((reading.fault, dict(reading.values)))
        clock.now += 6
    assert faults == [("", WELL), ("it is away", {}), ("it is away", {}), ("", WELL)]
    told = [record.message for record in caplog.records]
    assert told == [
        "No metrics of the metastore: it is away. It is tried again with each scrape",
        "The metastore is read again",
    ]


def test_a_defect_of_ours_is_logged_with_its_traceback_and_shown_as_down(caplog: pytest.LogCaptureFixture) -> None:
    reading = shared(lambda: WELL["nothing"] and WELL).newest()
    assert reading.fault == "KeyError: see the traceback above"
    assert "Traceback" in caplog.text


def test_a_read_that_hangs_is_left_alone_and_not_begun_twice() -> None:
    go = threading.Event()

    def hang() -> Values:
        assert go.wait(60)
        return WELL

    source = shared(hang, patience=0.01)
    assert source.newest().fault == "the database has not answered for 0.01 s"
    assert source.newest().fault
    assert source.reads == 1
    go.set()


def test_a_read_that_hangs_for_good_is_given_up_for_a_new_one() -> None:
    never = threading.Event()

    def hang() -> Values:
        assert never.wait(60)
        return {}

    reads = iter([hang, lambda: WELL])
    clock = Clock()
    source = SharedRead(lambda: next(reads), cache_seconds=5, patience_seconds=0.05, clock=clock)
    assert source.newest().fault
    clock.now += 0.49
    assert source.newest().fault
    clock.now += 0.02
    wait_until(lambda: source.newest().values == WELL, "the second read")
    never.set()
    assert source.newest().values == WELL
    assert source.reads == 2


def test_a_read_that_was_given_up_leaves_nothing_behind_when_it_goes_on_after_all() -> None:
    go = threading.Event()
    made: list[str] = []

    def make_read() -> Callable[[], Values]:
        first = not made
        made.append("a connection")
        if first:
            assert go.wait(60)
            made.append("late")
        return dict if first else lambda: WELL

    clock = Clock()
    source = SharedRead(make_read, cache_seconds=5, patience_seconds=0.05, clock=clock)
    assert source.newest().fault
    clock.now += 0.6  # it is given up
    wait_until(lambda: source.newest().values == WELL, "the second read")
    go.set()
    wait_until(lambda: "late" in made and not [one for one in threading.enumerate() if one.name == "read"], "its end")
    clock.now += 6
    wait_until(lambda: source.newest().values == WELL, "the third read")


def test_a_wrong_database_is_told_when_it_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exporter = MetastoreExporter(MetastoreConfig(url=f"sqlite:///{tmp_path / 'none.db'}", port=0))
    serving = threading.Thread(target=exporter.serve)
    serving.start()
    try:
        wait_until(lambda: "No metrics of the metastore" in caplog.text, "the log to say so", 30)
    finally:
        exporter.stop()
        serving.join()


def test_sqlalchemy_is_not_loaded_before_it_serves() -> None:
    code = (
        "import sys; from exporters.metastore.service import *;"
        "MetastoreExporter(MetastoreConfig(url='sqlite:////none.db', port=0));"
        "print('sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_page_of_a_failed_read_says_only_that_it_failed() -> None:
    page = metrics_page(lambda: Reading(fault="it is away"))()
    told = [line for line in page.splitlines() if line.startswith("airflow_")]
    assert told == ["airflow_metastore_up 0.0"]


def test_the_page_has_the_catalogues_help_and_escapes_labels() -> None:
    values = {"metastore.import_errors": {('a "b"\\c\nd.py',): 1.0}}
    page = metrics_page(lambda: Reading(values))()
    assert f"# HELP airflow_metastore_import_errors {METASTORE['metastore.import_errors'].help}\n" in page
    assert 'airflow_metastore_import_errors{file_path="a \\"b\\"\\\\c\\nd.py"} 1.0\n' in page


def test_the_same_series_stay_when_a_family_is_cut() -> None:
    samples = Samples(NOW)
    for name in ("c", "a", "b"):
        samples.set("metastore.dag_paused", 0, name)
    kept = samples.capped(2)
    assert list(kept["metastore.dag_paused"]) == [("a",), ("b",)]
    assert kept["metastore.series_dropped"] == {(): 1}


@pytest.mark.parametrize(
    ("path", "folder", "shown"),
    [
        ("/dags/a/b.py", "/dags", "a/b.py"),
        ("/dags/a.py", "/dags/", "a.py"),
        ("/dags2/a.py", "/dags", "/dags2/a.py"),
        ("/dags/a.py", "", "/dags/a.py"),
        ("a.py", "/dags", "a.py"),
    ],
)
def test_paths_are_shown_as_seen_from_the_dag_folder(path: str, folder: str, shown: str) -> None:
    assert relative(path, folder) == shown


@pytest.mark.parametrize(
    "url", ["", "nonsense", "oracle://u:hunter2@h/d", "postgresql://u:hunter2@h:port/d", "sqlite://"]
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as refused:
        ReadOnlyDatabase(url, 1)
    assert "sqlite:////path/file.db" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql+psycopg2://u:hunter2@h/d?password=hunter2", "postgres://u:hunter2@h/d"])
def test_airflows_drivers_are_understood_and_passwords_hidden(url: str) -> None:
    assert str(ReadOnlyDatabase(url, 1)) == "postgresql+psycopg://u:***@h/d"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(ReadError, match="unable to open database file"):
        MetastoreReader(MetastoreConfig(url=f"sqlite:///{path}"))()
    assert not path.exists()


def test_a_database_without_tables_says_how_to_make_them(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(UnknownSchemaError, match="it has no tables yet; run `windsock db init`"):
        MetastoreReader(MetastoreConfig(url=f"sqlite:///{path}"))()
