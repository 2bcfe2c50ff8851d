"""The bridge and prom/statsd_exporter 0.30, fed the same bytes and mapping, must show the same page.

`comparable` says which lines of it are left out, and why.
"""

from __future__ import annotations

import gzip
import random
import re
import socket
import subprocess
import textwrap
from pathlib import Path

import pytest
from pages import comparable
from statsd_wire import Wire, configured, get, samples, serving, statsd_exporter_serving, wait_for

from exporters.catalogue import CATALOGUE, SignalType, windsock_signals
from exporters.generate import PACKAGE_DIR, STATSD_MAPPING
from exporters.mapping import Flavour

DATA = Path(__file__).parents[2] / "data"

BY_HAND = """\
airflow.executor.open_slots,status=open,executor_class_name=LocalExecutor:32|g
airflow.executor.open_slots,status=open,executor_class_name=LocalExecutor:0|g
airflow.executor.open_slots,status=open,executor_class_name=LocalExecutor:-2|g
airflow.dag_processing.processes,file_path=a/b.py,action=start:1|c
airflow.dag_processing.processes,file_path=a/b.py,action=start:-1|c
airflow.ti_failures:1|c|#dag_id:etl,task_id:group.load
airflow.ti_failures#dag_id=etl,task_id=x:1|c|@0.5
airflow.ti_failures[dag_id=etl,task_id=x]:2|c
airflow.ti_failures:1|g
airflow.task.duration,dag_id=etl,task_id=x:1500:20:60000|ms
airflow.task.duration,dag_id=etl,task_id=x:10|ms|@0.3
airflow.scheduler.scheduler_loop_duration:3|ms:7.25|ms:nonsense|ms
airflow.scheduler_heartbeat:1|c:1|c
airflow.scheduler_heartbeat:x|c
airflow.scheduler_heartbeat:1|c|
airflow.scheduler_heartbeat
airflow.own-metric.of--somebody,colour=red:1|c
airflow.own_timer,colour=red:250|ms
airflow.own_timer_sum:1|c
airflow.own_set:1|s
airflow.1st:1|c
airflow.unicode,who=Zoë:1|c
"""


def catalogue_lines() -> list[str]:
    """Two lines of every signal, tagged, and two of every dotted form."""
    chance = random.Random(7)
    lines = []
    for signal in CATALOGUE.values():
        tags = "".join(f",{label}={label}_{chance.randrange(2)}" for label in signal.labels)
        names = [signal.name + tags] if signal.tagged else []
        for form in signal.legacy:
            names.append(form.embed({name: f"{name}.{chance.randrange(2)}" for name in form.variables}))
        number = {SignalType.TIMER: "1234.5", SignalType.GAUGE: "3", SignalType.COUNTER: "2"}[signal.type]
        lines += [f"airflow.{name}:{number}|{signal.type.wire}" for name in names for _ in range(2)]
    return lines


def compare(binary: Path, mapping: Path, lines: list[str], tmp_path: Path) -> dict[object, float]:
    """Feed both over TCP, which loses nothing; returns what the bridge showed of the senders' series."""
    payload = "\n".join([*lines, "airflow.mark:1|c\n"]).encode()
    with (
        statsd_exporter_serving(binary, mapping, tmp_path / "statsd_exporter.log") as (statsd, web),
        serving(configured(mapping=mapping)) as bridge,
    ):
        for port in (statsd, bridge.statsd_port):
            Wire(port).tcp(payload)  # the mark is last: when it is there, so is everything before it
        pages = []
        for port in (web, bridge.web_port):
            wait_for(lambda port=port: "airflow_mark" in get(port, "/metrics")[1], "the mark")
            pages.append(get(port, "/metrics")[1])
    theirs, ours = (comparable(page) for page in pages)
    assert ours == theirs
    return {key: value for key, value in samples(pages[1]).items() if key[0].startswith("airflow_")}


def test_lines_of_every_style_and_every_fault_give_the_same_series(statsd_exporter: Path, tmp_path: Path) -> None:
    shown = compare(statsd_exporter, STATSD_MAPPING, BY_HAND.splitlines(), tmp_path)
    executor = (("executor_class_name", "LocalExecutor"), ("status", "open"))
    assert shown["airflow_executor_open_slots", executor] == -2
    assert shown["airflow_own_metric_of_somebody", (("colour", "red"),)] == 1


@pytest.mark.parametrize("flavour", Flavour)
def test_every_signal_of_the_catalogue_gives_the_same_series(
    statsd_exporter: Path, tmp_path: Path, flavour: Flavour
) -> None:
    shown = compare(statsd_exporter, PACKAGE_DIR / flavour, catalogue_lines(), tmp_path)
    families = {name for name, _ in shown}
    kept = [row for row in windsock_signals() if not row.decremented & flavour.sender.emitters]
    assert {row.series_name() for row in kept if row.type is not SignalType.TIMER} <= families


def test_a_mapping_by_hand_gives_the_same_series(statsd_exporter: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yml"
    mapping.write_text(
        textwrap.dedent(
            r"""
            defaults: {observer_type: histogram, histogram_options: {buckets: [0.01, 0.1]}, ttl: 1h}
            mappings:
            - {match: "airflow.*.b.*", name: "airflow_g_$1", labels: {end: "$2"}, match_metric_type: counter}
            - {match: "airflow.a.b.c", name: "airflow_shadowed"}
            - {match: "airflow.drop.*", name: "airflow_drop", action: drop}
            - {match: "airflow.scaled", name: "airflow_scaled", scale: 0.001}
            - {match: "airflow.honest.*", name: "airflow_honest", labels: {who: "$1"}, honor_labels: true}
            - {match: "airflow.forced.*", name: "airflow_forced", labels: {who: "$1"}}
            - match: '^airflow\.re\.(\w+)\.(.*)$'
              match_type: regex
              name: "airflow_re_${1}"
              labels: {rest: "$2"}
            - {match: 're\.', match_type: regex, name: "airflow_loose"}
            """
        ),
        encoding="utf-8",
    )
    lines = [
        "airflow.a.b.c:1|c",
        "airflow.a.b.c:1|g",
        "airflow.x.b.y,extra=1:2|c",
        "airflow.drop.this:1|c",
        "airflow.scaled:1500|g",
        "airflow.scaled:+1500|g",
        "airflow.honest.rule,who=tag:1|c",
        "airflow.forced.rule,who=tag:1|c",
        "airflow.re.one.two.three:1|c",
        "airflow.x.re.y:1|ms",
    ]
    compare(statsd_exporter, mapping, lines, tmp_path)


@pytest.mark.parametrize(
    ("capture", "flavour"),
    [
        ("airflow-3.3.2-influxdb-tagged-only.txt.gz", Flavour.SINGLE),
        ("airflow-3.3.2-plain.txt.gz", Flavour.AIRFLOW_PLAIN),
    ],
)
def test_what_a_real_airflow_sent_gives_the_same_series_of_the_catalogue(
    statsd_exporter: Path, tmp_path: Path, capture: str, flavour: Flavour
) -> None:
    lines = captured(capture)
    shown = compare(statsd_exporter, PACKAGE_DIR / flavour, lines, tmp_path)
    families = {re.sub(r"_(bucket|sum)$", "", name) for name, _ in shown} - {"airflow_mark"}
    known = {row.series_name() for row in CATALOGUE.values()}
    assert {name for name in families if name not in known and name.removesuffix("_count") not in known} == set()


def captured(name: str) -> list[str]:
    """A recording of Airflow 3.3.2's lines, without their arrival times."""
    text = gzip.decompress((DATA / name).read_bytes()).decode()
    return [line.partition(" ")[2] for line in text.splitlines()]


@pytest.mark.parametrize("flavour", Flavour)
def test_statsd_exporter_accepts_the_generated_mapping(statsd_exporter: Path, flavour: Flavour) -> None:
    command = [statsd_exporter, f"--statsd.mapping-config={PACKAGE_DIR / flavour}", "--check-config"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_datagrams_over_udp_and_a_unix_socket_give_the_same_page(statsd_exporter: Path, tmp_path: Path) -> None:
    """Blank lines, packets without a newline at their end and with two, an empty packet, carriage returns, garbage."""
    packets = [
        b"a:1|c",
        b"a:2|c\n",
        b"a:3|c\n\n",
        b"\n\n",
        b"",
        b"a:4|c\r\nb:1|c\r",
        b"\xff:1|c\n\x00",
        b"c:1|ms\nd:x|c",
    ]
    paths = [tmp_path / "theirs.sock", tmp_path / "ours.sock"]
    with (
        statsd_exporter_serving(
            statsd_exporter, STATSD_MAPPING, tmp_path / "log", f"--statsd.listen-unixgram={paths[0]}"
        ) as (statsd, web),
        serving(configured(unixgram=paths[1])) as bridge,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as network,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local,
    ):
        pages = []
        for port, path, page in ((statsd, paths[0], web), (bridge.statsd_port, paths[1], bridge.web_port)):
            for packet in [*packets, b"mark.network:1|c"]:
                network.sendto(packet, ("127.0.0.1", port))
            wait_for(lambda page=page: "mark_network" in get(page, "/metrics")[1], "the last packet")
            for packet in [*packets, b"mark.local:1|c"]:
                local.sendto(packet, str(path))
            wait_for(lambda page=page: "mark_local" in get(page, "/metrics")[1], "the last packet")
            pages.append(get(page, "/metrics")[1])
    theirs, ours = (comparable(page) for page in pages)
    assert ours == theirs
    assert "statsd_exporter_unixgram_packets_total 9" in ours
    assert "a 12" in ours
