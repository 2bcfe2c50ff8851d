"""Forecasts: what they are made of, and what they do not know."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta

import pytest

from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedTask
from engine.metastore.forecast import DRAWS, Forecast, Forecaster, Seen
from engine.metastore.graphs import Graph, build_graph
from engine.metastore.sla_risk import Deadline, risks_of
from engine.metastore.states import TaskState

NOW = datetime(2026, 11, 28, 6, 0, tzinfo=UTC)
TEN = [10.0] * 5


def graph(**upstream: tuple[str, ...]) -> Graph:
    tasks = tuple(
        SerializedTask(task_id=name, operator="BashOperator", kind="bash", upstream=parents)
        for name, parents in upstream.items()
    )
    return build_graph(SerializedDag(dag_id="d", fileloc="/x.py", schedule=NoSchedule(), tasks=tasks))


DIAMOND = graph(a=(), b=("a",), c=("a",), d=("b", "c"), aside=())


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def seconds_of(forecast: Forecast | None) -> set[float]:
    assert forecast is not None
    assert len(forecast.seconds) == DRAWS
    return {round(second, 6) for second in forecast.seconds}


def test_the_longest_way_decides() -> None:
    history = {"a": TEN, "b": TEN, "c": [70.0] * 5, "d": TEN}
    assert seconds_of(Forecaster(DIAMOND, history, "s").forecast("d", {}, NOW)) == {90.0}


def test_what_has_ended_counts_no_more_and_what_runs_only_as_far_as_it_is_left() -> None:
    history = {"a": TEN, "b": TEN, "c": [70.0] * 5, "d": TEN}
    seen = {
        "a": Seen(TaskState.SUCCESS, ago(60), ago(50)),
        "b": Seen(TaskState.SUCCESS, ago(50), ago(40)),
        "c": Seen(TaskState.RUNNING, ago(50)),
    }
    assert seconds_of(Forecaster(DIAMOND, history, "s").forecast("d", seen, NOW)) == {30.0}


def test_of_what_runs_only_longer_times_count() -> None:
    one = graph(a=())
    history = {"a": [10.0] * 18 + [100.0, 200.0]}
    seen = {"a": Seen(TaskState.RUNNING, ago(50))}
    assert seconds_of(Forecaster(one, history, "s").forecast("a", seen, NOW)) == {50.0, 150.0}


def test_what_runs_for_longer_than_ever_needs_up_to_as_long_again() -> None:
    forecast = Forecaster(graph(a=()), {"a": TEN}, "s").forecast("a", {"a": Seen(TaskState.RUNNING, ago(50))}, NOW)
    assert forecast is not None
    assert min(forecast.seconds) < 5
    assert 45 < max(forecast.seconds) <= 50


def test_a_retry_waits_first() -> None:
    seen = {"a": Seen(TaskState.UP_FOR_RETRY, ago(50), None, NOW + timedelta(seconds=300))}
    assert seconds_of(Forecaster(graph(a=()), {"a": TEN}, "s").forecast("a", seen, NOW)) == {310.0}


def test_the_spread_of_the_past_is_the_spread_of_the_forecast() -> None:
    forecaster = Forecaster(graph(a=(), b=("a",)), {"a": [10.0, 20.0] * 5, "b": [100.0, 200.0] * 5}, "s")
    forecast = forecaster.forecast("b", {}, NOW)
    assert forecast is not None
    assert 0.4 < forecast.probability_after(NOW + timedelta(seconds=155)) < 0.6
    assert (forecast.probability_after(NOW), forecast.probability_after(NOW + timedelta(seconds=500))) == (1.0, 0.0)
    assert forecast.at(0.1) < forecast.at(0.5) < forecast.at(0.9)
    assert forecast.at(0.0) == NOW + timedelta(seconds=forecast.seconds[0])
    assert forecast.at(1.0) == NOW + timedelta(seconds=forecast.seconds[-1])


def test_a_little_longer_than_ever_is_no_sign_of_a_rare_long_day() -> None:
    """One of fifty days took five times as long; today is a hundredth beyond the longest of the others."""
    usual = [100.0 * math.exp(0.1 * statistics.NormalDist().inv_cdf((n + 0.5) / 49)) for n in range(49)]
    seen = {"a": Seen(TaskState.RUNNING, ago(max(usual) * 1.01))}
    forecast = Forecaster(graph(a=()), {"a": [*usual, 500.0]}, "s").forecast("a", seen, NOW)
    assert forecast is not None
    assert 0.2 < forecast.probability_after(NOW + timedelta(seconds=100)) < 0.9
    later = {"a": Seen(TaskState.RUNNING, ago(max(usual) * 1.3))}
    surely = Forecaster(graph(a=()), {"a": [*usual, 500.0]}, "s").forecast("a", later, NOW)
    assert surely is not None
    assert surely.probability_after(NOW + timedelta(seconds=100)) == 1.0


def test_the_same_run_has_the_same_futures_and_another_run_others() -> None:
    history = {"a": [float(n) for n in range(1000)]}
    one, same, other = (Forecaster(graph(a=()), history, seed).forecast("a", {}, NOW) for seed in ("x", "x", "y"))
    assert one == same != other


@pytest.mark.parametrize(
    ("seen", "history"),
    [
        ({}, {"a": [1.0] * 4}),
        ({}, {}),
        ({"a": Seen(TaskState.SUCCESS, ago(2), ago(1))}, {"a": TEN}),
        ({"a": Seen(TaskState.FAILED, ago(2), ago(1))}, {"a": TEN}),
    ],
    ids=["too few runs", "no run", "it has ended", "it has failed"],
)
def test_where_there_is_nothing_to_foresee_nothing_is_said(
    seen: dict[str, Seen], history: dict[str, list[float]]
) -> None:
    assert Forecaster(graph(a=()), history, "s").forecast("a", seen, NOW) is None


def test_behind_a_failure_nothing_is_foreseen_and_beside_it_all_is() -> None:
    seen = {"b": Seen(TaskState.FAILED, ago(2), ago(1)), "a": Seen(TaskState.SUCCESS, ago(9), ago(2))}
    forecaster = Forecaster(DIAMOND, dict.fromkeys("abcd", TEN), "s")
    assert forecaster.forecast("d", seen, NOW) is None
    assert seconds_of(forecaster.forecast("c", seen, NOW)) == {10.0}


def test_the_task_that_cost_most_against_its_own_history_is_named() -> None:
    forecaster = Forecaster(DIAMOND, {**dict.fromkeys("abcd", TEN), "aside": TEN}, "s")
    seen = {
        "a": Seen(TaskState.SUCCESS, ago(95), ago(80)),
        "b": Seen(TaskState.SUCCESS, ago(80), ago(70)),
        "c": Seen(TaskState.RUNNING, ago(80)),
        "aside": Seen(TaskState.RUNNING, ago(900)),
    }
    slow = forecaster.slowest("d", seen, NOW)
    assert slow is not None
    assert (slow.task_id, slow.took, slow.usual) == ("c", 80.0, 10.0)
    usual = {"a": Seen(TaskState.RUNNING, ago(9))}
    assert forecaster.slowest("d", usual, NOW) is None


def test_several_at_once_are_what_each_is_alone() -> None:
    many = graph(a=(), b=("a",), c=("a",), d=("b", "c"), e=("d",), new=("b",), after=("new",), done=("new",), bad=())
    history = {name: [10.0, 20.0, 30.0, 70.0, 90.0] for name in "abcde"} | {"done": TEN, "bad": TEN, "after": TEN}
    seen = {"a": Seen(TaskState.RUNNING, ago(15)), "done": Seen(TaskState.SUCCESS, ago(9), ago(5))}
    seen["bad"] = Seen(TaskState.FAILED, ago(9), ago(5))
    names = ["", *many.tasks, "stranger"]
    alone = {name: Forecaster(many, history, "s").forecast(name, seen, NOW) for name in names}
    together = Forecaster(many, history, "s").forecasts(names, seen, NOW)
    assert {name: together.get(name) for name in names} == alone
    assert sorted(together) == ["a", "b", "c", "d", "e"]


def test_what_stands_before_several_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = graph(**{f"t{n}": (f"t{n - 1}",) if n else () for n in range(30)})
    forecaster = Forecaster(chain, dict.fromkeys(chain.tasks, TEN), "s")
    gone_through: list[str] = []
    remaining = forecaster._remaining

    def noted(name: str, *about: object) -> list[float]:
        gone_through.append(name)
        return remaining(name, *about)  # type: ignore[arg-type]

    monkeypatch.setattr(forecaster, "_remaining", noted)
    deadlines = [Deadline(name, NOW + timedelta(seconds=15)) for name in chain.tasks]
    assert len(risks_of(forecaster, deadlines, {}, NOW, 0.9)) == 29
    assert gone_through == list(chain.tasks)
