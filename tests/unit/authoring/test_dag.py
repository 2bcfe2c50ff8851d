# ruff: noqa: DTZ001 - naive dates are what is tested
from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest

import engine
from engine import DAG, EmptyOperator, dag
from engine.authoring.defaults import Defaults, using
from engine.authoring.exceptions import AuthoringError
from engine.authoring.serialized import CronSchedule, DeltaSchedule, NoSchedule

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_dag_without_a_schedule_runs_by_hand_only() -> None:
    assert DAG("d").schedule == NoSchedule()


def test_schedule_interval_is_another_name_of_schedule_and_both_are_too_many() -> None:
    assert DAG("d", schedule_interval=timedelta(hours=1)).schedule == DeltaSchedule(3600.0)
    with pytest.raises(AuthoringError, match="both given"):
        DAG("d", schedule="@daily", schedule_interval="@daily")


def test_cron_takes_the_time_zone_of_the_start_date() -> None:
    start = pendulum.datetime(2026, 1, 1, tz="Europe/Paris")
    assert DAG("d", schedule="@daily", start_date=start).schedule == CronSchedule("@daily", "Europe/Paris")


def test_a_naive_start_date_is_in_the_default_time_zone() -> None:
    with using(Defaults(timezone="Asia/Tokyo")):
        made = DAG("d", schedule="@daily", start_date=datetime(2026, 1, 1))
    assert made.schedule == CronSchedule("@daily", "Asia/Tokyo")
    assert made.start_date == datetime(2025, 12, 31, 15, tzinfo=UTC)


def test_the_start_date_may_stand_in_default_args() -> None:
    assert DAG("d", schedule="@daily", default_args={"start_date": START}).start_date == START


def test_limits_and_catchup_fall_back_to_the_settings() -> None:
    with using(Defaults(max_active_runs=3, max_active_tasks=5, catchup=True)):
        made, own = DAG("d"), DAG("d", max_active_runs=1, concurrency=2, catchup=False)
    assert (made.max_active_runs, made.max_active_tasks, made.catchup) == (3, 5, True)
    assert (own.max_active_runs, own.max_active_tasks, own.catchup) == (1, 2, False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"catchupp": True}, "Did you mean 'catchup'"),
        ({"on_failure_calback": print}, "Did you mean 'on_failure_callback'"),
        ({"timetable": object()}, "timetable is not supported yet"),
        ({"render_template_as_native_obj": True}, "render_template_as_native_obj is not supported yet"),
        ({"params": {"lock": threading.Lock()}}, r"params of DAG 'd'\['lock'\] is"),
        ({"params": {1: "x"}}, "JSON keys are strings"),
        ({"params": {"x": [1, {"y": float("nan")}]}}, r"\['x'\]\[1\]\['y'\] is nan"),
        ({"tags": "one"}, r"Write tags=\['one'\]"),
        ({"max_active_runs": 0}, "at least 1"),
        ({"dagrun_timeout": 60}, "must be a timedelta"),
        ({"start_date": "2026-01-01"}, "must be a datetime"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(AuthoringError, match=told):
        DAG("d", **arguments)


@pytest.mark.parametrize("dag_id", ["", "two words", "x" * 251, None, "a:b"])
def test_a_bad_dag_id_is_refused(dag_id: Any) -> None:
    with pytest.raises(AuthoringError, match=r"dag_id .* is not valid"):
        DAG(dag_id)


def test_the_decorator_makes_a_dag_named_like_its_function() -> None:
    @dag(schedule="@daily", start_date=START)
    def pipeline() -> None:
        """What it does."""
        EmptyOperator(task_id="a")

    made = pipeline()
    assert (made.dag_id, made.task_ids, made.doc_md) == ("pipeline", ["a"], "What it does.")


def test_a_task_that_is_missing_is_told_with_a_suggestion() -> None:
    with DAG("d") as made:
        EmptyOperator(task_id="extract")
    with pytest.raises(AuthoringError, match="Did you mean 'extract'"):
        made.get_task("extrct")


def test_owner_names_all_owners_once() -> None:
    with DAG("d") as made:
        for task_id, owner in (("a", "ops"), ("b", "data"), ("c", "ops")):
            EmptyOperator(task_id=task_id, owner=owner)
    assert made.owner == "data, ops"


def test_a_wrong_name_in_an_import_from_engine_is_told_with_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'BashOperator'"):
        _ = engine.BashOperater
    assert set(engine.__all__) <= set(dir(engine))
