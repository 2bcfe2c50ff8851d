"""Alertmanager's webhook: who may call it, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from alerting.tables import alert_event, alert_watchdog
from engine.config import load
from engine.links import WEBHOOK_PATH as PATH
from engine.metastore.store import Store
from engine.web.alertmanager import MOST_BYTES
from engine.web.app import create_app
from tests.contract.alerting.test_alertmanager import a_body, an_alert
from tests.integration.web.conftest import served

TOKEN = "a-token-of-24-characters"


@pytest.fixture
def caller(tmp_path: Path, store: Store) -> Iterator[httpx.Client]:
    settings = load({"WINDSOCK__ALERTING__WEBHOOK_TOKEN": TOKEN}, tmp_path)
    with served(create_app(settings, store)) as address, httpx.Client(base_url=address) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        yield client


def recorded(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(alert_event)).scalar_one())


def detail(answer: httpx.Response, status: int) -> str:
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    return str(answer.json()["detail"])


def test_alerts_are_recorded_before_they_are_answered_for(caller: httpx.Client, store: Store) -> None:
    answer = caller.post(PATH, content=a_body(an_alert(), an_alert("Watchdog")))
    assert (answer.status_code, answer.json()) == (200, {"alerts": 2, "new": 1, "watchdog": True})
    assert recorded(store) == 1
    with store.read() as connection:
        assert connection.execute(select(alert_watchdog.c.missed_at)).all() == [(None,)]


@pytest.mark.parametrize(
    "headers",
    [{"authorization": ""}, {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bearer " + "x" * 24}],
    ids=["none", "another scheme", "another token"],
)
def test_nobody_else_may_call(caller: httpx.Client, store: Store, headers: dict[str, str]) -> None:
    answer = caller.post(PATH, content=a_body(an_alert()), headers=headers)
    assert "credentials_file" in detail(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text
    assert recorded(store) == 0


def test_without_a_token_nobody_may_call_and_the_answer_says_what_to_set(address: str, store: Store) -> None:
    answer = httpx.post(f"{address}{PATH}", content=a_body(an_alert()))
    assert "WINDSOCK__ALERTING__WEBHOOK_TOKEN" in detail(answer, 401)
    assert recorded(store) == 0


def test_a_token_in_a_file_counts_as_soon_as_it_is_there(address: str, tmp_path: Path) -> None:
    def call() -> int:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.post(f"{address}{PATH}", content=a_body(an_alert()), headers=headers).status_code

    assert call() == 401
    (tmp_path / "webhook-token").write_text(f"{TOKEN}\n")
    assert call() == 200


def test_what_is_no_payload_is_refused_with_the_reason(caller: httpx.Client) -> None:
    assert "only version '4'" in detail(caller.post(PATH, content=a_body(version="3")), 400)
    assert "not what Alertmanager's webhook sends" in detail(caller.post(PATH, content=b"{"), 400)


def test_a_body_without_an_end_is_refused(caller: httpx.Client) -> None:
    answer = caller.post(PATH, content=b"x" * (MOST_BYTES + 1))
    assert "max_alerts" in detail(answer, 413)


def test_it_is_only_posted_to(caller: httpx.Client) -> None:
    assert caller.get(PATH).status_code == 405


def test_a_metastore_that_is_away_is_answered_with_503_so_that_alertmanager_tries_again(tmp_path: Path) -> None:
    where: dict[str, Any] = {"WINDSOCK__ALERTING__WEBHOOK_TOKEN": TOKEN}
    store = Store(f"sqlite:///{tmp_path}/not-there/windsock.db")
    headers = {"authorization": f"Bearer {TOKEN}"}
    with served(create_app(load(where, tmp_path), store)) as address:
        assert httpx.post(f"{address}{PATH}", content=a_body(an_alert()), headers=headers).status_code == 503
    store.close()
