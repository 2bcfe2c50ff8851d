"""The series of other programs that boards show, beside what their real exporters of the distribution give."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from dashboards.families import THIRD_PARTY
from tests.servers.binaries import require
from tests.servers.processes import ServerFolder, ServerProcess, free_port


@contextmanager
def exporter(program: str, *arguments: str, **environment: str) -> Iterator[str]:
    """A running exporter; its address."""
    port = free_port()
    folder = ServerFolder(program, None)
    command: list[str | Path] = [require(program), f"--web.listen-address=127.0.0.1:{port}", *arguments]
    env = [f"{name}={value}" for name, value in environment.items()]
    process = ServerProcess(["/usr/bin/env", *env, *command], folder.path)
    try:
        process.wait_ready(lambda: answers(f"http://127.0.0.1:{port}/metrics"), program)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()
        folder.remove()


@contextmanager
def redis() -> Iterator[int]:
    port = free_port()
    folder = ServerFolder("redis", None)
    command: list[str | Path] = [require("redis-server"), "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    process = ServerProcess(command, folder.path)
    try:
        process.wait_ready(lambda: "Ready to accept" in process.log.read_text(), "Redis")
        yield port
    finally:
        process.stop()
        folder.remove()


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=30).status == 200)
    except OSError:
        return False


def series(url: str) -> set[str]:
    """The names of the series of a page of metrics."""
    text = urllib.request.urlopen(url, timeout=20).read().decode()
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    # The parser gives counters the suffix that some exporters leave out.
    return names | {name.removesuffix("_total") for name in names}


def assert_given(job: str, url: str) -> None:
    assert set(THIRD_PARTY[job]) - series(url) == set()


def test_the_node_exporter_gives_them() -> None:
    with exporter("prometheus-node-exporter") as url:
        assert_given("node", f"{url}/metrics")


def test_the_exporter_of_postgresql_gives_them(postgresql_url: str) -> None:
    source = postgresql_url.split("?")[0] + "?sslmode=disable"
    with exporter("prometheus-postgres-exporter", DATA_SOURCE_NAME=source) as url:
        assert_given("postgres", f"{url}/metrics")


def test_the_exporter_of_mysql_gives_them(mariadb_url: str) -> None:
    parts = urlsplit(mariadb_url)
    source = f"{parts.username}:{parts.password}@({parts.hostname}:{parts.port})/"
    with exporter("prometheus-mysqld-exporter", DATA_SOURCE_NAME=source) as url:
        assert_given("mysql", f"{url}/metrics")


def test_the_exporter_of_redis_gives_them() -> None:
    with redis() as port, exporter("prometheus-redis-exporter", f"--redis.addr=redis://127.0.0.1:{port}") as url:
        assert_given("redis", f"{url}/metrics")


def test_the_blackbox_exporter_gives_them(tmp_path: Path) -> None:
    modules = tmp_path / "blackbox.yml"
    modules.write_text("modules: {http_2xx: {prober: http}}")
    with exporter("prometheus-blackbox-exporter", f"--config.file={modules}") as url:
        probed = series(f"{url}/probe?target={url}/metrics&module=http_2xx")
    with_certificate = {"probe_ssl_earliest_cert_expiry"}  # of addresses with TLS only
    assert set(THIRD_PARTY["blackbox"]) - probed == with_certificate
