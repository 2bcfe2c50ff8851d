"""Databases, a broker and an address that is probed are broken behind their real exporters.

The exporters are those of the distribution, which rules and boards are written for: every family that they ask for is
on their pages. Then the alerts that are on each fault's list fire, no other does, and all resolve. Time is hurried
thirtyfold.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pymysql
import pytest
import yaml

from prometheus.generate import rule_files
from prometheus.scrape import OptionalTargets, scrape_config
from tests.servers.binaries import require
from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.families import FOREIGN
from tests.servers.hurried import PACE, Fault, alerts
from tests.servers.pages import answers, page
from tests.servers.processes import ServerProcess, free_port, wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("goes_first")]

SECOND = timedelta(seconds=1)
MODULES = """
modules:
  https:
    prober: http
    timeout: 1s
    http:
      preferred_ip_protocol: ip4
      tls_config: {insecure_skip_verify: true}
"""


class Site:
    """An HTTPS server with a certificate that is good for ten days."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        certificate, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            [
                require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "10",
                "-subj", "/CN=localhost", "-out", certificate, "-keyout", key,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _Answer)
        self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="site").start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Redis:
    """A broker that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = (require("redis-server"), "--port", self.port, "--save", "", "--bind", "127.0.0.1")
        self._server = ServerProcess([str(part) for part in command], self._folder)
        self._server.wait_ready(lambda: self.ask("PING") == "PONG", "redis")

    def stop(self) -> None:
        self._server.stop()

    def ask(self, *words: str) -> str:
        command = [str(require("redis-cli")), "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()


class Infrastructure:
    """The servers, their exporters, and a Prometheus with the rules about them."""

    def __init__(self, folder: Path, postgresql: PostgreSQL, mariadb: MariaDB) -> None:
        self.folder = folder
        self.postgresql, self.mariadb = postgresql, mariadb
        self.redis, self.site = Redis(self._made("redis")), Site(self._made("site"))
        self.site.start()
        self.ports = {job: free_port() for job in ("node", "postgres", "mysql", "redis", "blackbox", "prometheus")}
        self.processes: list[ServerProcess] = []

    def start(self) -> None:
        modules = self.folder / "blackbox.yml"
        modules.write_text(MODULES)
        postgres = f"{self.postgresql.url('postgres')}?sslmode=disable"
        self._run("node", "prometheus-node-exporter", "--web.listen-address={}")
        self._run("postgres", "prometheus-postgres-exporter", "--web.listen-address={}", DATA_SOURCE_NAME=postgres)
        mysql = f"windsock:windsock@(127.0.0.1:{self.mariadb.port})/"
        self._run("mysql", "prometheus-mysqld-exporter", "--web.listen-address={}", DATA_SOURCE_NAME=mysql)
        self._run(
            "redis", "prometheus-redis-exporter", "-web.listen-address={}", f"-redis.addr=127.0.0.1:{self.redis.port}"
        )
        self._run("blackbox", "prometheus-blackbox-exporter", "--web.listen-address={}", f"--config.file={modules}")
        for job in ("node", "postgres", "mysql", "redis", "blackbox"):
            wait_until(lambda job=job: answers(f"http://{self.address(job)}/metrics"), f"the {job} exporter", 30)
        self._start_prometheus()

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self.redis.stop()
        self.site.stop()

    def address(self, job: str) -> str:
        return f"127.0.0.1:{self.ports[job]}"

    def metrics(self, job: str) -> str:
        """The page that Prometheus scrapes for this job."""
        probe = f"/probe?module=https&target={self.probed}"
        return page(f"http://{self.address(job)}{probe if job == 'blackbox' else '/metrics'}")

    @property
    def probed(self) -> str:
        return f"https://127.0.0.1:{self.site.port}/"

    def firing(self) -> set[str]:
        return alerts(self.ports["prometheus"], "firing")

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _run(self, job: str, program: str, *options: str, **environment: str) -> None:
        variables = [f"{name}={value}" for name, value in environment.items()]
        arguments = [option.format(self.address(job)) for option in options]
        command = [str(part) for part in ("/usr/bin/env", *variables, require(program), *arguments)]
        self.processes.append(ServerProcess(command, self._made(f"{job}-exporter")))

    def _start_prometheus(self) -> None:
        folder = self._made("prometheus")
        for area in ("backends", "machines"):
            (folder / f"{area}.yml").write_text(rule_files(pace=PACE)[f"{area}.yml"])
        targets = OptionalTargets(
            postgres=[self.address("postgres")],
            mysql=[self.address("mysql")],
            redis=[self.address("redis")],
            blackbox=[self.probed],
            blackbox_module="https",
            blackbox_exporter=self.address("blackbox"),
        )
        config = self.folder / "prometheus.yml"
        document = yaml.safe_load(scrape_config(targets=targets, rules_dir=folder, scrape_interval=SECOND))
        # Its exporter tries three times, with pauses of seconds, before it says that the server is down.
        (postgres,) = (job for job in document["scrape_configs"] if job["job_name"] == "postgres")
        postgres |= {"scrape_interval": "8s", "scrape_timeout": "8s"}
        config.write_text(yaml.safe_dump(document))
        command = (
            require("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.address('prometheus')}",
        )
        self.processes.append(ServerProcess([str(part) for part in command], folder))
        wait_until(lambda: answers(f"http://{self.address('prometheus')}/-/ready"), "prometheus", 30)


@pytest.fixture(scope="module")
def infrastructure(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: PostgreSQL, mariadb_server: MariaDB
) -> Iterator[Infrastructure]:
    made = Infrastructure(tmp_path_factory.mktemp("infrastructure"), postgresql_server, mariadb_server)
    try:
        made.start()
        yield made
    finally:
        made.stop()


CERTIFICATE = ("WindsockCertificateExpires",)  # of ten days, so it fires all the time


@pytest.mark.parametrize("job", ["node", "postgres", "mysql", "redis", "blackbox"])
def test_every_family_that_is_asked_for_is_on_the_exporters_page(infrastructure: Infrastructure, job: str) -> None:
    given = set(re.findall(r"^([a-zA-Z_:][\w:]*)", infrastructure.metrics(job), re.MULTILINE))
    assert FOREIGN[job] - given == set()


def test_a_certificate_that_expires_soon(infrastructure: Infrastructure) -> None:
    Fault(infrastructure, CERTIFICATE).fires(60)


def test_databases_that_are_full_locked_and_held(infrastructure: Infrastructure) -> None:
    fault = Fault(
        infrastructure,
        (
            "WindsockPostgresConnectionsFull",
            "WindsockPostgresLongTransaction",
            "WindsockPostgresDeadlocks",
            "WindsockMysqlConnectionsFull",
        ),
        CERTIFICATE,
    )
    url = infrastructure.postgresql.create()
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(psycopg.connect(url)) for _ in range(165)]
        infrastructure.mariadb.run("SET GLOBAL max_connections = 30")
        held.callback(infrastructure.mariadb.run, "SET GLOBAL max_connections = 200")
        for _ in range(26):
            held.enter_context(
                pymysql.connect(
                    host="127.0.0.1", port=infrastructure.mariadb.port, user="windsock", password="windsock"
                )
            )
        connections[0].execute("SELECT 1")  # and no commit
        lock_out(infrastructure.postgresql.url("postgres"))  # its counter was scraped before
        fault.fires(90)
    infrastructure.postgresql.drop(url)
    fault.resolves(60, CERTIFICATE)


def lock_out(url: str) -> None:
    """Two transactions that wait for each other, until the server breaks one."""
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        one.execute("SELECT pg_advisory_xact_lock(1)")
        other.execute("SELECT pg_advisory_xact_lock(2)")

        def wait() -> None:
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                one.execute("SELECT pg_advisory_xact_lock(2)")

        waiting = threading.Thread(target=wait)
        waiting.start()
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            other.execute("SELECT pg_advisory_xact_lock(1)")
        other.rollback()
        waiting.join()


def test_a_broker_that_is_full(infrastructure: Infrastructure) -> None:
    fault = Fault(
        infrastructure,
        ("WindsockRedisMemoryFull", "WindsockRedisRefusesConnections"),
        (*CERTIFICATE, "WindsockRedisDown"),
    )
    redis = infrastructure.redis
    used = re.search(r"used_memory:(\d+)", redis.ask("INFO", "memory"))
    assert used
    redis.ask("CONFIG", "SET", "maxclients", "3")
    with contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(socket.create_connection(("127.0.0.1", redis.port)))
    redis.ask("CONFIG", "SET", "maxclients", "1000")
    redis.ask("CONFIG", "SET", "maxmemory", str(int(int(used[1]) * 1.03)))
    fault.fires(60)
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    fault.resolves(60, CERTIFICATE)


def test_servers_that_are_away(infrastructure: Infrastructure) -> None:
    fault = Fault(
        infrastructure,
        ("WindsockPostgresDown", "WindsockMysqlDown", "WindsockRedisDown", "WindsockProbeFails"),
        CERTIFICATE,
    )
    infrastructure.postgresql.stop_process()
    infrastructure.mariadb.stop_process()
    infrastructure.redis.stop()
    infrastructure.site.stop()
    try:
        fault.fires(60)
    finally:
        infrastructure.postgresql.start()
        infrastructure.mariadb.start()
        infrastructure.redis.start()
        infrastructure.site.start()
    fault.resolves(60, CERTIFICATE)
