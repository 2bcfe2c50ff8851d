"""What components do at their start is gone through before they are forked, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.pool import Pool

from engine.cli.rehearsal import rehearse
from engine.metastore.store import Store
from engine.metastore.tables import Process


def test_a_rehearsal_writes_nothing_and_keeps_no_connection(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINDSOCK_HOME", str(tmp_path))
    monkeypatch.setenv("WINDSOCK__DATABASE__SQL_ALCHEMY_CONN", store.url.render_as_string(hide_password=False))
    opened: list[object] = []
    closed: list[object] = []
    written: list[str] = []
    hooks = (
        (Pool, "connect", lambda connection, _: opened.append(connection)),
        (Pool, "close", lambda connection, _: closed.append(connection)),
        (Engine, "before_cursor_execute", lambda *told: written.append(told[2])),
    )
    for hook in hooks:
        event.listen(*hook)
    rehearse()
    for hook in hooks:
        event.remove(*hook)
    assert any("INSERT" in statement for statement in written)
    assert opened
    assert opened == closed
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(Process)).scalar_one() == 0


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "no URL"])
def test_a_rehearsal_without_a_metastore_is_quiet(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WINDSOCK_HOME", str(tmp_path))
    monkeypatch.setenv("WINDSOCK__DATABASE__SQL_ALCHEMY_CONN", url)
    rehearse()
