"""How many statements a task costs: counted, not timed."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from engine.metastore.announce import Announcer
from engine.metastore.changes import Claimed, Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.shipments import ShipmentRequests
from engine.metastore.store import Store, Tx
from engine.metastore.transitions import claiming, finishing
from tests.contract.metastore.stage import FAILURE, OWNER, SUCCESS, Stage, bash
from tests.servers.recording import recorded

SLOTS = 32
FAN_OUT = 1000
CHAIN = 20
CHAIN_STATEMENTS = {
    "postgresql": 4,  # held with children and the time; end, attempt, advance and count down; ready; claim
    "mysql": 8,  # each of them on its own
    "sqlite": 9,  # and BEGIN
}


_IN_ONE = re.compile(r"INSERT INTO (\w+) .*?json_to_recordset", re.DOTALL)


def turn(stage: Stage, ended: list[Claimed], slots: int) -> list[Claimed]:
    """What a scheduler's turn writes: ends, and what is started in their place."""

    def work(tx: Tx) -> list[Claimed]:
        reports = [Finished(one.token, SUCCESS, "host") for one in ended]
        finishing.finish(tx, stage.graphs, stage.runs, reports, ended)
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
    assert max(counts[:-1]) <= CHAIN_STATEMENTS[stage.store.dialect.name], counts
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


@pytest.mark.postgresql
def test_on_postgresql_the_rows_of_a_batch_go_in_one_statement(postgresql_url: str) -> None:
    stage = Stage(Store(postgresql_url))
    ledger = Ledger(Announcer("http://windsock"), ShipmentRequests("here"))
    stage.dag("dag", *(bash(f"t{number}", sla_seconds=60.0) for number in range(3)), dagrun_timeout_seconds=3600.0)
    with recorded(stage.store) as sent:
        stage.trigger("dag")
        tokens = stage.begin()
        outcomes = (SUCCESS, FAILURE, Outcome(Cause.RESCHEDULE, resume_seconds=60.0))
        ends = [Finished(token, outcome, "host") for token, outcome in zip(tokens.values(), outcomes, strict=True)]
        stage.store.run(lambda tx: ledger.finish(tx, ends))
        stage.clear("t2")
    inserts = Counter(table for one in sent for table in _IN_ONE.findall(one.sql))
    assert inserts == {"task_instance": 1, "sla_deadline": 1, "task_attempt": 2, "log_shipment": 1}
    stage.store.close()
