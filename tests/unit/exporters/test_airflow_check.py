"""`windsock airflow check`, judged on what real Airflows sent and on what wrong settings would make of it."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from pathlib import Path

import pytest

from exporters.airflow_check import State, report, report_of_page
from exporters.airflow_lines import MAX_HEADS, Heard, hear, listen
from exporters.catalogue import signal
from exporters.errors import AddressError
from exporters.signal import Emitter, Mode

DATA = Path(__file__).parents[2] / "data"


def capture(name: str) -> list[bytes]:
    """The lines of a recording, without their arrival times."""
    text = gzip.decompress((DATA / f"{name}.txt.gz").read_bytes())
    return [line.partition(b" ")[2] for line in text.splitlines()]


def judged(lines: list[bytes], **known: object) -> tuple[dict[str, State], str]:
    """State by signal, and all remarks."""
    found = report(hear(lines), **known)  # type: ignore[arg-type]
    return {each.series: each.state for each in found.findings}, " | ".join(found.remarks)


def series(name: str) -> str:
    return signal(name).series_name()


@pytest.mark.parametrize(
    ("name", "emitters", "mode", "mapping"),
    [
        ("airflow-2.11-plain", Emitter.AIRFLOW_2, Mode.PLAIN, "2_plain"),
        ("airflow-2.11-influxdb", Emitter.AIRFLOW_2, Mode.INFLUXDB, "2_tagged"),
        ("airflow-2.11-datadog", Emitter.AIRFLOW_2, Mode.DATADOG, "2_datadog"),
        ("airflow-3.3.2-plain", Emitter.AIRFLOW_3_3, Mode.PLAIN, "plain"),
        ("airflow-3.3.2-influxdb-tagged-only", Emitter.AIRFLOW_3_3, Mode.INFLUXDB, "tagged"),
    ],
)
def test_version_mode_and_mapping_are_told_from_what_a_real_airflow_sent(
    name: str, emitters: Emitter, mode: Mode, mapping: str
) -> None:
    found = report(hear(capture(name)))
    assert (found.emitters, found.mode) == (emitters, mode)
    assert found.mappings == (f"exporters/statsd_mapping_airflow_{mapping}.yml",)
    assert not [each.series for each in found.findings if each.state is State.MISSING]


def test_what_an_old_version_does_not_send_is_told_with_what_to_use() -> None:
    found = report(hear(capture("airflow-2.11-influxdb")))
    (heartbeat,) = [each for each in found.findings if each.series == series("dag_processor_heartbeat")]
    assert heartbeat.state is State.NOT_SENT
    assert "use airflow_dag_processing_total_parse_time" in heartbeat.why


def test_a_block_list_is_told_by_what_is_missing_of_a_process_that_is_heard() -> None:
    lines = [line for line in capture("airflow-2.11-influxdb") if b"pool." not in line]
    found = report(hear(lines))
    (slots,) = [each for each in found.findings if each.series == series("pool.open_slots")]
    assert slots.state is State.MISSING
    assert "metrics_block_list" in slots.why


def test_a_process_that_is_not_heard_is_named() -> None:
    lines = [line for line in capture("airflow-2.11-influxdb") if b"trigger" not in line]
    states, remarks = judged(lines)
    assert states[series("triggerer_heartbeat")] is State.MISSING
    assert "nothing of the triggerer arrives" in remarks


def test_another_prefix_is_found_and_told() -> None:
    lines = [line.replace(b"airflow.", b"prod.etl.", 1) for line in capture("airflow-2.11-influxdb")]
    states, remarks = judged(lines)
    assert states[series("scheduler_heartbeat")] is State.ARRIVES
    assert 'statsd_prefix is "prod.etl"' in remarks


def test_disabled_tags_are_told_by_the_signals_that_lack_them() -> None:
    lines = [re.sub(rb",pool_name=[^,:]+", b"", line) for line in capture("airflow-2.11-influxdb")]
    _, remarks = judged(lines)
    assert "tags are missing on pool.deferred_slots" in remarks
    assert "statsd_disabled_tags" in remarks


def test_plain_mode_without_legacy_names_is_told_to_leave_no_labels() -> None:
    lines = [re.sub(rb",[^:]+:", b":", line) for line in capture("airflow-3.3.2-influxdb-tagged-only")]
    _, remarks = judged([line for line in lines if b"m_" not in line])
    assert "legacy_names_on = False without tags leaves no labels" in remarks


def test_counts_that_2_x_takes_back_are_told() -> None:
    _, remarks = judged(capture("airflow-2.11-plain"))
    assert "illegal_negative_counter" in remarks


def test_two_airflows_on_one_port_are_told() -> None:
    lines = capture("airflow-2.11-influxdb") + capture("airflow-3.3.2-influxdb-tagged-only")
    _, remarks = judged(lines)
    assert "several Airflows send here" in remarks


def test_a_version_that_is_given_is_believed() -> None:
    found = report(hear(capture("airflow-2.11-plain")), version="2.11")
    assert found.emitters is Emitter.AIRFLOW_2_11


def test_foreign_and_unreadable_lines_are_told_apart() -> None:
    heard = hear([b"airflow.scheduler_heartbeat:1|c", b"airflow.my.own:1|c", b"nonsense", b""])
    assert (heard.lines, heard.unreadable, heard.count("scheduler_heartbeat")) == (3, 1, 1)
    assert heard.unknown == {"my.own": 1}


def test_an_event_in_both_forms_counts_once() -> None:
    heard = hear([b"airflow.ti.start.etl.load:1|c", b"airflow.ti.start,dag_id=etl,task_id=load:1|c"])
    assert heard.count("ti.start") == 1


def test_a_flood_of_names_is_counted_and_not_kept() -> None:
    heard = hear(b"airflow.own.name_%d:1|c" % number for number in range(MAX_HEADS + 10))
    assert heard.lines == MAX_HEADS + 10
    assert len(heard.unknown) == MAX_HEADS


def test_lines_are_taken_from_the_port_until_the_time_is_over() -> None:
    ports: list[int] = []
    sent = threading.Event()

    def started(port: int) -> None:
        ports.append(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"airflow.scheduler_heartbeat:1|c\nairflow.dagbag_size:7|g", ("127.0.0.1", port))
        sent.set()

    heard: Heard = hear(listen("127.0.0.1", 0, 2.0, started))
    assert sent.is_set()
    assert (heard.lines, heard.count("dagbag_size")) == (2, 1)


def test_a_taken_port_is_told_with_the_way_to_read_the_exporter_instead() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(AddressError, match="--exporter"):
            list(listen("127.0.0.1", taken.getsockname()[1], 1, lambda port: None))


PAGE = """\
airflow_scheduler_heartbeat 5
airflow_executor_open_slots{status="open",executor_class_name="LocalExecutor"} 3
airflow_connection_test_active 0
airflow_task_duration_bucket{dag_id="etl",task_id="load",le="+Inf"} 4
airflow_task_duration_sum{dag_id="etl",task_id="load"} 9.5
airflow_task_duration_count{dag_id="etl",task_id="load"} 4
airflow_dag_etl_load_duration_count 4
statsd_exporter_lines_total 900
statsd_exporter_events_unmapped_total 12
statsd_exporter_events_error_total{reason="illegal_negative_counter"} 3
statsd_exporter_udp_packet_drops_total 0
"""


def test_a_running_exporter_is_read_with_its_losses_and_what_its_mapping_leaves_over() -> None:
    found = report_of_page(PAGE)
    arriving = {each.series: each.count for each in found.findings if each.state is State.ARRIVES}
    assert arriving == {
        "airflow_scheduler_heartbeat": 5,
        "airflow_executor_open_slots": 1,
        "airflow_connection_test_active": 1,
        "airflow_task_duration": 4,
    }
    assert found.emitters == Emitter.AIRFLOW_3_3
    remarks = " | ".join(found.remarks)
    assert "12 samples fit no rule" in remarks
    assert "no mapping of ours makes, so another mapping is in use: airflow_dag_etl_load_duration_count" in remarks
    assert "events_error_total: illegal_negative_counter: 3 lost" in remarks
    assert "udp_packet_drops" not in remarks


def test_labels_that_the_mapping_makes_of_dotted_names_are_no_sign_of_a_version() -> None:
    page = 'airflow_operator_failures{operator_name="BashOperator"} 1\nairflow_zombies_killed 0\n'
    assert report_of_page(page).emitters & Emitter.AIRFLOW_2


def test_a_page_of_something_else_is_told() -> None:
    found = report_of_page("node_load1 0.5\n")
    assert not found.anything
    assert "no StatsD exporter answers there" in found.remarks[0]
