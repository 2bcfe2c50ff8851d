from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from statsd_wire import Wire, configured, free_port, get, samples, serving, wait_for

from exporters.bridge import Bridge
from exporters.errors import AddressError, MappingError, WebServerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]


def value(bridge: Bridge, name: str, **labels: str) -> float | None:
    return samples(get(bridge.web_port, "/metrics")[1]).get((name, tuple(sorted(labels.items()))))


def wait_for_value(bridge: Bridge, expected: float, name: str, **labels: str) -> None:
    wait_for(lambda: value(bridge, name, **labels) == expected, f"{name} {expected}")


def test_lines_over_udp_become_series_under_their_exact_names(bridge: Bridge) -> None:
    Wire(bridge.statsd_port).udp(
        "airflow.ti_failures,dag_id=etl,task_id=load:1|c\nairflow.ti_failures,dag_id=etl,task_id=load:2|c\n",
        "airflow.dagbag_size:7|g",
    )
    wait_for_value(bridge, 3, "airflow_ti_failures", dag_id="etl", task_id="load")
    wait_for_value(bridge, 7, "airflow_dagbag_size")
    page = get(bridge.web_port, "/metrics")[1]
    assert "# TYPE airflow_ti_failures counter\n" in page
    assert "airflow_ti_failures_total" not in page


def test_lines_over_tcp_may_be_cut_anywhere_and_the_last_needs_no_newline(bridge: Bridge) -> None:
    with socket.create_connection(("127.0.0.1", bridge.statsd_port)) as sender:
        sender.sendall(b"a:1|c\na:2")
        wait_for_value(bridge, 1, "a")
        sender.sendall(b"|c\nb:5|g\na:4|c")
        wait_for_value(bridge, 3, "a")
    wait_for_value(bridge, 7, "a")
    wait_for_value(bridge, 1, "statsd_exporter_tcp_connections_total")


def test_too_long_a_line_closes_its_connection_and_is_counted(bridge: Bridge) -> None:
    with socket.create_connection(("127.0.0.1", bridge.statsd_port)) as sender:
        sender.sendall(b"a:1|c\n" + b"x" * 5000)
        assert sender.recv(1) == b""
    wait_for_value(bridge, 1, "statsd_exporter_tcp_too_long_lines_total")
    wait_for_value(bridge, 1, "a")


def test_the_bridge_tells_what_it_took_and_what_it_refused(bridge: Bridge) -> None:
    Wire(bridge.statsd_port).udp("airflow.dagbag_size:7|g\nodd:1|c\nodd:1|c|\nnonsense\nodd:-1|c\nodd:2|g\nodd:1|c|#x")
    wait_for_value(bridge, 7, "statsd_exporter_lines_total")
    assert value(bridge, "statsd_exporter_events_total", type="gauge") == 1
    assert value(bridge, "statsd_exporter_events_total", type="counter") == 2
    assert value(bridge, "statsd_exporter_events_actions_total", action="map") == 1
    assert value(bridge, "statsd_exporter_events_unmapped_total") == 4
    assert value(bridge, "statsd_exporter_sample_errors_total", reason="malformed_component") == 1
    assert value(bridge, "statsd_exporter_sample_errors_total", reason="malformed_line") == 1
    assert value(bridge, "statsd_exporter_events_error_total", reason="illegal_negative_counter") == 1
    assert value(bridge, "statsd_exporter_events_conflict_total", type="gauge", metric_name="odd") == 1
    assert value(bridge, "statsd_exporter_tag_errors_total") == 1
    assert value(bridge, "statsd_exporter_udp_packets_total") == 1
    assert value(bridge, "statsd_exporter_udp_packet_drops_total") == 0


def test_packets_that_find_the_buffer_full_are_counted() -> None:
    config = configured(receive_buffer_bytes=4096)
    bridge = Bridge(config)  # it listens, and nobody reads
    wire = Wire(bridge.statsd_port)
    wire.udp(*["a:1|c"] * 200)
    lost = bridge._listener.udp_drops()
    bridge._web.close()
    bridge._listener.close()
    assert 0 < lost < 200


def test_lines_over_a_unix_datagram_socket(tmp_path: Path) -> None:
    path = tmp_path / "gram.sock"
    with serving(configured(unixgram=path)) as bridge, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"a:1|c\na:2|c", str(path))
        sender.sendto(b"\n".join([b"many:1|c"] * 10_000), str(path))  # larger than any UDP packet
        wait_for_value(bridge, 3, "a")
        wait_for_value(bridge, 10_000, "many")
        assert value(bridge, "statsd_exporter_unixgram_packets_total") == 2


def test_lines_over_a_unix_stream_socket(tmp_path: Path) -> None:
    path = tmp_path / "stream.sock"
    with serving(configured(unixstream=path)) as bridge:
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(str(path))
            sender.sendall(b"a:1|c\r\na:2|")
            wait_for_value(bridge, 1, "a")
            sender.sendall(b"c\na:4|c")
        wait_for_value(bridge, 7, "a")
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(str(path))
            sender.sendall(b"x" * 5000)
            assert sender.recv(1) == b""
        assert value(bridge, "statsd_exporter_unixstream_connections_total") == 2
        assert value(bridge, "statsd_exporter_unixstream_too_long_lines_total") == 1
        assert value(bridge, "statsd_exporter_tcp_connections_total") == 0


def test_unix_sockets_alone_open_no_port(tmp_path: Path) -> None:
    path = tmp_path / "gram.sock"
    with serving(configured(unixgram=path, udp=False, tcp=False)) as bridge:
        assert bridge.statsd_port == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a:1|c", str(path))
        wait_for_value(bridge, 1, "a")


@pytest.mark.parametrize("only", ["udp", "tcp"])
def test_one_of_udp_and_tcp_may_be_off(only: str) -> None:
    off = "tcp" if only == "udp" else "udp"
    with serving(configured(**{off: False})) as bridge:
        getattr(Wire(bridge.statsd_port), only)("a:1|c" if only == "udp" else b"a:1|c")
        wait_for_value(bridge, 1, "a")
        with socket.socket(type=socket.SOCK_STREAM if off == "tcp" else socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", bridge.statsd_port))


def test_nothing_to_listen_to_is_one_clear_error() -> None:
    with pytest.raises(AddressError, match="switch on UDP or TCP, or name a Unix socket"):
        Bridge(configured(udp=False, tcp=False))


@pytest.mark.parametrize(("kind", "type_"), [("unixgram", socket.SOCK_DGRAM), ("unixstream", socket.SOCK_STREAM)])
def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path, kind: str, type_: socket.SocketKind) -> None:
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX, type_) as left:
        left.bind(str(path))
    with serving(configured(**{kind: path})):
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.parametrize(("kind", "type_"), [("unixgram", socket.SOCK_DGRAM), ("unixstream", socket.SOCK_STREAM)])
def test_a_socket_that_is_in_use_is_one_clear_error(tmp_path: Path, kind: str, type_: socket.SocketKind) -> None:
    path = tmp_path / "used.sock"
    with socket.socket(socket.AF_UNIX, type_) as used:
        used.bind(str(path))
        if type_ is socket.SOCK_STREAM:
            used.listen()
        with pytest.raises(AddressError, match=r"used.sock is in use; `ss -lxp src .*` shows by whom"):
            Bridge(configured(**{kind: path}))
    assert path.exists()


def test_a_file_where_the_socket_should_be_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(AddressError, match="is no socket; move it away"):
        Bridge(configured(unixgram=path))
    assert path.read_text(encoding="utf-8") == "precious"


def test_a_socket_in_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="check its folder"):
        Bridge(configured(unixstream=tmp_path / "none" / "x.sock"))


def test_a_line_over_tcp_may_be_4095_bytes_long_and_no_longer(bridge: Bridge) -> None:
    for length, counted in ((4095, 1), (4096, 1)):
        Wire(bridge.statsd_port).tcp(b"a:1|c\n" + b"b" * (length - 4) + b":1|c\n")
        wait_for_value(bridge, counted, "b" * 4091)
    wait_for_value(bridge, 2, "a")
    wait_for_value(bridge, 1, "statsd_exporter_tcp_too_long_lines_total")


def test_pages_say_healthy_and_ready(bridge: Bridge) -> None:
    wait_for(lambda: get(bridge.web_port, "/-/ready")[0] == 200, "readiness")
    assert get(bridge.web_port, "/-/healthy")[0] == 200
    assert get(bridge.web_port, "/nowhere")[0] == 404


@pytest.fixture
def mapping(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mapping.yml"
    path.write_text("mappings: [{match: a.b, name: before}]", encoding="utf-8")
    return path


def test_a_reload_takes_the_new_mapping_and_keeps_the_old_series(mapping: Path) -> None:
    with serving(configured(mapping=mapping)) as bridge:
        wire = Wire(bridge.statsd_port)
        wire.udp("a.b:1|c")
        wait_for_value(bridge, 1, "before")
        mapping.write_text("mappings: [{match: a.b, name: after}]", encoding="utf-8")
        assert get(bridge.web_port, "/-/reload", "POST")[0] == 200
        wire.udp("a.b:1|c")
        wait_for_value(bridge, 1, "after")
        assert value(bridge, "before") == 1
        assert value(bridge, "statsd_exporter_config_reloads_total", outcome="success") == 1


def test_a_reload_of_a_bad_mapping_says_why_and_keeps_the_old_one(mapping: Path) -> None:
    with serving(configured(mapping=mapping)) as bridge:
        mapping.write_text("mappings: [{match: a.b, nmae: after}]", encoding="utf-8")
        status, text = get(bridge.web_port, "/-/reload", "POST")
        assert status == 500
        assert 'did you mean "name"' in text
        Wire(bridge.statsd_port).udp("a.b:1|c")
        wait_for_value(bridge, 1, "before")
        assert value(bridge, "statsd_exporter_config_reloads_total", outcome="failure") == 1


def test_a_reload_may_be_put(bridge: Bridge) -> None:
    wait_for(lambda: get(bridge.web_port, "/-/reload", "PUT")[0] == 200, "an answer")


def test_reading_the_reload_page_reloads_nothing(bridge: Bridge) -> None:
    wait_for(lambda: get(bridge.web_port, "/-/reload")[0] == 405, "an answer")


@pytest.mark.parametrize("which", ["statsd_port", "web_port"])
def test_a_taken_port_is_one_clear_error(which: str) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        port = occupant.getsockname()[1]
        with pytest.raises(AddressError, match=rf"port {port} on 127.0.0.1 is taken.*choose another port"):
            Bridge(configured(**{which: port}))


def test_an_address_that_is_not_ours_is_one_clear_error() -> None:
    with pytest.raises(AddressError, match=r"cannot listen for StatsD on 192\.0\.2\.1"):
        Bridge(configured(host="192.0.2.1"))


def test_a_missing_mapping_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"cannot read the mapping file .*none.yml.*check the path"):
        Bridge(configured(mapping=tmp_path / "none.yml"))


def test_a_dead_web_server_ends_the_bridge_with_an_error() -> None:
    other = Bridge(configured())
    stopper = threading.Thread(target=other._web._server.shutdown)
    stopper.start()
    with pytest.raises(WebServerDiedError, match="start the bridge again"):
        other.serve()
    stopper.join()


PROGRAM = """
import sys
import threading
from pathlib import Path
from exporters.bridge import BridgeConfig, run
from exporters.listener import Endpoints
statsd = Endpoints(port=int(sys.argv[1]))
config = BridgeConfig(statsd=statsd, web_port=int(sys.argv[2]), mapping=Path(sys.argv[3]))
sys.exit(run(config))
"""


@pytest.fixture
def program(mapping: Path) -> Iterator[Callable[[int, int], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(statsd: int, web: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PROGRAM, str(statsd), str(web), str(mapping)]
        started.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def is_ready(web: int) -> bool:
    try:
        return get(web, "/-/ready")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_on_a_signal_and_frees_its_ports(
    program: Callable[[int, int], subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    statsd, web = free_port(), free_port()
    process = program(statsd, web)
    wait_for(lambda: is_ready(web), "the bridge")
    process.send_signal(number)
    assert process.wait(60) == 0
    with serving(configured(statsd, web)):
        wait_for(lambda: is_ready(web), "its successor")


def test_it_reloads_on_sighup(program: Callable[[int, int], subprocess.Popen[bytes]], mapping: Path) -> None:
    statsd, web = free_port(), free_port()
    process = program(statsd, web)
    wait_for(lambda: is_ready(web), "the bridge")
    mapping.write_text("mappings: [{match: a, name: a}, {match: b, name: b}]", encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    loaded = ("statsd_exporter_loaded_mappings", ())
    wait_for(lambda: samples(get(web, "/metrics")[1])[loaded] == 2, "the new mapping")
