"""``sla=``, ``deadline=`` and what else a DAG file may promise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine import DAG, AsyncCallback, BashOperator, DeadlineAlert, DeadlineReference, SyncCallback
from engine.authoring.defaults import Defaults, using
from engine.authoring.exceptions import AuthoringError
from engine.authoring.serialize import serialize
from engine.authoring.serialized import SerializedDag, decode_dag, encode_dag

HOUR = timedelta(hours=1)


def stored(**arguments: Any) -> SerializedDag:
    with DAG("dag", schedule=None, **arguments) as dag:
        BashOperator(task_id="t", bash_command="true")
    return decode_dag(encode_dag(serialize(dag)))


def test_an_sla_is_the_dags_the_tasks_or_that_of_the_default_args() -> None:
    dag = stored(sla=2 * HOUR, default_args={"sla": HOUR})
    assert (dag.sla_seconds, dag.task("t").sla_seconds) == (7200.0, 3600.0)


def test_a_dag_that_promises_nothing_is_stored_as_before() -> None:
    assert b'"sla' not in encode_dag(stored())
    assert b"deadline" not in encode_dag(stored())


def test_which_runs_count_and_what_a_failure_does_come_from_the_settings() -> None:
    assert (stored().sla_runs, stored().sla_after_failure) == ("scheduled", "wait")
    with using(Defaults(sla_runs="all", sla_after_failure="cancel")):
        assert (stored().sla_runs, stored().sla_after_failure) == ("all", "cancel")
        mine = stored(sla_runs="scheduled_and_manual", sla_after_failure="wait")
    assert (mine.sla_runs, mine.sla_after_failure) == ("scheduled_and_manual", "wait")


def test_a_deadline_has_a_reference_an_interval_and_a_callback() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=ZoneInfo("Europe/Zurich"))
    alerts = [
        DeadlineAlert(DeadlineReference.DAGRUN_LOGICAL_DATE, HOUR, AsyncCallback(print, kwargs={"a": 1})),
        DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, HOUR, SyncCallback("package.module.tell", executor="x")),
        DeadlineAlert(DeadlineReference.FIXED_DATETIME(noon), -HOUR, print),
        DeadlineAlert(reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=5, min_runs=2), interval=HOUR),
    ]
    first, second, third, fourth = stored(deadline=alerts).deadlines
    assert (first.reference, first.interval_seconds, first.has_callback) == ("logical_date", 3600.0, True)
    assert second.reference == "queued_at"
    assert (third.reference, third.at, third.interval_seconds) == (
        "fixed", datetime(2026, 3, 1, 11, tzinfo=UTC), -3600.0
    )  # fmt: skip
    assert (fourth.reference, fourth.max_runs, fourth.min_runs) == ("average_runtime", 5, 2)
    assert not fourth.has_callback
    assert len(stored(deadline=alerts[0]).deadlines) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sla": 5}, "sla must be a timedelta"),
        ({"sla": timedelta(0)}, "sla must be more than zero"),
        ({"sla_runs": "schedules"}, "Did you mean 'scheduled'?"),
        ({"sla_after_failure": "ignore"}, "Write one of wait, cancel."),
        ({"deadline": HOUR}, "deadline must be a DeadlineAlert"),
        ({"deadlines": []}, "Did you mean 'deadline'?"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        stored(**arguments)
    assert words in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DeadlineAlert("queued", HOUR), "reference must be one of DeadlineReference's"),
        (lambda: DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, 60), "interval must be a timedelta"),
        (lambda: DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, HOUR, 5), "must be a function, not 5"),
        (lambda: DeadlineReference.FIXED_DATETIME("noon"), "FIXED_DATETIME takes a datetime"),
        (lambda: DeadlineReference.AVERAGE_RUNTIME(2, 3), "min_runs is 3, more than max_runs (2)"),
        (lambda: AsyncCallback("tell"), "The callback of a deadline must be a function"),
    ],
    ids=["reference", "interval", "callback", "moment", "runs", "path"],
)
def test_a_wrong_part_of_a_deadline_is_refused_in_words(make: Any, words: str) -> None:
    with pytest.raises(AuthoringError) as caught:
        make()
    assert words in str(caught.value)
