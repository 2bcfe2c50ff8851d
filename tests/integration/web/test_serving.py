"""The web server as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from engine.config import load
from engine.metastore.store import Store
from tests.servers.processes import free_port, wait_until

SERVE = "import sys; from engine.config import load; from engine.web.app import serve; sys.exit(serve(load()))"


@contextmanager
def webserver(home: Path, port: int, **environ: str) -> Iterator[subprocess.Popen[str]]:
    more = {"WINDSOCK_HOME": str(home), "WINDSOCK__WEBSERVER__WEB_SERVER_PORT": str(port), **environ}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env={**os.environ, "PYTHONPATH": ".", **more},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def migrated(home: Path) -> None:
    store = Store.from_settings(load({}, home=home))
    store.upgrade()
    store.close()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_it_serves_until_term_and_ends_well(tmp_path: Path) -> None:
    migrated(tmp_path)
    port = free_port()
    with webserver(tmp_path, port) as process:
        wait_until(lambda: answers(port) or process.poll() is not None, "the web server", 60)
        assert httpx.get(f"http://127.0.0.1:{port}/").headers["location"] == "/login?next=%2F"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    file = tmp_path / "admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    migrated(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with webserver(tmp_path, port) as process:
            _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in told
    assert f"port {port} on 127.0.0.1 is taken" in told
    assert "WINDSOCK__WEBSERVER__WEB_SERVER_PORT" in told


def test_a_metastore_without_tables_is_one_clear_error(tmp_path: Path) -> None:
    with webserver(tmp_path, free_port()) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in told
    assert "windsock webserver: " in told


def test_an_address_that_is_not_ours_is_one_clear_error(tmp_path: Path) -> None:
    migrated(tmp_path)
    with webserver(tmp_path, free_port(), WINDSOCK__WEBSERVER__WEB_SERVER_HOST="192.0.2.1") as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot listen on 192.0.2.1" in told
