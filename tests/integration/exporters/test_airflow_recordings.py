"""What real Airflows sent, in every mode, gives the numbers that their own databases counted.

The recordings are made by `make e2e-airflow` with WINDSOCK_E2E_RECORD=tests/data.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from statsd_wire import Wire, get, samples, statsd_exporter_serving, wait_for

from exporters.generate import PACKAGE_DIR
from exporters.mapping import flavour_for
from exporters.signal import AIRFLOW_VERSIONS, Mode
from tests.e2e_airflow.truth import PARALLELISM, Truth, truths
from tests.servers.binaries import require
from tests.servers.bridges import bridge_serving

DATA = Path(__file__).parents[2] / "data"
RECORDINGS = sorted(path.name.removesuffix(".counts.json") for path in DATA.glob("airflow-*.counts.json"))

Page = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def told(page: Page, series: str, labels: tuple[tuple[str, str], ...] = ()) -> list[float]:
    return [value for (name, own), value in page.items() if name == series and set(labels) <= set(own)]


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request: pytest.FixtureRequest) -> tuple[str, Mode, dict[str, float], dict[str, Page]]:
    """Version, mode, what the database counted, and the pages of both exporters."""
    _, version, mode = request.param.split("-")
    flavour = flavour_for(AIRFLOW_VERSIONS[version], Mode(mode))
    text = gzip.decompress((DATA / f"{request.param}.txt.gz").read_bytes()).decode()
    lines = [line.partition(" ")[2] for line in text.splitlines()]
    payload = "\n".join([*lines, "mark:1|c\n"]).encode()
    pages: dict[str, Page] = {}
    log = Path("/dev/null")
    with (
        statsd_exporter_serving(require("statsd_exporter"), PACKAGE_DIR / flavour, log) as (statsd, web),
        bridge_serving(PACKAGE_DIR / flavour) as (bridge_statsd, bridge_web),
    ):
        for port in (statsd, bridge_statsd):
            Wire(port).tcp(payload)
        for name, port in (("statsd_exporter", web), ("bridge", bridge_web)):
            wait_for(lambda port=port: "\nmark 1" in get(port, "/metrics")[1], "the mark")
            pages[name] = samples(get(port, "/metrics")[1])
    counted = json.loads((DATA / f"{request.param}.counts.json").read_text(encoding="utf-8"))
    return version, Mode(mode), counted, pages


def expected(version: str) -> list[Truth]:
    return truths(major=version[0])


Recording = tuple[str, Mode, dict[str, float], dict[str, Page]]


def test_every_number_is_the_databases(recording: Recording) -> None:
    version, _, counted, pages = recording
    for exporter, page in pages.items():
        sums = {each: sum(told(page, each.series, each.labels)) for each in expected(version)}
        wrong = {
            each.name: (got, counted[each.name])
            for each, got in sums.items()
            if not each.holds(got, counted[each.name])
        }
        assert not wrong, exporter


def test_the_executors_slots_are_told_once(recording: Recording) -> None:
    *_, pages = recording
    for exporter, page in pages.items():
        assert told(page, "airflow_executor_open_slots") == [PARALLELISM], exporter


def test_nothing_is_refused_and_nothing_is_without_a_rule(recording: Recording) -> None:
    *_, pages = recording
    for exporter, page in pages.items():
        assert sum(told(page, "statsd_exporter_events_error_total")) == 0, exporter
        assert sum(told(page, "statsd_exporter_sample_errors_total")) == 0, exporter
        assert sum(told(page, "statsd_exporter_events_unmapped_total")) == 1, exporter  # the mark


def test_tasks_are_found_by_dag_and_task(recording: Recording) -> None:
    version, mode, _, pages = recording
    group = "outer__inner__load" if (version, mode) == ("3.3", Mode.PLAIN) else "outer.inner.load"
    labels = (("dag_id", "e2e_groups"), ("state", "success"), ("task_id", group))
    for exporter, page in pages.items():
        assert told(page, "airflow_ti_finish", labels) == [1], exporter


def test_a_loop_of_the_scheduler_takes_a_time_that_can_be(recording: Recording) -> None:
    *_, pages = recording
    for exporter, page in pages.items():
        (seconds,) = told(page, "airflow_scheduler_scheduler_loop_duration_sum")
        (loops,) = told(page, "airflow_scheduler_scheduler_loop_duration_count")
        assert 0.001 < seconds / loops < 30, exporter
