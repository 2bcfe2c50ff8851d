"""How often warnings come true and misses were warned of, on pasts that are made up from seeds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from engine.authoring.serialized import NoSchedule, SerializedDag
from engine.metastore.graphs import build_graph
from engine.metastore.sla_replay import Score, replay, score
from tests.contract.metastore.stage import bash
from tests.servers.past_runs import Days, made_up

RUNS = 80
MINUTES = {"extract": 10.0, "transform": 20.0, "load": 10.0}  # 40 in all, and an SLA of an hour
CHAIN = (bash("extract"), bash("transform", "extract"), bash("load", "transform", sla_seconds=3600.0))
GRAPH = build_graph(SerializedDag(dag_id="daily", fileloc="/x.py", schedule=NoSchedule(), tasks=CHAIN))
RecordProperty = Callable[[str, object], None]


def replayed(days: Days, seed: str, confidence: float = 0.9) -> Score:
    past = made_up(GRAPH.dag, days, RUNS + 50, seed)
    return score(replay(GRAPH, past, RUNS, confidence))


@pytest.mark.parametrize("seed", ["one", "two", "three"])
def test_misses_were_warned_of_and_warnings_came_true(seed: str, record_property: RecordProperty) -> None:
    """On some days one of the tasks takes four times as long, which is a miss whichever it is."""
    told = replayed(Days(MINUTES), seed)
    for name in ("runs", "missed", "warned", "hits", "precision", "recall", "lead"):
        record_property(name, str(getattr(told, name)))
    assert told.runs == RUNS
    assert told.missed >= 5
    assert told.precision is not None
    assert told.precision >= 0.8
    assert told.recall is not None
    assert told.recall >= 0.9
    assert told.lead is not None
    assert told.lead > timedelta(minutes=10)


def test_where_no_day_is_slow_nothing_is_warned_of() -> None:
    told = replayed(Days(MINUTES, bad=0), "calm")
    assert (told.runs, told.missed, told.warned, told.precision, told.recall) == (RUNS, 0, 0, None, None)


def test_where_every_day_misses_every_day_is_warned_of_at_its_start() -> None:
    told = replayed(Days({**MINUTES, "transform": 60.0}, bad=0), "hopeless")
    assert (told.missed, told.warned, told.hits) == (RUNS, RUNS, RUNS)
    assert told.lead == timedelta(hours=1)


def test_a_lower_confidence_warns_at_least_as_often() -> None:
    assert replayed(Days(MINUTES), "one", 0.5).warned >= replayed(Days(MINUTES), "one", 0.95).warned


def test_runs_with_too_few_before_them_are_left_out() -> None:
    past = made_up(GRAPH.dag, Days(MINUTES), 8, "one")
    assert [one.run_id for one in replay(GRAPH, past, 8, 0.9)] == ["past5", "past6", "past7"]
