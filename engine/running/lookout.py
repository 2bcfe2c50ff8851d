"""What no transition shows, looked for by one notifier for all: silent components, what is late or will be.

It is the notifier's work because a dead scheduler is to be told although no scheduler lives. A dead notifier is told by
another notifier; where there is none, nobody can tell, and only a dead-man's switch outside of Windsock shows it.

1. The notifier that has the lease ``lookout`` (:mod:`engine.metastore.leases`) looks; the others see that it does.
2. A look reads, and writes in one short transaction if there is something to tell. What it tells has a key of stored
   facts, or a row that stands for the trouble, so two that look at the same time, as after a lease that ran out, tell
   nothing twice.
3. Each look is tried by itself: one that fails is logged, and costs no other.
4. Heartbeats are judged by who has been there to see them. After a start, and after a time without an answer of the
   metastore, because it was away or this machine slept, none is judged for as long as they may be old: whatever kept
   this process from the metastore kept the others from it too. Nor is any while this process's own one is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from engine.config import Settings
from engine.metastore import components
from engine.metastore.errors import MetastoreError
from engine.metastore.graphs import Graphs
from engine.metastore.lateness import LateDags, OverdueRuns
from engine.metastore.leases import LOOKOUT, Leadership
from engine.metastore.sla_risk import RiskLookout
from engine.metastore.store import Store

log = logging.getLogger(__name__)

_COMPONENT_SECONDS: Final = 10.0
_LATE_SECONDS: Final = 10.0
_OVERDUE_SECONDS: Final = 30.0
_RISK_SECONDS: Final = 30.0
_AWAY: Final = 2 / 3
"""Part of ``component_down_after`` for which the metastore may be silent: twice the pace at least, and less than a
heartbeat that was written just before may be old."""


class _Look:
    """One thing that is looked for, at its own pace; ``work`` returns how many events are new."""

    def __init__(self, what: str, seconds: float, work: Callable[[], int]) -> None:
        self.what = what  # in words
        self.seconds = seconds
        self.work = work
        self.due = 0.0  # monotonic


class Lookout:
    """The looks that the settings ask for. `me` is the notifier's process id in the metastore."""

    def __init__(self, settings: Settings, store: Store, me: str) -> None:
        self.leadership = Leadership(me, LOOKOUT)
        self._store = store
        self._graphs = Graphs()
        self._late_dags = LateDags()
        self._overdue_runs = OverdueRuns()
        self._risks = RiskLookout(settings.alerting.sla_at_risk_confidence, settings.webserver.url)
        self._alerting = settings.alerting
        self._url = settings.webserver.url
        self._judge_from = time.monotonic() + settings.alerting.component_down_after
        self._looks = self._wanted()

    def _wanted(self) -> list[_Look]:
        alerting = self._alerting
        pace = min(_COMPONENT_SECONDS, alerting.component_down_after / 3)
        looks = [
            (alerting.component_down_after, _Look("silent components", pace, self._components)),
            (alerting.dag_late_after, _Look("late runs", _LATE_SECONDS, self._late)),
            (alerting.run_overdue_factor, _Look("overdue runs", _OVERDUE_SECONDS, self._overdue)),
            (alerting.sla_at_risk_confidence, _Look("SLAs at risk", _RISK_SECONDS, self._at_risk)),
        ]
        return [look for is_wanted, look in looks if is_wanted]

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(self._turn()):
            pass

    def _turn(self) -> float:
        """Look at what is due; returns for how many seconds to wait."""
        now = time.monotonic()
        due = [look for look in self._looks if look.due <= now]
        if due:
            self._look(due)
        return min((max(0.1, look.due - time.monotonic()) for look in self._looks), default=3600.0)

    def _look(self, due: list[_Look]) -> None:
        if self._tried("who looks", self._seek):
            for look in due:
                if self._tried(look.what, look.work):
                    self._store.wake("notifier")
        for look in due:
            look.due = time.monotonic() + look.seconds

    def _tried(self, what: str, work: Callable[[], int]) -> int:
        """What `work` returns; 0 where it fails, which costs nothing else and is tried again at the next turn."""
        try:
            return work()
        except (MetastoreError, SQLAlchemyError) as error:  # the metastore's trouble, which the heartbeat tells too
            log.warning("looking for %s was left out: %s", what, str(error).partition("\n")[0])
        except Exception:
            log.exception("looking for %s was left out; please report this with the lines below", what)
        return 0

    def _seek(self) -> int:
        """The term in which this process looks; 0 where another one does."""
        before = self.leadership.asked_at
        term = self.leadership.seek(self._store)
        now = self.leadership.asked_at
        if before and now and (now - before).total_seconds() > self._alerting.component_down_after * _AWAY:
            self._judge_from = time.monotonic() + self._alerting.component_down_after
        return term or 0

    def _components(self) -> int:
        if time.monotonic() < self._judge_from:
            return 0
        down_after = timedelta(seconds=self._alerting.component_down_after)
        return self._store.run(lambda tx: components.look(tx, down_after, self.leadership.me))

    def _late(self) -> int:
        late_after = timedelta(seconds=self._alerting.dag_late_after)
        return self._late_dags.look(self._store, self._graphs, late_after, self._url)

    def _overdue(self) -> int:
        alerting = self._alerting
        least = timedelta(seconds=alerting.run_overdue_least)
        return self._overdue_runs.look(self._store, self._graphs, alerting.run_overdue_factor, least, self._url)

    def _at_risk(self) -> int:
        return self._risks.look(self._store, self._graphs)
