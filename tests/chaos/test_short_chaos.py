"""A short run of chaos on each database server; the long one is ``make chaos``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.arena import SERVERS, Server
from tests.chaos.battle import fight

DATABASES = [
    pytest.param("postgresql", marks=pytest.mark.postgresql),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]


@pytest.fixture(params=DATABASES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own: it is killed."""
    server = SERVERS[request.param]()
    yield server
    server.stop()


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_done_twice_while_everything_is_killed(server: Server) -> None:
    verdict = fight(server, seed=20261128, attempts=150, schedulers=3, patience=240)
    assert verdict.wrong == []
    assert verdict.attempts >= 150
    assert verdict.samples > 20
    assert sum(verdict.killed.values()) >= 1
