"""A stand-in for Grafana, and boards small enough to read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dashboards.push import Board
from tests.servers.grafana import FakeGrafana


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings and a Grafana of their own."""
    for name in [name for name in os.environ if name.startswith(("WINDSOCK__", "GRAFANA_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    server = FakeGrafana().start()
    yield server
    server.stop()


@pytest.fixture
def boards() -> list[Board]:
    return [a_board("windsock-one", "One"), a_board("windsock-two", "Two")]


def a_board(uid: str, title: str) -> Board:
    variable = {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
    }
    other = {"name": "logs", "type": "datasource", "query": "loki"}
    panel = {"type": "stat", "title": "Up", "datasource": {"type": "prometheus", "uid": "${datasource}"}}
    return {"uid": uid, "title": title, "templating": {"list": [variable, other]}, "panels": [panel]}
