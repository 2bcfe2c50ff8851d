"""The command that helps to connect an Airflow."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli.airflow import begin_sentence
from engine.cli.main import cli
from tests.servers.processes import free_port

CAPTURE = Path(__file__).parents[2] / "data" / "airflow-2.11-influxdb.txt.gz"


def check(*words: str) -> Result:
    return CliRunner().invoke(cli, ["airflow", "check", *words], prog_name="windsock", env={"COLUMNS": "160"})


@contextmanager
def replaying(port: int) -> Iterator[None]:
    """Sends the recording, again and again, for as long as the block runs."""
    lines = [line.partition(b" ")[2] for line in gzip.decompress(CAPTURE.read_bytes()).splitlines()]
    stopping = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stopping.wait(0.05):
                for start in range(0, len(lines), 20):
                    sender.sendto(b"\n".join(lines[start : start + 20]), ("127.0.0.1", port))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@pytest.fixture
def port() -> int:
    return free_port()


def test_check_shows_what_arrives_and_which_mapping_fits(port: int) -> None:
    with replaying(port):
        result = check("--listen", f"127.0.0.1:{port}", "--seconds", "3")
    assert result.exit_code == 0, result.output
    assert "airflow_scheduler_heartbeat" in result.stdout
    assert "Airflow 2.x, mode influxdb." in result.stdout
    assert "Mapping file: exporters/statsd_mapping_airflow_2_tagged.yml" in result.stdout


def test_check_as_json_holds_every_signal_also_those_of_events_that_did_not_happen(port: int) -> None:
    with replaying(port):
        result = check("--listen", f"127.0.0.1:{port}", "--seconds", "3", "--output", "json")
    rows = {row["series"]: row for row in json.loads(result.stdout)}
    assert rows["airflow_pool_open_slots"]["state"] == "arrives"
    assert rows["airflow_zombies_killed"]["state"] == "not seen"


def test_check_fails_where_nothing_arrives_and_says_where_to_look(port: int) -> None:
    result = check("--listen", f"127.0.0.1:{port}", "--seconds", "0.2")
    assert result.exit_code == 1
    assert "statsd_on = True" in result.stderr


def test_check_says_who_may_hold_the_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        result = check("--listen", f"127.0.0.1:{port}", "--seconds", "1")
    assert result.exit_code == 1
    assert "--exporter http://localhost:9102" in result.stderr


@contextmanager
def showing(page: bytes, status: int = 200) -> Iterator[str]:
    """A web server that answers everything with this page; its address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *words: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_check_at_another_programs_port_says_that_first_and_nothing_of_airflows_settings() -> None:
    with showing(b"node_load1 0.5\n") as address:
        result = check("--exporter", address)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"windsock: no StatsD exporter answers at {address}: ")
    assert "statsd_on" not in result.stderr


def test_check_at_a_port_without_metrics_says_what_answers_there() -> None:
    with showing(b"", 404) as address:
        result = check("--exporter", address)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"windsock: no exporter answers at {address}/metrics, but something that says 404")


def test_check_says_what_the_exporter_loses_before_it_asks_for_airflows_settings() -> None:
    with showing(b"statsd_exporter_lines_total 3\nstatsd_exporter_events_unmapped_total 3\n") as address:
        result = check("--exporter", address)
    assert result.exit_code == 1
    first, second, *_ = result.stderr.splitlines()
    assert first.startswith("windsock: 3 samples fit no rule")
    assert second.startswith("windsock: Nothing arrives.")


def test_check_reads_a_running_exporter() -> None:
    with showing(b"airflow_scheduler_heartbeat 3\nstatsd_exporter_lines_total 3\n") as address:
        result = check("--exporter", address)
    assert result.exit_code == 0, result.output
    assert "airflow_scheduler_heartbeat" in result.stdout
    assert "nothing of the triggerer arrives" in result.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--listen", "9125"), "is no HOST:PORT"),
        (("--exporter", "localhost:9102"), "is no URL"),
        (("--version", "1.10"), "Invalid value for '--version'"),
    ],
)
def test_check_refuses_what_it_cannot_use(words: tuple[str, ...], sentence: str) -> None:
    result = check(*words)
    assert result.exit_code == 2
    assert sentence in result.stderr


@pytest.mark.parametrize(
    ("remark", "begun"),
    [
        ("statsd_prefix is another", "statsd_prefix is another"),
        ("scheduler.parsing_processes is 1", "scheduler.parsing_processes is 1"),
        ("no line came", "No line came"),
    ],
)
def test_a_remark_begins_with_a_large_letter_unless_a_name_stands_there(remark: str, begun: str) -> None:
    assert begin_sentence(remark) == begun
