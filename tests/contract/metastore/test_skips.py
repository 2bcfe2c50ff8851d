"""What a branch decides against is skipped with its end, and skipped again when it is cleared."""

from __future__ import annotations

from sqlalchemy import update

from engine.metastore import skips
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.tables import DagRun, TaskInstance
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash, empty


def against(*task_ids: str) -> Outcome:
    return Outcome(Cause.SUCCESS, skip=task_ids)


def branch(stage: Stage, rule: str = "none_failed_min_one_success") -> Stage:
    """A branch, its two sides, and what joins them."""
    join = bash("join", "left", "right", trigger_rule=rule)
    stage.dag("dag", bash("branch"), bash("left", "branch"), bash("right", "branch"), join)
    stage.trigger("dag")
    return stage


def clear(stage: Stage, *task_ids: str) -> list[str]:
    """What a clear does to rows, and then asks of the branches; returns what is skipped again."""
    fresh = {"state": None, "end_date": None, "start_date": None}
    with stage.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).where(TaskInstance.task_id.in_(task_ids)).values(fresh))
        tx.connection.execute(update(DagRun).values(state="running", end_date=None))
        run_pk = stage.run_row().id
        return [row.task_id for row in skips.after_clear(tx, run_pk, task_ids)]


def test_the_other_side_is_skipped_and_the_join_runs(stage: Stage) -> None:
    branch(stage)
    assert stage.play({"branch": against("right")}) == [["branch"], ["left"], ["join"]]
    assert stage.states() == {"branch": "success", "left": "success", "right": "skipped", "join": "success"}
    assert stage.run_row().state == "success"
    assert stage.used() == {}


def test_a_join_that_wants_all_is_skipped_with_one_side(stage: Stage) -> None:
    branch(stage, "all_success")
    stage.play({"branch": against("right")})
    assert stage.states()["join"] == "skipped"
    assert stage.run_row().state == "success"


def test_a_branch_that_follows_nothing_skips_all_that_is_behind_it(stage: Stage) -> None:
    branch(stage)
    stage.play({"branch": against("left", "right")})
    assert stage.states() == {"branch": "success", "left": "skipped", "right": "skipped", "join": "skipped"}
    assert (stage.run_row().state, stage.run_row().unfinished) == ("success", 0)


def test_a_skip_past_trigger_rules_reaches_what_would_have_run(stage: Stage) -> None:
    last = bash("last", "middle", trigger_rule="all_done")
    stage.dag("dag", bash("short"), bash("middle", "short"), last, bash("after", "last"))
    stage.trigger("dag")
    stage.play({"short": against("middle", "last", "after")})
    assert set(stage.states().values()) == {"success", "skipped"}
    assert stage.states()["last"] == "skipped"


def test_a_skip_that_stops_at_the_next_tasks_leaves_the_rest_to_their_rules(stage: Stage) -> None:
    last = bash("last", "middle", trigger_rule="all_done")
    stage.dag("dag", bash("short"), bash("middle", "short"), last)
    stage.trigger("dag")
    stage.play({"short": against("middle")})
    assert stage.states() == {"short": "success", "middle": "skipped", "last": "success"}


def test_only_what_is_behind_the_branch_can_be_skipped(stage: Stage) -> None:
    stage.dag("dag", bash("branch"), bash("behind", "branch"), bash("beside"), empty("unknown_to_it", "beside"))
    stage.trigger("dag")
    stage.play({"branch": against("beside", "unknown_to_it", "branch", "no such task")})
    assert set(stage.states().values()) == {"success"}


def test_a_task_that_began_early_is_not_skipped(stage: Stage) -> None:
    stage.dag("dag", bash("branch"), bash("early", "branch", trigger_rule="always"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["branch"], against("early")))
    stage.finish((tokens["early"], SUCCESS))
    assert stage.states() == {"branch": "success", "early": "success"}


def test_a_branch_that_fails_decides_nothing(stage: Stage) -> None:
    branch(stage)
    stage.play({"branch": Outcome(Cause.EXIT, exit_code=1, skip=("right",))})
    assert stage.states() == {
        "branch": "failed",
        "left": "upstream_failed",
        "right": "upstream_failed",
        "join": "upstream_failed",
    }


def test_two_branches_of_one_batch_decide_each_for_themselves(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"), bash("a1", "a"), bash("a2", "a"), bash("b1", "b"), bash("b2", "b"))
    stage.trigger("dag", "one", "two")
    begun = {(one.run.run_id, one.task_id): one.token for one in stage.claim()}
    stage.start(*begun.values())
    stage.finish(
        (begun["one", "a"], against("a1")),
        (begun["one", "b"], against("b2")),
        (begun["two", "a"], against("a2")),
        (begun["two", "b"], FAILURE),
    )
    ones = {"a": "success", "b": "success", "a1": "skipped", "a2": "scheduled", "b1": "scheduled", "b2": "skipped"}
    assert stage.states("one") == ones
    assert (stage.states("two")["a1"], stage.states("two")["b1"]) == ("scheduled", "upstream_failed")


def test_a_cleared_task_that_a_standing_branch_decided_against_is_skipped_again(stage: Stage) -> None:
    branch(stage)
    stage.play({"branch": against("right")})
    assert clear(stage, "right") == ["right"]
    assert stage.states()["right"] == "skipped"


def test_a_cleared_task_on_the_chosen_side_runs(stage: Stage) -> None:
    branch(stage)
    stage.play({"branch": against("right")})
    assert clear(stage, "left") == []
    assert stage.states()["left"] is None


def test_a_cleared_branch_decides_anew(stage: Stage) -> None:
    branch(stage)
    stage.play({"branch": against("right")})
    assert clear(stage, "branch", "left", "right", "join") == []
    assert {row.skipped_by for row in stage.rows().values()} == {None}


def test_a_decided_task_is_skipped_whatever_else_it_waits_for(stage: Stage) -> None:
    stage.dag("dag", bash("branch"), bash("other"), bash("task", "branch", "other"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["branch"], against("task")))
    assert stage.states()["task"] == "skipped"
    with stage.store.begin() as tx:  # as if somebody had cleared it while the other still ran
        fresh = {"state": None, "end_date": None, "up_success": 1}
        tx.connection.execute(update(TaskInstance).where(TaskInstance.task_id == "task").values(fresh))
        tx.connection.execute(update(DagRun).values(unfinished=2))
    stage.finish((tokens["other"], SUCCESS))
    assert stage.states()["task"] == "skipped"
    assert stage.run_row().state == "success"
