"""Fixtures for every test: real servers, started when the first test asks for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import binaries
from tests.servers.databases import DatabaseServer, MariaDB, PostgreSQL, SQLite
from tests.servers.leaks import MARK, stray_processes
from tests.servers.mail import MailServer
from tests.servers.webhook import WebhookServer

# The same examples each time, however long one takes: a test that fails does so for a reason that is in the code.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

DATABASES = [
    pytest.param("sqlite", marks=pytest.mark.sqlite),
    pytest.param("postgresql", marks=pytest.mark.postgresql),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End with one plain line for people and machines; an error in a fixture counts as a failure."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(config, "workerinput"):
        count = {outcome: len(reporter.getreports(outcome)) for outcome in ("passed", "failed", "error")}
        reporter.write_line(f"{count['passed']} passed, {count['failed'] + count['error']} failed")


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left_behind() -> Iterator[None]:
    """Set up first and so torn down last: whatever runs then was forgotten by a test."""
    mark = os.environ[MARK] = uuid.uuid4().hex
    yield
    strays = stray_processes(mark)
    told = [f"{process.pid} {' '.join(process.info['cmdline'] or ['?'])}" for process in strays]
    for process in strays:
        process.kill()
    assert not told, "processes left behind by tests:\n" + "\n".join(told)


@pytest.fixture(scope="session")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory) -> SQLite:
    return SQLite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL of this test process's own."""
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """A MariaDB of this test process's own."""
    server = MariaDB()
    yield server
    server.stop()


@pytest.fixture
def sqlite_url(sqlite_server: SQLite) -> Iterator[str]:
    """A SQLite metastore with the schema in it."""
    yield from _cloned(sqlite_server)


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQL) -> Iterator[str]:
    """A PostgreSQL metastore with the schema in it."""
    yield from _cloned(postgresql_server)


@pytest.fixture
def mariadb_url(mariadb_server: MariaDB) -> Iterator[str]:
    """A MariaDB metastore with the schema in it."""
    yield from _cloned(mariadb_server)


@pytest.fixture(params=DATABASES)
def metastore_url(request: pytest.FixtureRequest) -> str:
    """A metastore with the schema in it, on each database in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without any table, on each database in turn."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def smtp_server() -> Iterator[MailServer]:
    """A mail server that keeps what it gets."""
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def webhook_server() -> Iterator[WebhookServer]:
    """An HTTP server that keeps what it gets."""
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    return binaries.require("prometheus")


@pytest.fixture(scope="session")
def promtool() -> Path:
    return binaries.require("promtool")


@pytest.fixture(scope="session")
def alertmanager() -> Path:
    """Debian calls it prometheus-alertmanager, everybody else alertmanager."""
    return binaries.find("prometheus-alertmanager") or binaries.require("alertmanager")


@pytest.fixture(scope="session")
def statsd_exporter() -> Path:
    return binaries.require("statsd_exporter")


def _cloned(server: DatabaseServer) -> Iterator[str]:
    url = server.clone()
    yield url
    server.drop(url)
