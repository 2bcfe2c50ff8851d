"""``windsock dags delete``: what it says, asks, refuses and leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from sqlalchemy import select, update

from engine.cli.main import cli
from engine.metastore.store import Store
from engine.metastore.tables import Dag, DagRun, LogShipment
from tests.integration.cli.conftest import START, insert

Command = Callable[..., Result]


def dag_ids(store: Store) -> list[str]:
    with store.read() as connection:
        return sorted(connection.execute(select(Dag.dag_id)).scalars())


def test_it_says_what_went_and_that_logs_stay(windsock: Command, failed_run: str, store: Store, home: Path) -> None:
    log = home / "logs" / "dag_id=hello_world" / "x.log"
    log.parent.mkdir(parents=True)
    log.touch()
    result = windsock("dags", "delete", "hello_world", "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Deleted hello_world: 2 task instances, 1 run.\n")
    assert f"Its logs stay: {log.parent}" in result.stdout
    assert result.stderr == ""  # no file defines it any more
    assert (dag_ids(store), log.exists()) == (["nightly"], True)


def test_it_asks_first_and_no_changes_nothing(sqlite_url: str, home: Path, failed_run: str, store: Store) -> None:
    environment = {"WINDSOCK_HOME": str(home), "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": sqlite_url}
    result = CliRunner(env=environment).invoke(cli, ["dags", "delete", "hello_world"], input="n\n")
    assert "Delete hello_world? It has 2 task instances, 1 run. Nothing brings them back [y/N]" in result.stdout
    assert (result.exit_code, dag_ids(store)) == (1, ["hello_world", "nightly"])


def test_with_logs_they_go_too_and_none_is_shipped_any_more(
    windsock: Command, failed_run: str, store: Store, home: Path
) -> None:
    folder = home / "logs" / "dag_id=hello_world"
    folder.mkdir(parents=True)
    waits: dict[str, Any] = {"place": "p", "lost": False, "created_at": START, "due_at": START, "attempts": 0}
    insert(
        store, "log_shipment", *(waits | {"path": f"dag_id={name}/x.log"} for name in ("hello_world", "hello_worlds"))
    )
    assert f"Deleted {folder}" in windsock("dags", "delete", "hello_world", "-y", "--logs").stdout
    assert not folder.exists()
    with store.read() as connection:
        assert connection.execute(select(LogShipment.path)).scalars().all() == ["dag_id=hello_worlds/x.log"]


def test_while_its_file_is_there_it_is_refused_with_what_to_do(windsock: Command, dags: Store, home: Path) -> None:
    file = home / "nightly.py"
    file.touch()
    dags.run(lambda tx: tx.connection.execute(update(Dag).values(fileloc=str(file))))
    before = dag_ids(dags)
    result = windsock("dags", "delete", "nightly", "-y")
    assert result.exit_code == 1
    assert f"nightly is still defined by {file}" in result.stderr
    assert "Remove the file first" in result.stderr
    assert dag_ids(dags) == before
    file.unlink()
    assert windsock("dags", "delete", "nightly", "-y").exit_code == 0


def test_a_run_that_is_not_over_is_named_with_what_to_do(windsock: Command, failed_run: str, store: Store) -> None:
    store.run(lambda tx: tx.connection.execute(update(DagRun).values(state="running", end_date=None)))
    result = windsock("dags", "delete", "hello_world", "-y")
    assert result.exit_code == 1
    assert f"queued or running: {failed_run}. " in result.stderr
    assert "windsock dags set-state hello_world RUN failed" in result.stderr
    assert dag_ids(store) == ["hello_world", "nightly"]


def test_an_unknown_name_is_told_with_the_closest(windsock: Command, dags: Store) -> None:
    result = windsock("dags", "delete", "nigthly", "-y")
    assert (result.exit_code, result.stderr) == (1, "windsock: there is no DAG nigthly; did you mean nightly?\n")
