"""A scheduler whose changes are told, and what was told, on a stage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from alerting.events import AlertEvent, decode
from alerting.tables import alert_event
from engine.metastore.announce import Announcer
from engine.metastore.changes import Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Outcome
from engine.metastore.states import TaskState
from engine.metastore.store import Store
from tests.contract.metastore.stage import OWNER, Stage


class Telling:
    """The verbs of a stage, announced as the scheduler does."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ledger = Ledger(Announcer("http://windsock"))

    def run(self, work: Any) -> Any:
        def anew(tx: Any) -> Any:
            self.ledger.begin()
            return work(tx)

        self.ledger.runs.expire()
        changes = self.stage.store.run(anew)
        self.ledger.runs.commit()
        return changes

    def trigger(self, dag_id: str, run_id: str = "run", **values: Any) -> None:
        assert self.stage.create(dag_id, run_id, **values)
        self.run(lambda tx: self.ledger.start_runs(tx, 100))

    def attempt(self, **outcomes: Outcome) -> None:
        """Let one attempt of each of these tasks end so; of all runs that have them ready."""
        claimed, _ = self.run(lambda tx: self.ledger.claim(tx, OWNER, 100, starting=True))
        ends = [Finished(one.token, outcomes[one.task_id], "host") for one in claimed if one.task_id in outcomes]
        self.run(lambda tx: self.ledger.finish(tx, ends))

    def promote(self) -> None:
        assert self.stage.promote() == 1

    def clear(self, *task_ids: str, run_id: str = "run") -> None:
        ids = [row.id for task_id, row in self.stage.rows(run_id).items() if task_id in task_ids]
        self.run(lambda tx: self.ledger.clear(tx, ids))
        self.run(lambda tx: self.ledger.start_runs(tx, 100))

    def mark(self, state: TaskState, *task_ids: str, run_id: str = "run") -> None:
        ids = {row.id for task_id, row in self.stage.rows(run_id).items() if task_id in task_ids}
        self.run(lambda tx: self.ledger.mark(tx, ids, state))

    def kinds(self) -> list[str]:
        return [event.kind.value for event in told(self.stage.store)]

    def last(self) -> AlertEvent:
        return told(self.stage.store)[-1]


def told(store: Store) -> Sequence[AlertEvent]:
    """Every event that was recorded, in order."""
    with store.read() as connection:
        payloads = connection.execute(select(alert_event.c.payload).order_by(alert_event.c.id)).scalars().all()
    events = [decode(payload) for payload in payloads]
    return [event for event in events if event is not None]


def moments(store: Store) -> list[datetime]:
    return [event.occurred_at for event in told(store)]
