from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine import config
from engine.metrics import Metrics
from engine.parsing import meter as metrics
from engine.parsing.meter import Meter, file_name


def test_a_file_is_labelled_by_its_name_with_its_folders() -> None:
    assert file_name("hello.py") == "hello"
    assert file_name("team/etl/hello.py") == "team.etl.hello"


@pytest.mark.parametrize("timed_out", [False, True])
def test_signals_leave_through_the_engines_metrics(tmp_path: Path, timed_out: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        environ = {
            "WINDSOCK_HOME": str(tmp_path),
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(receiver.getsockname()[1]),
        }
        meter: Meter = Metrics(config.load(environ).metrics)
        metrics.file_parsed(meter, "team/a.py", 0.25, timed_out=timed_out)
        metrics.totals(meter, dags=3, errors=1, waiting=2)
        assert isinstance(meter, Metrics)
        meter.flush()
        received = ""
        while not all(name in received for name in ("dagbag_size", "last_duration", "file_path_queue_size")):
            received += receiver.recv(65_536).decode()  # the emitter's own thread may have sent a part
        meter.close()
    assert "airflow.dagbag_size:3|g" in received
    assert "last_duration,file_name=team.a:250" in received
    assert ("processor_timeouts,file_path=team/a.py" in received) is timed_out
