"""What a supervisor without a scheduler writes itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError

from engine.executors.supervise import MetastoreSurvivor
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.tables import TaskInstance
from engine.running.messages import Ended
from tests.integration.scheduling.engine_home import Home
from tests.servers.processes import wait_until


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    yield made
    made.close()


def test_an_end_that_the_database_refuses_fails_its_attempt_and_no_other(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add("d", "for n in 'ab': BashOperator(task_id=n, bash_command='sleep 1000; true')")
    home.scheduler()
    home.trigger("d")
    wait_until(lambda: home.running("d") == 2, "the tasks")
    with home.store.read() as connection:
        rows = connection.execute(select(TaskInstance.task_id, TaskInstance.token, TaskInstance.owner)).all()
    tokens = {row.task_id: row.token for row in rows}
    finish = Ledger.finish

    def refuse(self: Ledger, tx: Any, reports: Any) -> Any:
        if any(report.outcome.xcom for report in reports):
            raise DataError("INSERT", {}, Exception("it does not fit"))
        return finish(self, tx, reports)

    monkeypatch.setattr(Ledger, "finish", refuse)
    survivor = MetastoreSurvivor(home.settings, rows[0].owner)
    refused = Ended(tokens["a"], Outcome(Cause.SUCCESS, xcom={"return_value": "1"}))
    survivor.report([refused, Ended(tokens["b"], Outcome(Cause.SUCCESS))])
    assert home.states("d") == {"a": "failed", "b": "success"}
    assert home.last("d", "a").cause == "exception"
    assert home.last("d", "a").error.startswith("its result could not be stored: (builtins.Exception) it does not fit")
    survivor.leave()
