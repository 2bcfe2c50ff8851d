"""What the peer is given to run: looked at where it would be started, without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.airflow_run import Peer
from benchmarks.databases import PostgreSQLDatabase
from benchmarks.shapes import ALL, Shape


class Elsewhere(PostgreSQLDatabase):
    """A database that nobody asks."""

    def __init__(self) -> None:
        self.address = "postgresql://windsock:windsock@127.0.0.1:1/nowhere"


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path, Elsewhere(), ALL)


def test_the_folder_that_the_peer_reads_holds_every_shape_and_nothing_else(peer: Peer) -> None:
    folder = Path(peer._environment["AIRFLOW__CORE__DAGS_FOLDER"])
    shapes: list[Shape] = list(ALL)
    expected = {name: source for shape in shapes for name, source in shape.sources.items()}
    assert {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()} == expected
    assert peer._environment["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_the_peer_s_tasks_write_their_clocks_where_they_are_read(peer: Peer) -> None:
    """The shapes name the folder beside their own; the peer's home is beside no other's."""
    folder = Path(peer._environment["AIRFLOW__CORE__DAGS_FOLDER"])
    assert folder.parent / "clocks" == peer._clocks
    assert Path(peer._environment["AIRFLOW_HOME"]) == folder.parent
