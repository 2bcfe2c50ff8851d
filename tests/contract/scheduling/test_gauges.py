"""What the scheduler tells of pools and waiting tasks, on every database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.metastore.pausing import set_paused
from engine.metastore.store import Store
from engine.scheduling.gauges import Gauges
from tests.contract.metastore.stage import Stage, bash


class Told:
    """Keeps the newest value of each gauge, by its name and the values of its labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self.values[name, *labels.values()] = value


@pytest.fixture
def store(metastore_url: str) -> Iterator[Store]:
    store = Store(metastore_url)
    yield store
    store.close()


def test_what_is_scheduled_of_a_paused_dag_waits_for_no_slot(store: Store) -> None:
    stage, told = Stage(store), Told()
    stage.pool("small", 1)
    stage.dag("etl", bash("one", pool="small"), bash("two", pool="small"))
    stage.trigger("etl")
    stage.begin()
    gauges = Gauges(told, "LocalExecutor")

    def waiting() -> tuple[float, float]:
        with store.read() as connection:
            gauges.emit(connection)
        return told.values["pool.starving_tasks", "small"], told.values[
            "executor.queued_tasks", "queued", "LocalExecutor"
        ]

    assert waiting() == (1, 1)
    store.run(lambda tx: set_paused(tx, "etl", paused=True))
    assert waiting() == (0, 0)
    assert told.values["pool.scheduled_slots", "small"] == 1
