"""A month of runs, replayed with a turned clock: what the engine tells as missed is what the oracle says, and no more.

Late runs, runs that never start, retries, clears, pauses, a backfill, runs by hand, runs that overlap, hours without
a scheduler, and the night on which the clocks go forward.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from engine.authoring.serialized import CronSchedule, NoSchedule
from engine.metastore import backfills, deadlines, pausing
from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes, Claimed, Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.sla_missed import GRACE
from engine.metastore.states import FINAL_RUN_STATES, RunState, TaskState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import DagRun, TaskInstance
from engine.metastore.transitions import creating, promoting
from engine.scheduling import due
from tests.contract.metastore.sla_oracle import Happened, Miss, Promised, What, misses
from tests.contract.metastore.stage import FAILURE, OWNER, SKIP, SUCCESS, bash
from tests.contract.metastore.turned import Turned
from tests.servers.databases import DatabaseServer

FIRST, LAST = datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 4, 7, tzinfo=UTC)  # clocks go forward on 29 March
ENDED = Outcome(Cause.ENDED)
PROMISES = {
    "nightly": Promised({"extract": 2400.0, "load": 7200.0, "": 10_800.0}, (2, 30)),
    "hourly": Promised({"push": 3000.0}),
    "strict": Promised({"check": 1800.0, "publish": 3600.0, "": 5400.0}, (6, 0), cancels=True),
    "by_hand": Promised({"t": 1200.0}, has_schedule=False),
    "forked": Promised({"behind": 5400.0}, (4, 0)),
}


class Month:
    """A discrete simulation: each action has its moment, and after each one the scheduler takes its turn."""

    def __init__(self, stage: Turned, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.ledger = Ledger(Announcer("http://windsock"))
        self.happened: list[Happened] = []
        self.actions: list[tuple[datetime, int, Callable[[], None]]] = []
        self.numbers = count()
        self.known_runs: set[int] = set()
        self.ended_runs: set[tuple[str, str]] = set()
        self.outages: list[tuple[datetime, datetime]] = []
        self.waking: set[datetime] = set()

    # -- the world

    def set_up(self) -> None:
        stage = self.stage
        stage.store.clock = FIRST
        daily = {"start_date": FIRST - timedelta(days=20)}
        extract, transform = (
            bash("extract", sla_seconds=2400.0, retries=2, retry_delay_seconds=300.0),
            bash("transform", "extract", retries=1, retry_delay_seconds=60.0),
        )
        nightly = (extract, transform, bash("load", "transform", sla_seconds=7200.0))
        zurich = "Europe/Zurich"
        stage.dag("nightly", *nightly, schedule=CronSchedule("30 2 * * *", zurich), sla_seconds=10_800.0, **daily)
        hourly = (bash("pull"), bash("push", "pull", sla_seconds=3000.0))
        begin = {"start_date": FIRST, "catchup": True, "max_active_runs": 2}
        stage.dag("hourly", *hourly, schedule=CronSchedule("0 * * * *", zurich), **begin)
        strict = (bash("check", sla_seconds=1800.0), bash("publish", "check", sla_seconds=3600.0))
        policy: dict[str, Any] = {"sla_seconds": 5400.0, "sla_after_failure": "cancel"}
        stage.dag("strict", *strict, schedule=CronSchedule("0 6 * * *", zurich), **policy, **daily)
        stage.dag("by_hand", bash("t", sla_seconds=1200.0), schedule=NoSchedule())
        forked = (bash("left"), bash("right"), bash("behind", "right", sla_seconds=5400.0))
        stage.dag("forked", *forked, schedule=CronSchedule("0 4 * * *", zurich), **daily)
        stage.set_slots("pool", "default_pool", 4)

    def plan(self) -> None:
        """What people do in this month, and when nothing schedules."""
        days = iter(self.random.sample(range(1, 28), 12))
        for dag_id in ("nightly", "hourly", "hourly", "strict", "nightly"):
            off = FIRST + timedelta(days=next(days), seconds=self.random.uniform(0, 10_000))
            self.at(off, lambda dag_id=dag_id: self.pause(dag_id, paused=True))
            on = off + timedelta(seconds=self.random.uniform(3_000, 80_000))
            self.at(on, lambda dag_id=dag_id: self.pause(dag_id, paused=False))
        for _ in range(7):
            begin = FIRST + timedelta(days=next(days), hours=self.random.uniform(0, 10))
            self.outages.append((begin, begin + timedelta(hours=self.random.uniform(3, 10))))
        for _ in range(40):
            self.at(self.some_time(), lambda: self.trigger("by_hand"))
        for _ in range(8):
            self.at(self.some_time(), lambda: self.trigger("nightly"))
        for _ in range(60):
            self.at(self.some_time(), self.clear_something)
        self.at(self.some_time(), self.backfill)
        for _, end in self.outages:
            self.at(end, lambda: None)

    def some_time(self) -> datetime:
        return FIRST + timedelta(seconds=self.random.uniform(3600, (LAST - FIRST).total_seconds() - 90_000))

    def at(self, moment: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self.actions, (moment, next(self.numbers), action))

    def play(self) -> None:
        self.at(FIRST, lambda: None)
        while self.actions and self.actions[0][0] <= LAST:
            moment, _, action = heapq.heappop(self.actions)
            self.stage.store.clock = moment
            action()
            self.note_runs()
            if not self.is_out(moment):
                self.turn()
        self.stage.store.clock = LAST
        self.note("made", "end of the list", kind="none")

    def is_out(self, moment: datetime) -> bool:
        return any(begin <= moment < end for begin, end in self.outages)

    def note(self, what: What, dag_id: str, run_id: str = "", task_id: str = "", kind: str = "") -> None:
        self.happened.append(Happened(self.stage.now, what, dag_id, run_id, task_id, kind))

    # -- the scheduler

    def turn(self) -> None:
        while self.step():
            pass
        ahead = [*self.stage.store.run(deadlines.next_deadlines).moments, self.stage.store.run(due.next_due)]
        for moment in ahead:
            if moment and moment not in self.waking:
                self.waking.add(moment)
                self.at(max(moment, self.stage.now), lambda: None)

    def step(self) -> bool:
        """One turn; whether it did something that another may follow from."""
        store, ledger = self.stage.store, self.ledger

        def work(tx: Tx) -> tuple[int, Changes, list[Claimed]]:
            ledger.begin()
            ledger.runs.expire()
            due.sync_schedules(tx, ledger.graphs, paused_at_creation=False, limit=100)
            made = due.create_due_runs(tx, ledger.graphs, 100)
            made += promoting.promote(tx, 100)
            changes = ledger.start_runs(tx, 100)
            claimed, more = ledger.claim(tx, OWNER, 100, starting=True)
            changes.add(more)
            ledger.tell_missed(tx, 100)
            return made, changes, claimed

        made, changes, claimed = store.run(work)
        ledger.forget(changes)
        self.note_runs()
        self.note_changes(changes)
        forked = [one for one in claimed if one.run.dag_id == "forked"]
        for ones in [[one] for one in claimed if one not in forked] + [forked]:
            self.run(ones)
        return bool(made or claimed or changes.runs)

    def note_runs(self) -> None:
        table = DagRun.__table__
        with self.stage.store.read() as connection:
            rows = connection.execute(select(table).where(table.c.queued_at >= self.stage.now)).all()
        for row in rows:
            if row.id not in self.known_runs and row.clears == 0:
                self.known_runs.add(row.id)
                self.note("made", row.dag_id, row.run_id, kind=row.run_type)

    def note_changes(self, changes: Changes) -> None:
        for change in changes.tasks:
            if change.state in (TaskState.SUCCESS, TaskState.SKIPPED):
                self.note("done", change.dag_id, change.run_id, change.task_id)
        for ended in changes.runs:
            if ended.end_date:
                self.ended_runs.add((ended.run.dag_id, ended.run.run_id))
                what: What = "run succeeded" if ended.state == RunState.SUCCESS else "run failed"
                self.note(what, ended.run.dag_id, ended.run.run_id)

    # -- the tasks

    def run(self, ones: list[Claimed]) -> None:
        """They end together."""
        if not ones:
            return
        usual = {"nightly": 900, "hourly": 1100, "strict": 700, "by_hand": 500, "forked": 800}[ones[0].run.dag_id]
        seconds = usual * self.random.choice([0.3, 0.6, 1, 1, 1.5, 2, 6])
        ends = {one.token: self.outcome(one) for one in ones}
        ready = self.stage.now + timedelta(seconds=seconds * self.random.uniform(0.9, 1.1))
        self.at(ready, lambda: self.finish(ends))

    def outcome(self, one: Claimed) -> Outcome:
        match one.run.dag_id, one.task_id:
            case "forked", "left":  # fails the run, often in the transaction in which the other branch ends
                return self.random.choice([SUCCESS, FAILURE])
            case "forked", "right":
                return self.random.choice([SUCCESS, Outcome(Cause.SUCCESS, skip=("behind",))])
            case _:
                return self.random.choices([SUCCESS, FAILURE, SKIP], [84, 13, 3])[0]

    def finish(self, ends: dict[str, Outcome]) -> None:
        def work(tx: Tx) -> Changes:
            self.ledger.begin()
            return self.ledger.finish(tx, [Finished(token, outcome, "host") for token, outcome in ends.items()])

        changes = self.stage.store.run(work)
        self.ledger.forget(changes)
        if changes.restarts:
            self.note_cleared(changes.restarts)
        self.note_changes(changes)
        for change in changes.tasks:
            if change.retry_at:
                self.at(change.retry_at, lambda: None)

    # -- people

    def pause(self, dag_id: str, *, paused: bool) -> None:
        self.stage.store.run(lambda tx: pausing.set_paused(tx, dag_id, paused=paused))
        self.note("paused" if paused else "unpaused", dag_id)

    def trigger(self, dag_id: str) -> None:
        self.stage.store.run(lambda tx: creating.create_run(tx, dag_id))

    def backfill(self) -> None:
        begin = FIRST - timedelta(days=15)
        wish = backfills.Wish("nightly", begin, begin + timedelta(days=6), max_active_runs=2)
        self.stage.store.run(lambda tx: self.ledger.start_backfill(tx, wish))

    def clear_something(self) -> None:
        """A task of some run, and all behind it: mostly of a run that has ended."""
        if self.is_out(self.stage.now):
            self.at(next(end for begin, end in self.outages if begin <= self.stage.now < end), self.clear_something)
            return
        with self.stage.store.read() as connection:
            runs = connection.execute(select(DagRun.__table__).order_by(DagRun.id)).all()
            run = self.random.choice(runs[-60:])
            rows = connection.execute(select(TaskInstance.__table__).where(TaskInstance.run_pk == run.id)).all()
        if not rows:
            return
        with self.stage.store.read() as connection:
            shape = self.stage.graphs.get(connection, run.dag_id, run.version)
        first = self.random.choice(sorted(row.task_id for row in rows))
        names = {first, *shape.downstream_of([first])}
        chosen = [row for row in rows if row.task_id in names]
        changes = self.stage.store.run(lambda tx: self.ledger.clear(tx, [row.id for row in chosen]))
        self.ledger.forget(changes)
        self.note_cleared([row.id for row in chosen if row.state != TaskState.RUNNING], run.state in FINAL_RUN_STATES)
        self.note_changes(changes)
        for token in self.stage.requested():
            self.at(self.stage.now + timedelta(seconds=1), lambda token=token: self.finish({token: ENDED}))

    def note_cleared(self, ids: list[int], anew: bool = False) -> None:
        with self.stage.store.read() as connection:
            rows = connection.execute(select(TaskInstance.__table__).where(TaskInstance.id.in_(ids))).all()
        for row in rows:
            self.note("cleared", row.dag_id, row.run_id, row.task_id)
        for dag_id, run_id in {(row.dag_id, row.run_id) for row in rows} if anew else ():
            self.note("begun anew", dag_id, run_id)


def told(stage: Turned, expected: set[Miss]) -> tuple[list[str], list[Miss]]:
    """Compare what was told with what was expected: false alarms, in words, and misses that nobody was told of.

    An event tells of each of its tasks' earliest deadline that was not told before. It must come after that deadline.
    """
    left = sorted(expected, key=lambda miss: miss.due)
    wrong = []
    for event in stage.events():
        for name in [*event.missed, *([""] if (event.summary or "").startswith("The run") else [])]:
            about = [miss for miss in left if miss[:3] == (event.dag_id, event.run_id, name)]
            if about and about[0].due + GRACE <= event.occurred_at:
                left.remove(about[0])
            else:
                wrong.append(f"{event.dag_id} {event.run_id} {name} at {event.occurred_at}")
    return wrong, left


@pytest.fixture
def month(sqlite_server: DatabaseServer) -> Iterator[Turned]:
    url = sqlite_server.clone()
    store = Store(url)
    stage = Turned(store)
    yield stage
    stage.store.close()
    store.close()
    sqlite_server.drop(url)


def test_what_a_month_of_runs_is_told_to_have_missed_is_what_it_has_missed(month: Turned) -> None:
    world = Month(month, seed=2)
    world.set_up()
    world.plan()
    world.play()
    happened = [one for one in world.happened if one.dag in PROMISES]
    end = Happened(LAST, "paused", "end of the list")
    expected = misses([*happened, end], PROMISES, GRACE)
    false_alarms, untold = told(month, expected)
    assert false_alarms == []
    assert untold == []
    assert _lateness(month, world) <= timedelta(milliseconds=1)
    assert len(expected) > 50
    _all_kinds_of_trouble_happened(happened, expected)
    words = [str(event.summary) for event in month.events()]
    assert all(any(part in text for text in words) for part in ("has not started yet", "too late", "has failed"))
    assert any(row.state == TaskState.UP_FOR_RETRY for row in month.attempts())


def _lateness(stage: Turned, world: Month) -> timedelta:
    """The longest time from a deadline to its event, beyond the grace, while a scheduler was there and its run too."""
    waits = []
    made = {(one.dag, one.run): one.at for one in world.happened if one.what == "made"}
    for event in stage.events():
        assert event.due_at is not None
        ready = max(event.due_at + GRACE, made[str(event.dag_id), str(event.run_id)])
        if not world.is_out(ready) and not world.is_out(event.due_at):
            waits.append(event.occurred_at - ready)
    return max(waits)


def _all_kinds_of_trouble_happened(happened: list[Happened], expected: set[Miss]) -> None:
    """Or the month would show less than it says."""
    kinds = Counter(one.kind for one in happened if one.what == "made")
    assert set(kinds) == {"scheduled", "manual", "backfill"}
    whats = Counter(one.what for one in happened)
    assert min(whats[what] for what in ("cleared", "begun anew", "paused", "unpaused", "run failed")) >= 3
    assert {miss.dag for miss in expected} == set(PROMISES)
    assert {miss.task for miss in expected if miss.dag == "nightly"} == {"extract", "load", ""}
    assert any(miss.due.date().isoformat() == "2026-03-29" for miss in expected), "the night without an hour"
