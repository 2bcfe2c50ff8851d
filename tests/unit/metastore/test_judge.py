"""The trigger rules against a table written by hand from Airflow's documentation and its trigger_rule_dep."""

from __future__ import annotations

import itertools

import pytest

from engine.authoring.serialized import TriggerRule
from engine.metastore.graphs import judge
from engine.metastore.states import TaskState

GO, SKIP, BLOCK, WAIT = TaskState.SCHEDULED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, None

# Columns are the outcomes of two upstream tasks: s success, f failed, u upstream_failed, k skipped, - not done yet.
COLUMNS = "--   s-    f-    u-    k-    ss    sf    su    sk    ff    fu    fk    uu    uk    kk"
TABLE = """
all_success                  wait  wait  block block skip  go    block block skip  block block block block block skip
all_failed                   wait  skip  wait  wait  skip  skip  skip  skip  skip  go    go    skip  go    skip  skip
all_done                     wait  wait  wait  wait  wait  go    go    go    go    go    go    go    go    go    go
all_skipped                  wait  skip  skip  skip  wait  skip  skip  skip  skip  skip  skip  skip  skip  skip  go
one_success                  wait  go    wait  wait  wait  go    go    go    go    block block block block block skip
one_failed                   wait  wait  go    go    wait  skip  go    go    skip  go    go    go    go    go    skip
one_done                     wait  go    go    wait  wait  go    go    go    go    go    go    go    skip  skip  skip
none_failed                  wait  wait  block block wait  go    block block go    block block block block block go
none_skipped                 wait  wait  wait  wait  skip  go    go    go    skip  go    go    skip  go    skip  skip
none_failed_min_one_success  wait  wait  block block wait  go    block block go    block block block block block skip
always                       go    go    go    go    go    go    go    go    go    go    go    go    go    go    go
"""
WORDS = {"go": GO, "skip": SKIP, "block": BLOCK, "wait": WAIT}
CASES = [
    pytest.param(rule, outcomes, WORDS[word], id=f"{rule}-{outcomes}")
    for rule, *words in (line.split() for line in TABLE.strip().splitlines())
    for outcomes, word in zip(COLUMNS.split(), words, strict=True)
]


def verdict(rule: str, outcomes: str) -> TaskState | None:
    counts = {letter: outcomes.count(letter) for letter in "sfuk"}
    return judge(
        TriggerRule(rule), len(outcomes), success=counts["s"], failed=counts["f"], blocked=counts["u"],
        skipped=counts["k"],
    )  # fmt: skip


def test_the_table_names_every_rule() -> None:
    assert {case.values[0] for case in CASES} == set(TriggerRule)


@pytest.mark.parametrize(("rule", "outcomes", "expected"), CASES)
def test_a_rule_judges_two_upstream_tasks_as_airflow_does(rule: str, outcomes: str, expected: TaskState | None) -> None:
    assert verdict(rule, outcomes) == expected


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_task_without_upstream_may_start_whatever_its_rule(rule: TriggerRule) -> None:
    assert judge(rule, 0, 0, 0, 0, 0) == GO


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_rule_never_waits_once_all_upstream_tasks_are_done(rule: TriggerRule) -> None:
    for outcomes in itertools.product("sfuk", repeat=3):
        assert verdict(rule, "".join(outcomes)) is not None


@pytest.mark.parametrize("rule", TriggerRule)
def test_what_was_decided_early_holds_or_was_decided_by_the_first_to_come(rule: TriggerRule) -> None:
    """An early go stays a go: otherwise the order in which siblings end would decide whether a task runs."""
    for outcomes in itertools.product("sfuk", repeat=3):
        for done in range(1, 3):
            if verdict(rule, "".join(outcomes[:done]).ljust(3, "-")) == GO:
                assert verdict(rule, "".join(outcomes)) == GO
