"""A metastore whose clock tests turn, and what was promised and told in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from alerting.events import AlertEvent, decode
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine.metastore import sla
from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes
from engine.metastore.ledger import Ledger
from engine.metastore.sla_missed import GRACE
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Base, CallbackRequest, DagSchedule
from tests.contract.metastore.stage import Stage

BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)


class TurnedStore(Store):
    """The clock of its transactions stands until a test turns it."""

    clock = BEGIN

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        with super().begin() as tx:
            tx.hear(self.clock, time.monotonic())
            yield tx


class Turned(Stage):
    """A stage on a turned clock."""

    store: TurnedStore

    def __init__(self, store: Store) -> None:
        super().__init__(TurnedStore(store.url.render_as_string(hide_password=False), pool_size=3))

    def beside(self) -> Turned:
        other = Turned(self.store)
        other.store.clock = self.store.clock
        return other

    def turn(self, **by: float) -> None:
        """Turn the clock forward."""
        self.store.clock += timedelta(**by)

    @property
    def now(self) -> datetime:
        return self.store.clock

    def scheduled(self, dag_id: str, run_id: str = "run", **values: Any) -> bool:
        """Queue a scheduled run whose interval has just ended."""
        return self.create(dag_id, run_id, **{"run_type": "scheduled", "data_interval_end": self.now} | values)

    def clear(self, *task_ids: str, run_id: str = "run") -> Changes:
        """Clear tasks of a run, as people do: what is to be told of it is told."""
        ids = [row.id for task_id, row in self.rows(run_id).items() if task_id in task_ids]
        ledger = Ledger(Announcer("http://windsock"))
        return self.store.run(lambda tx: ledger.clear(tx, ids))

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        change = update(DagSchedule).where(DagSchedule.dag_id == dag_id).values(is_paused=paused)
        self.store.run(lambda tx: tx.connection.execute(change))

    def tell(self, limit: int = 1000) -> int:
        """What a scheduler does when a deadline is due; returns how many were."""
        ledger = Ledger(Announcer("http://windsock"))
        return self.store.run(lambda tx: ledger.tell_missed(tx, limit))[0]

    def tell_at(self, moment: datetime) -> int:
        """The same at the moment at which the scheduler's timer for a deadline at `moment` goes off."""
        self.store.clock = moment + GRACE
        return self.tell()

    def promised(self, run_id: str = "run") -> dict[str, Any]:
        """The deadlines of a run, by task; those of ``deadline=`` by their number."""
        run_pk = self.run_row(run_id).id
        with self.store.read() as connection:
            return {row.task_id or str(row.position): row for row in sla.deadlines_of_run(connection, run_pk)}

    def states_promised(self, run_id: str = "run") -> dict[str, str]:
        return {name: row.state for name, row in self.promised(run_id).items()}

    def events(self) -> list[AlertEvent]:
        """The misses that were told, in order."""
        statement = select(alert_event.c.payload).where(alert_event.c.kind == EventKind.SLA_MISSED)
        with self.store.read() as connection:
            payloads = connection.execute(statement.order_by(alert_event.c.id)).scalars().all()
        return [event for event in map(decode, payloads) if event]

    def callbacks(self) -> list[Any]:
        table = Base.metadata.tables[CallbackRequest.__tablename__]
        with self.store.read() as connection:
            return list(connection.execute(select(table).order_by(table.c.id)))
