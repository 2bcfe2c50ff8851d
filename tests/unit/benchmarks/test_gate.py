from __future__ import annotations

from typing import Any

from benchmarks import alerts_run
from benchmarks.gate import (
    AIRFLOW_CHAIN_SECONDS,
    AIRFLOW_TASKS_PER_SECOND,
    Bound,
    bounds,
    peer_walls,
    times_airflow,
    too_slow,
)
from benchmarks.shapes import CHAIN, FEW

FAN_OUT = FEW[0].key


def row(shape: str, *, database: str = "sqlite", wall: float = 1.0, engine: str = "windsock") -> dict[str, Any]:
    told = {"lag_p50": 0.005, "lag_p95": 0.06}
    median = {"wall_seconds": wall, "tasks_per_second": 200 / wall, "statements_per_task": 3.5, "told": told}
    return {
        "engine": engine,
        "database": database,
        "schedulers": 1,
        "shape": shape,
        "title": shape,
        "tasks": 200,
        "fork_wait_per_second": 400.0,
        "median": median,
    }


def test_a_shape_is_compared_with_what_airflow_took_for_it_in_the_same_run() -> None:
    walls = peer_walls([row("tree_7"), row("tree_7", engine="airflow", wall=60)])
    assert times_airflow(row("tree_7", wall=2), walls) == 30


def test_without_airflow_it_is_compared_with_what_was_measured_once_where_something_was() -> None:
    assert times_airflow(row(CHAIN.key, wall=AIRFLOW_CHAIN_SECONDS / 32), {}) == 32
    assert times_airflow(row(FAN_OUT, wall=200 / AIRFLOW_TASKS_PER_SECOND / 32), {}) == 32
    assert times_airflow(row("tree_7"), {}) is None


def test_what_sqlite_runs_too_slowly_is_told_and_other_databases_are_only_shown() -> None:
    assert too_slow([row(FAN_OUT), row(CHAIN.key), row(FAN_OUT, database="postgresql", wall=200)]) == []
    assert too_slow([row(FAN_OUT, wall=200 / AIRFLOW_TASKS_PER_SECOND / 19), row(CHAIN.key)]) == [
        f"{FAN_OUT} on SQLite: 19.0 x Airflow, less than 20 x"
    ]


def test_a_bound_is_met_missed_or_not_measured() -> None:
    assert Bound("", 2, "s", 2.0).verdict == "meets"
    assert Bound("", 2, "s", 2.1).verdict == "falls short"
    assert Bound("", 2, "x", 2.1, at_least=True).verdict == "meets"
    assert Bound("", 2, "x", 1.9, at_least=True).verdict == "falls short"
    assert Bound("", 2, "x", None).verdict == "not measured"


def test_the_bounds_are_read_from_what_was_measured() -> None:
    rows = [row(FAN_OUT), row(CHAIN.key, wall=0.5), row(FAN_OUT, database="postgresql", wall=1.25)]
    found = bounds({"engine": rows})
    verdicts = {bound.title: (bound.measured, bound.verdict) for bound in found}
    assert verdicts["chain of 40, sqlite"] == (0.5, "meets")
    assert verdicts["chain of 40, postgresql"] == (None, "not measured")
    assert verdicts["parent's end to child's start, sqlite: p95"] == (0.06, "falls short")
    assert verdicts[f"{FAN_OUT}, sqlite: share of the machine's fork+wait"] == (0.5, "meets")
    assert verdicts[f"{FAN_OUT}, postgresql: share of the machine's fork+wait"] == (0.4, "falls short")
    assert verdicts["500 changed DAG files stored"] == (None, "not measured")


def test_a_house_is_held_against_its_bounds_on_each_database() -> None:
    house = {"core_pss_mib": 140.0, "cpu_share": 0.011, "healthy_seconds": 1.5, "speakers": 5}
    rows = [
        {"database": "sqlite", "statements_per_second": None, **house},
        {"database": "postgresql", "statements_per_second": 8.0, **house, "healthy_seconds": 2.5},
    ]
    verdicts = {bound.title: bound.verdict for bound in bounds({"house": rows}) if bound.measured is not None}
    assert verdicts == {
        "idle statements per second and process, postgresql": "meets",
        "idle memory of the core (PSS), sqlite": "meets",
        "idle memory of the core (PSS), postgresql": "meets",
        "idle processor time, sqlite": "falls short",
        "idle processor time, postgresql": "falls short",
        "standalone from start to healthy, sqlite": "meets",
        "standalone from start to healthy, postgresql": "falls short",
    }


def test_nothing_measured_meets_nothing() -> None:
    assert {bound.verdict for bound in bounds({})} == {"not measured"}


def test_failures_that_are_told_late_are_named() -> None:
    quick = {"failures": 20, "p50": 0.02, "p95": 0.5, "longest": 2.0}
    assert alerts_run.slow_words({"one after the other": quick}) == []
    assert alerts_run.slow_words({"at the same moment": quick | {"p95": 0.6}}) == [
        "failures at the same moment: p95 0.600 s to the mail, more than 0.5 s"
    ]
