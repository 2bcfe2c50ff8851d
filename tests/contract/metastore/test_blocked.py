"""A failed task's event names some of the tasks that will not run, and counts the others, on every database."""

from __future__ import annotations

from tests.contract.metastore.stage import FAILURE, Stage, bash, empty
from tests.contract.metastore.told import Telling, told


def test_a_failure_before_many_tasks_names_a_dozen_of_them_and_counts_the_rest(stage: Stage) -> None:
    telling = Telling(stage)
    names = tuple(f"t{number:03}" for number in range(100))
    stage.dag("dag", bash("one"), bash("two"), bash("few"), *(empty(name, "one", "two") for name in names))
    telling.trigger("dag")
    telling.attempt(one=FAILURE, two=FAILURE, few=FAILURE)
    events = {event.task_id: event for event in told(stage.store)}
    for task_id in ("one", "two"):
        assert events[task_id].blocked == names[:12]
        assert events[task_id].blocked_more == 88
    assert (events["few"].blocked, events["few"].blocked_more) == ((), 0)
