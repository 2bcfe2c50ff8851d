"""Which tasks a branch decides against."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from engine.authoring.branching import (
    BaseBranchOperator,
    BranchDateTimeOperator,
    BranchDayOfWeekOperator,
    LatestOnlyOperator,
)
from engine.authoring.context import Context
from engine.authoring.dag import DAG
from engine.authoring.exceptions import AirflowException, AuthoringError
from engine.authoring.python import EmptyOperator

SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)  # the logical date of these tests' record
SIDES: dict[str, Any] = {"follow_task_ids_if_true": "yes", "follow_task_ids_if_false": ["no"]}


class Choose(BaseBranchOperator):
    """Follows what it is given."""

    def __init__(self, *, choice: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choice = choice

    def choose_branch(self, context: Context) -> Any:
        return self.choice


def skipped(
    kind: type[Any], make_record: Any, make_xcom: Any, record: dict[str, Any] | None = None, **more: Any
) -> set[str]:
    """What a branch before ``yes >> after`` and ``no`` decides against."""
    with DAG("d", schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        branch = kind(task_id="branch", **more)
        yes = EmptyOperator(task_id="yes")
        branch >> [yes, EmptyOperator(task_id="no")]
        yes >> EmptyOperator(task_id="after")
    context = Context(make_record(**(record or {})), dag, branch, make_xcom())
    branch.execute(context)
    return context.to_skip


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ("yes", {"no"}),
        (["yes", "no"], set()),
        (("no",), {"yes"}),
        (None, {"yes", "no"}),
        ([], {"yes", "no"}),
        ("after", {"yes", "no"}),
    ],
    ids=["one", "both", "a tuple", "none", "an empty list", "one further behind"],
)
def test_only_tasks_directly_behind_it_that_were_not_chosen_are_left(
    choice: Any, left: set[str], make_record: Any, make_xcom: Any
) -> None:
    assert skipped(Choose, make_record, make_xcom, choice=choice) == left


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("yess", "Did you mean 'yes'?"),
        (5, "must choose a task_id, a list of them or None, not 5"),
        ([1], "not \\[1\\]"),
    ],
    ids=str,
)
def test_a_choice_that_is_no_task_fails(choice: Any, words: str, make_record: Any, make_xcom: Any) -> None:
    with pytest.raises(AirflowException, match=words):
        skipped(Choose, make_record, make_xcom, choice=choice)


def test_only_the_latest_scheduled_run_goes_on(make_record: Any, make_xcom: Any) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    latest = {"data_interval_start": today - timedelta(days=1), "data_interval_end": today}
    before = {"data_interval_start": today - timedelta(days=2), "data_interval_end": today - timedelta(days=1)}
    assert skipped(LatestOnlyOperator, make_record, make_xcom, latest) == set()
    assert skipped(LatestOnlyOperator, make_record, make_xcom, before) == {"yes", "no"}
    assert skipped(LatestOnlyOperator, make_record, make_xcom, before | {"run_type": "manual"}) == set()


@pytest.mark.parametrize(
    ("week_day", "left"),
    [("Sunday", {"no"}), ({"monday", "SUNDAY"}, {"no"}), ("Monday", {"yes"})],
    ids=["one day", "some days", "another day"],
)
def test_a_branch_by_weekday_looks_at_the_logical_date(
    week_day: Any, left: set[str], make_record: Any, make_xcom: Any
) -> None:
    arguments = {"week_day": week_day, "use_task_logical_date": True, **SIDES}
    assert skipped(BranchDayOfWeekOperator, make_record, make_xcom, **arguments) == left


@pytest.mark.parametrize(
    ("lower", "upper", "left"),
    [
        (SUNDAY, None, {"no"}),
        (None, SUNDAY - timedelta(seconds=1), {"yes"}),
        (SUNDAY - timedelta(days=1), SUNDAY + timedelta(days=1), {"no"}),
        (time(0, 0), time(1, 0), {"no"}),
        (time(1, 0), time(2, 0), {"yes"}),
        (datetime(2026, 2, 1), datetime(2026, 4, 1), {"no"}),  # noqa: DTZ001 - naive is UTC
    ],
    ids=str,
)
def test_a_branch_by_time_follows_the_window(
    lower: Any, upper: Any, left: set[str], make_record: Any, make_xcom: Any
) -> None:
    window = {"target_lower": lower, "target_upper": upper, "use_task_logical_date": True}
    assert skipped(BranchDateTimeOperator, make_record, make_xcom, **window, **SIDES) == left


def test_what_a_branch_cannot_do_is_refused_in_words() -> None:
    with pytest.raises(AuthoringError, match=r"week_day='Sonday' is no day of the week\. Did you mean 'SUNDAY'"):
        BranchDayOfWeekOperator(task_id="t", week_day="Sonday", **SIDES)
    with pytest.raises(AuthoringError, match="both target_lower and target_upper are None"):
        BranchDateTimeOperator(task_id="t", target_lower=None, target_upper=None, **SIDES)
