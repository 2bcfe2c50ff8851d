"""How the end of a task moves those behind it, and in the end the run."""

from __future__ import annotations

import pytest

from engine.metastore.states import RunState
from tests.contract.metastore.stage import FAILURE, SKIP, SUCCESS, Stage, bash, empty

WIDE = 300


def started(stage: Stage, *tasks, **more) -> Stage:
    stage.dag("dag", *tasks, max_active_tasks=1000, **more)
    stage.set_slots("pool", "default_pool", 1000)
    stage.trigger("dag")
    return stage


def test_a_chain_runs_in_order(stage: Stage) -> None:
    started(stage, bash("a"), bash("b", "a"), bash("c", "b"))
    assert stage.play() == [["a"], ["b"], ["c"]]
    assert stage.run_row().state == "success"


def test_a_diamond_waits_for_both_sides(stage: Stage) -> None:
    started(stage, bash("top"), bash("left", "top"), bash("right", "top"), bash("bottom", "left", "right"))
    assert stage.play() == [["top"], ["left", "right"], ["bottom"]]


def test_sides_that_end_apart_both_count(stage: Stage) -> None:
    started(stage, bash("left"), bash("right"), bash("bottom", "left", "right"))
    tokens = stage.begin()
    assert stage.finish((tokens["left"], SUCCESS)).scheduled == 0
    assert stage.finish((tokens["right"], SUCCESS)).scheduled == 1
    assert stage.states()["bottom"] == "scheduled"


def test_one_task_fans_out_to_many(stage: Stage) -> None:
    started(stage, bash("top"), *(bash(f"t{i}", "top") for i in range(WIDE)))
    assert [len(one) for one in stage.play()] == [1, WIDE]
    assert stage.run_row().state == "success"
    assert stage.used() == {}


def test_many_tasks_fan_in_to_one(stage: Stage) -> None:
    names = [f"t{i}" for i in range(WIDE)]
    started(stage, *(bash(name) for name in names), bash("bottom", *names))
    tokens = stage.begin()
    first, rest = names[0], names[1:]
    assert stage.finish((tokens[first], SUCCESS)).scheduled == 0
    assert stage.finish(*((tokens[name], SUCCESS) for name in rest)).scheduled == 1
    assert stage.rows()["bottom"].up_success == WIDE
    assert stage.play() == [["bottom"]]
    assert stage.run_row().state == "success"


RULES = [
    # rule, how two upstream tasks end, what becomes of the task
    ("all_success", (SUCCESS, SUCCESS), "success"),
    ("all_success", (SUCCESS, FAILURE), "upstream_failed"),
    ("all_success", (SUCCESS, SKIP), "skipped"),
    ("all_failed", (FAILURE, FAILURE), "success"),
    ("all_failed", (FAILURE, SUCCESS), "skipped"),
    ("all_done", (FAILURE, SKIP), "success"),
    ("all_skipped", (SKIP, SKIP), "success"),
    ("all_skipped", (SKIP, SUCCESS), "skipped"),
    ("one_success", (FAILURE, SUCCESS), "success"),
    ("one_success", (FAILURE, SKIP), "upstream_failed"),
    ("one_success", (SKIP, SKIP), "skipped"),
    ("one_failed", (SUCCESS, FAILURE), "success"),
    ("one_failed", (SUCCESS, SKIP), "skipped"),
    ("one_done", (SKIP, FAILURE), "success"),
    ("one_done", (SKIP, SKIP), "skipped"),
    ("none_failed", (SUCCESS, SKIP), "success"),
    ("none_failed", (SKIP, FAILURE), "upstream_failed"),
    ("none_skipped", (SUCCESS, FAILURE), "success"),
    ("none_skipped", (SUCCESS, SKIP), "skipped"),
    ("none_failed_min_one_success", (SUCCESS, SKIP), "success"),
    ("none_failed_min_one_success", (SKIP, SKIP), "skipped"),
    ("none_failed_min_one_success", (SUCCESS, FAILURE), "upstream_failed"),
    ("always", (FAILURE, FAILURE), "success"),
]


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
def test_each_rule_comes_to_the_same_whether_its_upstream_ends_together_or_apart(stage: Stage, together: bool) -> None:
    for number, (rule, _, _) in enumerate(RULES):
        stage.dag(f"dag-{number}", bash("a"), bash("b"), bash("task", "a", "b", trigger_rule=rule))
        stage.trigger(f"dag-{number}", f"run-{number}")
    ends: dict[str, list] = {"a": [], "b": []}
    for claimed in stage.claim():
        stage.start(claimed.token)
        number = int(claimed.run.run_id.removeprefix("run-"))
        end = dict(zip("ab", RULES[number][1], strict=True)).get(claimed.task_id, SUCCESS)
        ends.setdefault(claimed.task_id, []).append((claimed.token, end))
    if together:
        stage.finish(*(end for some in ends.values() for end in some))
    else:
        for some in ends.values():
            stage.finish(*some)
    stage.play()
    told = [(rule, outcomes, stage.states(f"run-{n}")["task"]) for n, (rule, outcomes, _) in enumerate(RULES)]
    assert told == RULES
    assert stage.used() == {}


def test_a_task_that_is_always_ready_waits_for_nothing(stage: Stage) -> None:
    started(stage, bash("a"), bash("task", "a", trigger_rule="always"), bash("after", "task"))
    assert stage.states() == {"a": "scheduled", "task": "scheduled", "after": None}
    assert stage.play() == [["a", "task"], ["after"]]
    assert stage.run_row().state == "success"


def test_a_task_that_went_early_is_not_moved_by_what_ends_later(stage: Stage) -> None:
    started(stage, bash("a"), bash("b"), bash("task", "a", "b", trigger_rule="one_failed"))
    tokens = stage.begin()
    stage.finish((tokens["a"], FAILURE))
    (claimed,) = stage.claim()
    assert stage.finish((tokens["b"], SUCCESS)).scheduled == 0
    assert stage.rows()["task"].token == claimed.token


def test_a_failure_blocks_everything_behind_it_in_one_transaction(stage: Stage) -> None:
    length = 30
    tail = [bash(f"t{i}", f"t{i - 1}" if i else "first") for i in range(length)]
    started(stage, bash("first"), *tail)
    token = stage.begin()["first"]
    changes = stage.finish((token, FAILURE))
    assert [change.state for change in changes.tasks] == ["failed"] + ["upstream_failed"] * length
    assert [change.state for change in changes.runs] == [RunState.FAILED]
    assert changes.runs[0].failed_tasks == ("first",)
    run = stage.run_row()
    assert (run.state, run.unfinished) == ("failed", 0)
    assert stage.used() == {}


def test_a_skip_runs_down_the_line_until_a_rule_stops_it(stage: Stage) -> None:
    started(
        stage,
        bash("first"),
        bash("second", "first"),
        bash("third", "second"),
        bash("last", "third", trigger_rule="none_failed"),
    )
    stage.play({"first": SKIP})
    assert stage.states() == {"first": "skipped", "second": "skipped", "third": "skipped", "last": "success"}
    assert stage.run_row().state == "success"


def test_an_untouched_branch_goes_on_beside_a_failed_one(stage: Stage) -> None:
    started(stage, bash("bad"), bash("behind", "bad"), bash("good"), bash("next", "good"))
    stage.play({"bad": FAILURE})
    assert stage.states() == {"bad": "failed", "behind": "upstream_failed", "good": "success", "next": "success"}
    assert stage.run_row().state == "failed"


def test_a_run_succeeds_when_its_leaves_do_though_a_task_before_them_failed(stage: Stage) -> None:
    started(stage, bash("bad"), bash("cleanup", "bad", trigger_rule="all_done"))
    stage.play({"bad": FAILURE})
    assert stage.run_row().state == "success"


def test_a_run_with_only_skipped_leaves_succeeds(stage: Stage) -> None:
    started(stage, bash("a"), bash("b", "a"))
    stage.play({"a": SKIP})
    assert stage.run_row().state == "success"


def test_tasks_of_the_same_name_in_other_runs_are_left_alone(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"), bash("x"), bash("y", "x"))
    stage.trigger("dag", "one", "two")
    tokens = {(one.run.run_id, one.task_id): one.token for one in stage.claim()}
    stage.start(*tokens.values())
    stage.finish((tokens["one", "a"], SUCCESS), (tokens["two", "x"], SUCCESS))
    assert stage.states("one") == {"a": "success", "b": "scheduled", "x": "running", "y": None}
    assert stage.states("two") == {"a": "running", "b": None, "x": "success", "y": "scheduled"}


def test_empty_tasks_need_no_process_and_no_slot(stage: Stage) -> None:
    stage.set_slots("pool", "default_pool", 0)
    stage.dag("dag", empty("a"), bash("b", "a"), empty("c", "a"))
    changes = stage.trigger("dag")
    assert [(change.task_id, change.state) for change in changes.tasks] == [("a", "success"), ("c", "success")]
    assert changes.scheduled == 1
    assert stage.states() == {"a": "success", "b": "scheduled", "c": "success"}
    for change in changes.tasks:
        row = stage.rows()[change.task_id]
        assert (row.try_number, row.token, row.owner) == (1, None, None) == (change.try_number, None, None)
        assert row.scheduled_at == row.start_date == row.end_date == change.start_date == change.end_date
    assert stage.attempts() == []
    assert stage.run_row().unfinished == 1


def test_a_chain_of_empty_tasks_settles_in_one_transaction(stage: Stage) -> None:
    length = 40
    chain = [empty(f"t{i}", f"t{i - 1}" if i else "first") for i in range(length)]
    started(stage, bash("first"), *chain, bash("last", f"t{length - 1}"))
    changes = stage.finish((stage.begin()["first"], SUCCESS))
    assert [change.state for change in changes.tasks] == ["success"] * (length + 1)
    assert stage.play() == [["last"]]
    assert stage.run_row().state == "success"


def test_a_run_of_empty_tasks_ends_as_it_starts(stage: Stage) -> None:
    stage.dag("dag", empty("a"), empty("b", "a"), empty("c", "a"), empty("d", "b", "c"))
    changes = stage.trigger("dag", "one", "two")
    assert len(changes.tasks) == 8
    assert [(change.run.run_id, change.state) for change in changes.runs] == [
        ("one", "running"), ("two", "running"), ("one", "success"), ("two", "success"),
    ]  # fmt: skip
    assert stage.used() == {}


def test_an_empty_task_behind_a_failure_is_blocked_like_any_other(stage: Stage) -> None:
    started(stage, bash("a"), empty("b", "a"))
    stage.play({"a": FAILURE})
    assert stage.states() == {"a": "failed", "b": "upstream_failed"}


def test_a_wide_and_deep_graph_of_every_outcome_ends_with_counters_that_add_up(stage: Stage) -> None:
    layers, width = 6, 8
    tasks = [bash(f"0-{i}") for i in range(width)]
    rules = ["all_success", "all_done", "none_failed", "one_success"]
    for layer in range(1, layers):
        for i in range(width):
            upstream = [f"{layer - 1}-{(i + step) % width}" for step in range(3)]
            tasks.append(bash(f"{layer}-{i}", *upstream, trigger_rule=rules[(layer + i) % 4]))
    started(stage, *tasks)
    ends = [SUCCESS, SUCCESS, SKIP, SUCCESS, FAILURE]
    stage.play(lambda one: ends[sum(map(ord, one.task_id)) % 5])
    rows = stage.rows()
    for task in tasks:
        row = rows[task.task_id]
        states = [rows[name].state for name in task.upstream]
        assert row.state in {"success", "failed", "skipped", "upstream_failed"}
        if row.up_success + row.up_failed + row.up_blocked + row.up_skipped == row.up_total:
            counted = (row.up_success, row.up_failed, row.up_blocked, row.up_skipped)
            assert counted == tuple(map(states.count, ("success", "failed", "upstream_failed", "skipped")))
    assert stage.run_row().unfinished == 0
    assert stage.used() == {}
