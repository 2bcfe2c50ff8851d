"""How many statements a task costs: counted, not timed."""

from __future__ import annotations

from engine.metastore.changes import Claimed, Finished
from engine.metastore.store import Tx
from engine.metastore.transitions import claiming, finishing
from tests.contract.metastore.stage import OWNER, SUCCESS, Stage, bash
from tests.servers.recording import recorded

SLOTS = 32
FAN_OUT = 1000
CHAIN = 20
# BEGIN or the clock; held, end, attempt, children, advance, count down (and look, where UPDATE returns nothing);
# ready, budgets, claim.
CHAIN_STATEMENTS = 11


def turn(stage: Stage, ended: list[Claimed], slots: int) -> list[Claimed]:
    """What a scheduler's turn writes: ends, and what is started in their place."""

    def work(tx: Tx) -> list[Claimed]:
        reports = [Finished(one.token, SUCCESS, "host") for one in ended]
        finishing.finish(tx, stage.graphs, stage.runs, reports)
        return claiming.claim(tx, stage.graphs, stage.runs, OWNER, slots, starting=True)[0]

    claimed = stage.store.run(work)
    stage.runs.commit()
    return claimed


def test_a_task_of_a_fan_out_costs_four_statements_at_most(stage: Stage) -> None:
    """Even if never more than four ends arrive together, as when a machine makes a few processes at a time."""
    stage.dag("dag", *(bash(f"t{number}") for number in range(FAN_OUT)), max_active_tasks=FAN_OUT)
    with recorded(stage.store) as sent:
        stage.trigger("dag")
        running = turn(stage, [], SLOTS)
        while running:
            ended, going_on = running[:4], running[4:]
            running = going_on + turn(stage, ended, SLOTS - len(going_on))
    assert stage.run_row().state == "success"
    assert len(stage.attempts()) == FAN_OUT
    assert len(sent) / FAN_OUT <= 4


def test_a_link_of_a_chain_costs_one_short_transaction(stage: Stage) -> None:
    links = [bash("t0"), *(bash(f"t{number}", f"t{number - 1}") for number in range(1, CHAIN))]
    stage.dag("dag", *links)
    stage.trigger("dag")
    running = turn(stage, [], SLOTS)
    counts = []
    while running:
        with recorded(stage.store) as sent:
            running = turn(stage, running, SLOTS)
        counts.append(len(sent))
    assert len(counts) == CHAIN
    assert max(counts[:-1]) <= CHAIN_STATEMENTS, counts
    assert stage.run_row().state == "success"


def test_budgets_of_tasks_that_replace_one_another_are_not_written(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"))
    stage.trigger("dag")
    running = turn(stage, [], SLOTS)
    with recorded(stage.store) as sent:
        running = turn(stage, running, SLOTS)
    assert [one.task_id for one in running] == ["b"]
    assert not [one for one in sent if one.verb == "UPDATE" and "budget" in one.sql]
    assert stage.used()["dag_tasks", "dag"] == 1
