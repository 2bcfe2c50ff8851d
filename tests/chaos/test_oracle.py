"""The oracle finds what it is there to find: facts that are right in every way, spoilt in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice

import pytest

from tests.chaos.oracle import Ended, Facts, Key, judge
from tests.chaos.plan import Victim, kills
from tests.chaos.work import DAGS

RUN = ("graph", "r000000")
_STATES = {"blocked": "upstream_failed", "blocked_too": "upstream_failed", "skipper": "skipped", "skipped": "skipped"}


def well() -> Facts:
    """One run of ``graph`` in which nobody was killed."""
    facts = Facts([], runs={RUN: "failed"})
    states: dict[str, str | None] = {}
    moment = 0
    for task_id, spec in DAGS["graph"].tasks.items():
        states[task_id] = "failed" if task_id == "broken" else _STATES.get(task_id, "success")
        if states[task_id] == "upstream_failed" or task_id == "skipped":
            continue
        number = 0
        while True:
            number += 1
            code = spec.exit_of(number)
            moment += 2
            key = Key(*RUN, task_id, number)
            facts.told += [f"B {' '.join(map(str, key))} {moment}.0", f"E {' '.join(map(str, key))} {moment + 1}.0"]
            again = code == 1 and number <= spec.retries
            state = {0: "success", 99: "skipped"}.get(code, "up_for_retry" if again else "failed")
            facts.attempts[key] = Ended(state, {0: "success", 99: "skip"}.get(code, "exit"))
            if code == 1:
                facts.events["task_retry" if again else "task_failed", *key] += 1
            elif code == 0 and number > 1:
                facts.events["task_recovered", *key] += 1
            if not again:
                break
    facts.states[RUN] = states
    facts.events["run_failed", *RUN, None, None] += 1
    return facts


def test_what_is_well_is_found_well() -> None:
    assert judge(well(), [RUN]) == []


def key(task_id: str, number: int = 1) -> Key:
    return Key(*RUN, task_id, number)


def spoil_twice(facts: Facts) -> None:
    facts.told.append(facts.told[0])


def spoil_unknown(facts: Facts) -> None:
    facts.told.append("B graph r000000 quick1 7 1.0")


def spoil_never_ran(facts: Facts) -> None:
    del facts.told[1]


def spoil_state(facts: Facts) -> None:
    facts.states[RUN]["joined"] = "skipped"


def spoil_run(facts: Facts) -> None:
    facts.runs[RUN] = "success"


def spoil_gone(facts: Facts) -> None:
    del facts.runs[RUN]


def spoil_task_gone(facts: Facts) -> None:
    del facts.states[RUN]["last"]


def spoil_event(facts: Facts) -> None:
    facts.events["task_failed", *key("broken", 2)] = 2


def spoil_no_event(facts: Facts) -> None:
    facts.events = Counter({event: n for event, n in facts.events.items() if event[0] != "run_failed"})


def spoil_ending(facts: Facts) -> None:
    facts.attempts[key("flaky")] = Ended("failed", "exit")


def spoil_retry(facts: Facts) -> None:
    facts.attempts[key("quick1", 2)] = Ended("success", "success")


def spoil_use(facts: Facts) -> None:
    facts.used["pool narrow"] = 1


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_twice, "graph r000000 start attempt 1 ran 2 times"),
        (spoil_unknown, "graph r000000 quick1 attempt 7 ran and is not in the metastore"),
        (spoil_never_ran, "graph r000000 start attempt 1 is recorded as success and did not run from beginning to end"),
        (spoil_state, "graph r000000 joined is skipped and should be success"),
        (spoil_run, "run graph r000000 is success; its tasks imply otherwise"),
        (spoil_gone, "run graph r000000 is gone"),
        (spoil_task_gone, "graph r000000 last is gone"),
        (spoil_event, "task_failed graph r000000 broken 2 was told 2 times instead of 1"),
        (spoil_no_event, "run_failed graph r000000 None None was told 0 times instead of 1"),
        (spoil_ending, "graph r000000 flaky: attempt 1 ended as exit, failed and should as exit, up_for_retry"),
        (spoil_retry, "graph r000000 quick1 attempt 2 is recorded as success and did not run from beginning to end"),
        (spoil_use, "budget pool narrow still has 1 in use"),
    ],
)
def test_one_fault_is_found(spoil: Callable[[Facts], None], sentence: str) -> None:
    facts = well()
    spoil(facts)
    assert sentence in judge(facts, [RUN])


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"r2": 1}, []),
        ({"r1": 1}, ["run_recovered single r1 was told 1 times, of what had not failed"]),
        ({"r2": 2}, ["run_recovered single r2 was told 2 times, of what had not failed"]),
        ({"r2": 1, "r3": 1}, ["run_recovered single r3 was told 1 times, of what had not failed"]),
    ],
)
def test_a_dag_recovers_at_most_as_often_as_it_has_failed(told: dict[str, int], wrong: list[str]) -> None:
    runs = {("single", "r1"): "failed", ("single", "r2"): "success", ("single", "r3"): "success"}
    facts = Facts([], runs=runs)
    facts.events.update({("run_recovered", "single", run_id, None, None): n for run_id, n in told.items()})
    assert [sentence for sentence in judge(facts, runs) if "run_recovered" in sentence] == wrong


def test_attempts_that_overlap_beyond_a_limit_are_found() -> None:
    facts = Facts([])
    for number in range(4):
        facts.told.append(f"B single r{number:06} only3 1 {number}.0")
        facts.told.append(f"E single r{number:06} only3 1 {10 + number}.0")
    assert "only3 of single: 4 at once by the attempts' own clocks, of 3" in judge(facts, [])


def test_a_seed_decides_whom_to_kill_and_when() -> None:
    first, again, other = (list(islice(kills(seed, 3), 200)) for seed in (7, 7, 8))
    assert first == again != other
    assert {kill.victim for kill in first} == set(Victim)
