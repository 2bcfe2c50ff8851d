"""Every version of Airflow in every mode: its lines become the catalogue's series, once, in both exporters."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest
from statsd_wire import Wire, get, samples, statsd_exporter_serving, wait_for

sys.path.insert(0, str(Path(__file__).parent))

from airflow_wire import COLUMNS, SECONDS, Airflow, Event, events

from exporters.generate import PACKAGE_DIR
from exporters.mapping import flavour_for
from exporters.signal import AIRFLOW_VERSIONS, Mode
from tests.servers.binaries import require
from tests.servers.bridges import bridge_serving

Labels = tuple[tuple[str, str], ...]
Page = dict[tuple[str, Labels], float]

SET_UPS = [
    *(Airflow(version, mode) for version in COLUMNS for mode in Mode),
    *(Airflow("2.11", mode, consistent=True) for mode in Mode),
    *(Airflow(version, mode, executors=2) for version in ("2.11", "3.3") for mode in Mode),
]


def ident(airflow: Airflow) -> str:
    return (
        f"{airflow.version}-{airflow.mode}{'-consistent' * airflow.consistent}{'-executors' * (airflow.executors > 1)}"
    )


def mapping(airflow: Airflow) -> Path:
    emitter = AIRFLOW_VERSIONS[airflow.version]
    return PACKAGE_DIR / flavour_for(emitter, Mode(airflow.mode), consistent=airflow.consistent)


def pages(airflow: Airflow, lines: list[str], tmp_path: Path) -> dict[str, Page]:
    """What statsd_exporter and the bridge show after these lines, fed over TCP, which loses nothing."""
    payload = "\n".join([*lines, "mark:1|c\n"]).encode()
    log = tmp_path / "statsd_exporter.log"
    found = {}
    with (
        statsd_exporter_serving(require("statsd_exporter"), mapping(airflow), log) as (statsd, web),
        bridge_serving(mapping(airflow)) as (bridge_statsd, bridge_web),
    ):
        for port in (statsd, bridge_statsd):
            Wire(port).tcp(payload)
        for name, port in (("statsd_exporter", web), ("bridge", bridge_web)):
            wait_for(lambda port=port: "\nmark 1" in get(port, "/metrics")[1], "the mark")
            found[name] = as_prometheus_reads(samples(get(port, "/metrics")[1]))
    return found


def as_prometheus_reads(page: Page) -> Page:
    """To Prometheus a label without a value is none."""
    read = {(name, tuple(label for label in labels if label[1])): value for (name, labels), value in page.items()}
    assert len(read) == len(page), "two series differ in empty labels only"
    return read


def shown(page: Page, event: Event) -> list[tuple[dict[str, str], float]]:
    """The family's series: labels and value; a timer's must have counted once."""
    if event.type != "timer":
        return [(dict(labels), value) for (name, labels), value in page.items() if name == event.family]
    counts = {labels: value for (name, labels), value in page.items() if name == f"{event.family}_count"}
    assert set(counts.values()) <= {1.0}, f"{event.family} was counted {counts}"
    return [(dict(labels), page[f"{event.family}_sum", labels]) for labels in counts]


@pytest.mark.parametrize("airflow", SET_UPS, ids=ident)
def test_each_event_becomes_one_series_with_its_labels_value_and_unit(airflow: Airflow, tmp_path: Path) -> None:
    happened = list(events(airflow))
    lines = [line for event in happened for line in event.lines]
    for exporter, page in pages(airflow, lines, tmp_path).items():
        wrong = {
            event.family: (got, event)
            for event in happened
            if (got := shown(page, event)) != [(event.labels, pytest.approx(event.value))]
        }
        assert not wrong, exporter
        families = {name for name, _ in page if name.startswith("airflow_")}
        timers = {f"{event.family}{end}" for event in happened for end in ("_bucket", "_sum", "_count")}
        assert families <= {event.family for event in happened} | timers, exporter
        assert not [key for key, value in page.items() if key[0] == "statsd_exporter_events_conflict_total" and value]


@pytest.mark.parametrize("version", ["2.11", "3.2", "3.3"])
def test_the_processes_that_2_x_takes_back_are_left_out_and_nothing_is_refused(version: str, tmp_path: Path) -> None:
    airflow = Airflow(version, "influxdb")
    start = "airflow.dag_processing.processes,file_path=a/b.py,action=start:1|c"
    lines = [start, start, *(["airflow.dag_processing.processes,file_path=a/b.py,action=finish:-1|c"] * airflow.is_2)]
    for exporter, page in pages(airflow, lines, tmp_path).items():
        refused = sum(value for (name, _), value in page.items() if name == "statsd_exporter_events_error_total")
        assert refused == 0, exporter
        started = page.get(("airflow_dag_processing_processes", (("action", "start"), ("file_path", "a/b.py"))))
        assert started == (None if airflow.is_2 else 2), exporter


def test_a_gauge_that_goes_below_zero_ends_below_zero(tmp_path: Path) -> None:
    lines = ["airflow.pool.open_slots.p:3|g", "airflow.pool.open_slots.p:0|g", "airflow.pool.open_slots.p:-2|g"]
    for exporter, page in pages(Airflow("3.3", "plain"), lines, tmp_path).items():
        assert page["airflow_pool_open_slots", (("pool_name", "p"),)] == -2, exporter


@pytest.mark.parametrize("version", ["2.11", "3.2"])
def test_a_dag_id_with_dots_loses_no_sample_where_no_tag_tells_its_end(version: str, tmp_path: Path) -> None:
    lines = [f"airflow.dag.my.dag.group.task.scheduled_duration:{SECONDS}|ms", "airflow.task.scheduled_duration:1|ms"]
    lines += ["airflow.dagrun.duration.success.my.dag:2500|ms", "airflow.dagrun.duration.success:2500|ms"]
    for exporter, page in pages(Airflow(version, "plain"), lines, tmp_path).items():
        counts: dict[str, float] = defaultdict(float)
        for (name, _), value in page.items():
            counts[name] += value
        assert counts["airflow_task_scheduled_duration_count"] == 1, exporter
        assert page["airflow_dagrun_duration_success_sum", (("dag_id", "my.dag"),)] == pytest.approx(SECONDS), exporter


def test_what_datadogs_client_says_of_itself_becomes_no_series(tmp_path: Path) -> None:
    line = "datadog.dogstatsd.client.metrics:7|c|#client:py,client_version:0.56.0,client_transport:udp"
    for exporter, page in pages(Airflow("2.11", "datadog"), [line], tmp_path).items():
        assert not [name for name, _ in page if name.startswith("datadog")], exporter
