from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from engine.config import Settings, load
from engine.metastore.store import Store
from engine.web.app import create_app
from tests.integration.web.conftest import Browser, served
from tests.integration.web.world import World
from tests.servers.databases import DatabaseServer, PostgreSQL

KINDS = ("scheduler", "dag_processor", "notifier")


@pytest.fixture(params=["/health", "/api/v1/health"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_all_is_well_while_every_heart_beats(stranger: Browser, world: World, path: str) -> None:
    for kind in KINDS:
        world.process(kind, 2)
    response = stranger.get(path)
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "healthy"
    assert body["metadatabase"] == {"status": "healthy"}
    for kind in KINDS:
        assert body[kind]["status"] == "healthy"
        assert body[kind][f"latest_{kind}_heartbeat"].endswith("+00:00")


@pytest.mark.parametrize("silent", KINDS)
def test_a_stale_heartbeat_is_unhealthy_though_the_answer_is_200(stranger: Browser, world: World, silent: str) -> None:
    for kind in KINDS:
        world.process(kind, 31 if kind == silent else 2)
    response = stranger.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "unhealthy"
    assert {kind: body[kind]["status"] for kind in KINDS} == {
        kind: "unhealthy" if kind == silent else "healthy" for kind in KINDS
    }


def test_a_process_that_was_never_there_has_no_heartbeat(stranger: Browser) -> None:
    body = stranger.get("/health").json()
    assert body["scheduler"] == {"status": "unhealthy", "latest_scheduler_heartbeat": None}


def test_the_newest_of_several_counts_and_ended_ones_do_not(stranger: Browser, world: World) -> None:
    world.process("scheduler", 900, id="old")
    world.process("scheduler", 3, id="new")
    world.process("notifier", 1, id="gone", ended_at=world.now)
    body = stranger.get("/health").json()
    assert body["scheduler"]["status"] == "healthy"
    assert body["notifier"]["status"] == "unhealthy"


def test_the_threshold_is_the_setting(store: Store, world: World, tmp_path: Path) -> None:
    settings = load({"WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "600"}, home=tmp_path)
    world.process("scheduler", 500)
    with served(create_app(settings, store)) as address:
        assert httpx.get(f"{address}/health").json()["scheduler"]["status"] == "healthy"


def test_a_metastore_without_tables_is_unhealthy(settings: Settings, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/empty.db")
    with served(create_app(settings, store)) as address:
        response = httpx.get(f"{address}/health")
    assert response.status_code == 503
    assert response.json()["metadatabase"] == {"status": "unhealthy"}
    store.close()


def test_a_database_that_is_not_there_is_said_and_nothing_is_raised(settings: Settings, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/no/such/folder/windsock.db")
    with served(create_app(settings, store)) as address:
        health = httpx.get(f"{address}/health")
        page = httpx.get(f"{address}/dags", headers={"cookie": "windsock_session=x"})
        login = httpx.get(f"{address}/login")
    assert health.status_code == 503
    body = health.json()
    assert body["status"] == "unhealthy"
    assert body["scheduler"] == {"status": "unhealthy", "latest_scheduler_heartbeat": None}
    assert page.status_code == 503
    assert "metastore cannot be reached" in page.text
    assert str(tmp_path) not in page.text + json.dumps(body)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert login.status_code == 200
    store.close()


@pytest.mark.postgresql
def test_a_database_that_goes_away_and_comes_back(settings: Settings, postgresql_server: PostgreSQL) -> None:
    server: DatabaseServer = postgresql_server
    url = server.clone()
    store = Store(url)
    with served(create_app(settings, store)) as address:
        World(store, settings.logging.base_log_folder).process("scheduler", 1)
        assert httpx.get(f"{address}/health").json()["scheduler"]["status"] == "healthy"
        server.drop(url)
        assert httpx.get(f"{address}/health").status_code == 503
    store.close()


@pytest.mark.postgresql
def test_staleness_is_told_by_the_databases_clock(tmp_path: Path, postgresql_url: str) -> None:
    settings = load({"WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "600"}, home=tmp_path)
    store = Store(postgresql_url)
    world = World(store, settings.logging.base_log_folder)
    with store.begin() as tx:
        world.now = tx.now
    for kind in KINDS:
        world.process(kind, 0)
    with store.begin() as tx:
        tx.connection.execute(text("UPDATE process SET heartbeat_at = clock_timestamp() - interval '540 seconds'"))
    with served(create_app(settings, store)) as address:
        assert httpx.get(f"{address}/health").json()["status"] == "healthy"
    store.close()
