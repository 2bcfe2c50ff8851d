"""One database of each kind for all these tests, emptied between them: much cheaper than a new one each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.metastore.store import Store
from engine.metastore.tables import Base, Budget, Lease, Wakeup
from tests.contract.metastore.stage import Stage
from tests.servers.databases import DatabaseServer

DATABASES = [
    pytest.param("sqlite", marks=pytest.mark.sqlite),
    pytest.param("postgresql", marks=pytest.mark.postgresql),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
SERVERS = DATABASES[1:]


@pytest.fixture(scope="session", params=DATABASES)
def shared_url(request: pytest.FixtureRequest) -> Iterator[str]:
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    url = server.clone()
    yield url
    server.drop(url)


@pytest.fixture
def store(shared_url: str) -> Iterator[Store]:
    """A metastore as `db init` leaves it, on each database in turn."""
    store = Store(shared_url, pool_size=5)
    yield store
    _empty(store)
    store.close()


@pytest.fixture(params=SERVERS)
def server_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A metastore on each database that has connections to lose and rows to lock."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    url = server.clone()
    store = Store(url, pool_size=5)
    yield store
    store.close()
    server.drop(url)


@pytest.fixture
def stage(store: Store) -> Stage:
    return Stage(store)


@pytest.fixture
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is short enough for sockets."""
    return tmp_path_factory.mktemp("w")


def _empty(store: Store) -> None:
    with store.begin() as tx:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name not in (Wakeup.__tablename__, Lease.__tablename__):
                tx.connection.execute(table.delete())
        tx.connection.execute(Base.metadata.tables[Lease.__tablename__].update().values(holder=None, expires_at=None))
        pool: dict[str, Any] = {"kind": "pool", "name": "default_pool", "slots": 128, "used": 0}
        tx.connection.execute(Base.metadata.tables[Budget.__tablename__].insert().values(pool))
