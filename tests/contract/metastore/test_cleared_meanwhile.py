"""A task is cleared at the very moment at which what it waits for ends: the end counts, whoever writes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import text

from engine.metastore import clearing
from engine.metastore.changes import Finished
from engine.metastore.database import Tx
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.store import Store
from engine.metastore.transitions import finishing
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash
from tests.servers.processes import wait_until

Key = tuple[str, str]  # run and task
_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '%FOR UPDATE'",
}


@pytest.fixture
def other(server_store: Store) -> Iterator[Stage]:
    made = Stage(server_store).beside()
    yield made
    made.store.close()


def _waits(store: Store) -> bool:
    with store.read() as connection:
        return bool(connection.execute(text(_WAITING[connection.dialect.name])).scalar())


def while_clearing(stage: Stage, other: Stage, cleared: Sequence[Key], ends: Callable[[], object]) -> float:
    """Clear these tasks, and let `ends` begin before that is committed, for which it comes to wait.

    Returns until when, by this process's monotonic clock.
    """
    ids = [stage.rows(run)[task].id for run, task in cleared]
    ending = threading.Thread(target=ends)

    def clear(tx: Tx) -> None:
        clearing.clear(tx, other.graphs, other.runs, ids)
        ending.start()
        wait_until(lambda: _waits(stage.store), "the end to wait for the clear")

    with other.store.begin() as tx:
        clear(tx)
        released = time.monotonic()
    ending.join(60)
    assert not ending.is_alive()
    return released


def _two_parents(stage: Stage) -> dict[Key, str]:
    """Of two runs, in which `c` waits for `a`, which runs, and `b`, which has failed in run one."""
    stage.dag("dag", bash("a"), bash("b"), bash("c", "a", "b"), max_active_runs=2)
    stage.trigger("dag", "one", "two")
    claimed = stage.claim()
    stage.start(*(order.token for order in claimed))
    tokens = {(order.run.run_id, order.task_id): order.token for order in claimed}
    stage.finish((tokens["one", "b"], FAILURE))
    assert stage.states("one") == {"a": "running", "b": "failed", "c": "upstream_failed"}
    return tokens


@pytest.mark.parametrize(
    ("cleared", "ended"),
    [
        ([("one", "b"), ("one", "c")], [("one", "a")]),
        ([("one", "b"), ("one", "c"), ("two", "a")], [("one", "a"), ("two", "a")]),
    ],
    ids=["the task that waits", "and an attempt of the batch"],
)
def test_the_end_counts_for_a_task_that_is_waiting_again(
    server_store: Store, other: Stage, cleared: list[Key], ended: list[Key]
) -> None:
    stage = Stage(server_store)
    tokens = _two_parents(stage)
    while_clearing(stage, other, cleared, lambda: stage.finish(*((tokens[key], SUCCESS) for key in ended)))
    assert stage.rows("one")["c"].up_success == 1
    for _ in range(2):
        stage.finish(*((token, SUCCESS) for token in stage.begin().values()))
    assert (stage.run_row("one").state, stage.run_row("one").unfinished) == ("success", 0)


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_branch_decides_against_a_task_that_is_waiting_again(
    server_store: Store, other: Stage, is_remembered: bool
) -> None:
    stage = Stage(server_store)
    stage.dag("dag", bash("branch"), bash("b"), bash("left", "branch", "b"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["b"], FAILURE))
    run = stage.run_row().run_id
    decided = Outcome(Cause.SUCCESS, skip=("left",))
    if not is_remembered:  # as by a scheduler that did not begin it
        stage.begun.take(tokens.values())
    while_clearing(stage, other, [(run, "b"), (run, "left")], lambda: stage.finish((tokens["branch"], decided)))
    assert stage.states()["left"] == "skipped"


def test_the_clock_of_a_turn_is_told_as_of_when_it_was_asked_for(server_store: Store, other: Stage) -> None:
    """A timer that counts from it is not late by what the turn had to wait for."""
    stage = Stage(server_store)
    tokens = _two_parents(stage)
    told: list[float] = []

    def end() -> None:
        with stage.store.begin() as tx:
            finishing.finish(tx, stage.graphs, stage.runs, [Finished(tokens["one", "a"], SUCCESS, "host")])
            told.append(tx.heard)

    released = while_clearing(stage, other, [("one", "b"), ("one", "c")], end)
    assert told[0] < released
