"""What a sensor does between two looks, and what becomes of an exception."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from engine.authoring.context import Context
from engine.authoring.dag import DAG
from engine.authoring.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AuthoringError,
    TimeLimitSkip,
)
from engine.authoring.sensors import BaseSensorOperator
from engine.authoring.standard_sensors import DateTimeSensor, DayOfWeekSensor, TimeDeltaSensor, TimeSensor
from engine.authoring.triggering import ExternalTaskSensor, TriggerDagRunOperator

START = datetime(2026, 3, 2, 0, 0, 2, tzinfo=UTC)  # a Monday; when the record of these tests starts


class Raising(BaseSensorOperator):
    """Raises what it is given."""

    def __init__(self, *, error: Exception | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def poke(self, context: Context) -> bool:
        if self.error:
            raise self.error
        return False


def in_dag(kind: type[Any], **arguments: Any) -> Any:
    with DAG("d", start_date=START):
        return kind(task_id="t", **arguments)


def context_of(
    task: Any, make_record: Any, make_xcom: Any, values: dict[str, Any] | None = None, **changes: Any
) -> Context:
    return Context(make_record(**changes), task.dag, task, make_xcom(**(values or {})))


@pytest.mark.parametrize(
    ("error", "options", "raised"),
    [
        (ValueError("x"), {}, ValueError),
        (ValueError("x"), {"soft_fail": True}, ValueError),
        (ValueError("x"), {"never_fail": True}, AirflowSkipException),
        (ValueError("x"), {"silent_fail": True, "mode": "reschedule"}, AirflowRescheduleException),
        (AirflowFailException("x"), {}, AirflowFailException),
        (AirflowFailException("x"), {"soft_fail": True}, AirflowSkipException),
        (AirflowFailException("x"), {"never_fail": True}, AirflowSkipException),
        (AirflowSkipException("x"), {}, AirflowSkipException),
        (None, {"timeout": 0}, AirflowSensorTimeout),
        (None, {"timeout": 0, "soft_fail": True}, TimeLimitSkip),
    ],
)
def test_what_a_look_raises_fails_skips_or_counts_as_not_yet(
    error: Exception | None, options: dict[str, Any], raised: type[Exception], make_record: Any, make_xcom: Any
) -> None:
    sensor = in_dag(Raising, error=error, **options)
    with pytest.raises(raised):
        sensor.execute(context_of(sensor, make_record, make_xcom))


def test_the_timeout_counts_what_was_waited_before_the_reschedule(make_record: Any, make_xcom: Any) -> None:
    sensor = in_dag(Raising, mode="reschedule", timeout=60)
    early = context_of(sensor, make_record, make_xcom, start_date=START, sensing_since=START - timedelta(seconds=50))
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(early)
    late = context_of(sensor, make_record, make_xcom, start_date=START, sensing_since=START - timedelta(seconds=61))
    with pytest.raises(AirflowSensorTimeout, match="longer than its timeout of 60 s"):
        sensor.execute(late)


def test_pauses_double_up_to_max_wait_and_never_pass_the_timeout(make_record: Any, make_xcom: Any) -> None:
    sensor = in_dag(Raising, exponential_backoff=True, poke_interval=8, timeout=1000, max_wait=timedelta(seconds=100))
    context = context_of(sensor, make_record, make_xcom)
    for looks, least in ((1, 4), (2, 8), (3, 16), (4, 32)):
        assert least <= sensor.next_pause(context, 0, looks) < 2 * least
        assert sensor.next_pause(context, 0, looks) == sensor.next_pause(context, 0, looks)
    assert sensor.next_pause(context, 0, 20) == 100
    assert sensor.next_pause(context, 998, 20) == 2
    assert in_dag(Raising, poke_interval=8).next_pause(context, 0, 20) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "rescheduel"}, "Did you mean 'reschedule'?"),
        ({"timeout": -1}, "timeout must be at least zero"),
        ({"poke_interval": "5"}, "poke_interval must be a timedelta"),
        ({"soft_fail": True, "never_fail": True}, "exclude one another"),
    ],
    ids=["mode", "timeout", "poke_interval", "soft and never"],
)
def test_what_a_sensor_cannot_do_is_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        in_dag(Raising, **arguments)
    assert words in str(caught.value)


def test_sensors_of_time_compare_with_the_clock(make_record: Any, make_xcom: Any) -> None:
    now = datetime.now(UTC)
    moments = {"start_date": now, "data_interval_end": now - timedelta(hours=1)}
    cases = [
        (TimeSensor, {"target_time": time(0, 0)}, True),
        (TimeSensor, {"target_time": time(23, 59, 59, 999_999)}, False),
        (DateTimeSensor, {"target_time": now - timedelta(minutes=1)}, True),
        (DateTimeSensor, {"target_time": (now + timedelta(hours=1)).isoformat()}, False),
        (TimeDeltaSensor, {"delta": timedelta(minutes=30)}, True),
        (TimeDeltaSensor, {"delta": timedelta(hours=2)}, False),
        (DayOfWeekSensor, {"week_day": "sunday", "use_task_logical_date": True}, True),  # 1 March 2026
        (DayOfWeekSensor, {"week_day": ["Monday", "tuesday"], "use_task_logical_date": True}, False),
    ]
    for kind, arguments, expected in cases:
        sensor = in_dag(kind, **arguments)
        assert sensor.poke(context_of(sensor, make_record, make_xcom, **moments)) is expected, (kind, arguments)


def test_an_external_sensor_asks_for_the_date_that_its_delta_or_function_says(make_record: Any, make_xcom: Any) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    two = [day - timedelta(days=n) for n in (1, 2)]
    cases: list[tuple[dict[str, Any], list[datetime]]] = [
        ({}, [day]),
        ({"execution_delta": timedelta(hours=1)}, [day - timedelta(hours=1)]),
        ({"execution_date_fn": lambda date: date + timedelta(days=1)}, [day + timedelta(days=1)]),
        ({"execution_date_fn": lambda _, ds: two if ds == "2026-03-01" else None}, two),
    ]
    for arguments, dates in cases:
        sensor = in_dag(ExternalTaskSensor, external_dag_id="other", external_task_id="a", **arguments)
        context = context_of(sensor, make_record, make_xcom, {"states": ["success"]})
        assert sensor.poke(context) is (len(dates) == 1)
        assert context.xcom.asked_runs == ("other", dates, ["a"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "states", "verdict"),
    [
        ({}, ["success", "running"], False),
        ({}, ["success", "success"], True),
        ({"allowed_states": ["success", "skipped"]}, ["success", "skipped"], True),
        ({"failed_states": ["failed"]}, ["success", "failed"], AirflowException),
        ({"failed_states": ["failed"], "soft_fail": True}, ["success", "failed"], AirflowSkipException),
        ({"skipped_states": ["skipped"]}, ["success", "skipped"], AirflowSkipException),
    ],
)
def test_an_external_sensor_judges_by_its_states(
    arguments: dict[str, Any], states: list[str], verdict: Any, make_record: Any, make_xcom: Any
) -> None:
    sensor = in_dag(ExternalTaskSensor, external_dag_id="other", external_task_ids=["a", "b"], **arguments)
    context = context_of(sensor, make_record, make_xcom, {"states": states})
    if isinstance(verdict, bool):
        assert sensor.poke(context) is verdict
    else:
        with pytest.raises(verdict):
            sensor.poke(context)


def test_all_attempts_of_a_task_ask_for_the_same_run_and_a_cleared_one_for_another(
    make_record: Any, make_xcom: Any
) -> None:
    operator = in_dag(TriggerDagRunOperator, trigger_dag_id="other")
    asked = []
    for changes in ({"try_number": 1}, {"try_number": 2}, {"max_tries": 6}):
        context = context_of(operator, make_record, make_xcom, {"run_id": "r", "state": "queued"}, **changes)
        operator.execute(context)
        asked.append(context.xcom.triggered[1])  # type: ignore[attr-defined]
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fail_when_dag_is_paused": True}, "fail_when_dag_is_paused is not supported yet"),
        ({"allowed_states": ["sucess"]}, "Did you mean 'success'?"),
        ({"conf": {"x": object()}}, "conf of task 't'['x'] is"),
    ],
    ids=["paused", "state", "conf"],
)
def test_what_a_trigger_cannot_do_is_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        in_dag(TriggerDagRunOperator, trigger_dag_id="other", **arguments)
    assert words in str(caught.value)
