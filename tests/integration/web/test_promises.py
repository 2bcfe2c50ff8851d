from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import record
from engine.links import dag_url, run_url
from engine.metastore.store import Store
from engine.metastore.tables import SlaDeadline
from tests.integration.web.world import World, daily, task

Look = Callable[[str], str]
RUN = "scheduled__2026-11-23T05:30:00+00:00"


@pytest.fixture
def run_pk(world: World) -> int:
    """A run that was queued 600.4 s ago."""
    promised = [task("extract", sla_seconds=60.0), task("clean", "extract", sla_seconds=60.0), task("load", "clean")]
    world.dag("sales", promised, schedule=daily())
    run = (world.run("sales", RUN, "running", 600), "sales", RUN)
    world.task(run, "extract", "success", 1, 600, 500)
    world.task(run, "clean", "running", 1, 500)
    world.task(run, "load", None, 0)
    return run[0]


def promise(world: World, run_pk: int, task_id: str, state: str, due: float, **more: Any) -> None:
    """One that was due so many seconds ago, at risk from five minutes before on."""
    values = {"run_pk": run_pk, "dag_id": "sales", "task_id": task_id, "state": state}
    world.add(SlaDeadline, **values | {"due_at": world.ago(due), "at_risk_at": world.ago(due + 300)} | more)


def tell(world: World, kind: EventKind, ago: float, *missed: str, **more: Any) -> int:
    """Record an alert about the run; gives its number."""
    told = AlertEvent(
        kind=kind,
        occurred_at=world.now - timedelta(seconds=ago),
        dag_id="sales",
        run_id=RUN,
        missed=missed,
        episode=f"{kind} {ago}",
        **more,
    )
    world.store.run(lambda tx: record(tx.connection, [told]))
    return _newest(world)


def _newest(world: World) -> int:
    with world.store.read() as connection:
        return int(connection.exec_driver_sql("SELECT max(id) FROM alert_event").scalar_one())


def marks(page: str) -> list[tuple[str, str]]:
    """The marks of a page: their words, and where they lead."""
    found = re.findall(r'<(?:a|span) class="tally sla [^"]*"([^>]*)><span[^>]*>⚑</span>([^<]*)<', page)
    return [(words, (re.search(r'href="([^"]*)"', more) or ["", ""])[1]) for more, words in found]


class TestAMiss:
    def test_is_marked_at_its_run_with_the_tasks_and_the_alert(self, look: Look, world: World, run_pk: int) -> None:
        for name in ("extract", "clean"):
            promise(world, run_pk, name, "missed", 90, missed_at=world.ago(89))
        number = tell(world, EventKind.SLA_MISSED, 89, "extract", "clean")
        assert marks(look(dag_url("", "sales"))) == [("SLA missed: extract, clean", f"/alerts/{number}")]

    def test_is_marked_at_its_task(self, look: Look, world: World, run_pk: int) -> None:
        promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
        number = tell(world, EventKind.SLA_MISSED, 89, "clean")
        page = look(run_url("", "sales", RUN))
        assert marks(page) == [("SLA missed", f"/alerts/{number}")]
        assert f'missed</span>, <a href="/alerts/{number}">alert {number}</a>' in page

    def test_of_a_later_moment_leads_to_an_alert_of_its_own(self, look: Look, world: World, run_pk: int) -> None:
        promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
        promise(world, run_pk, "", "missed", 30, missed_at=world.ago(29))
        first = tell(world, EventKind.SLA_MISSED, 89, "clean")
        second = tell(world, EventKind.SLA_MISSED, 29)
        expected = [("SLA missed: clean", f"/alerts/{first}"), ("SLA missed: the run", f"/alerts/{second}")]
        assert marks(look(dag_url("", "sales"))) == expected

    def test_from_before_its_run_was_begun_anew_still_leads_to_its_alert(self, look: Look, world: World) -> None:
        world.dag("sales", [task("clean", sla_seconds=60.0)], schedule=daily())
        run_pk = world.run("sales", RUN, "running", 20, clears=1)
        promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
        number = tell(world, EventKind.SLA_MISSED, 89, "clean")
        assert marks(look(dag_url("", "sales"))) == [("SLA missed: clean", f"/alerts/{number}")]

    def test_whose_alert_was_removed_is_marked_all_the_same(self, look: Look, world: World, run_pk: int) -> None:
        promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
        assert marks(look(dag_url("", "sales"))) == [("SLA missed: clean", "")]

    def test_shows_in_the_list_of_dags(self, look: Look, world: World, run_pk: int) -> None:
        promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
        page = look("/dags")
        assert 'class="mark s-running late"' in page
        assert "running, SLA missed, due 10 min ago" in page

    def test_of_very_many_tasks_is_cut(self, look: Look, world: World, run_pk: int) -> None:
        for number in range(5):
            promise(world, run_pk, f"part_{number}", "missed", 90, missed_at=world.ago(89))
        assert [words for words, _ in marks(look(dag_url("", "sales")))] == [
            "SLA missed: part_0, part_1, part_2 and 2 more"
        ]


class TestARisk:
    def test_that_was_told_is_marked_with_its_alert(self, look: Look, world: World, run_pk: int) -> None:
        promise(world, run_pk, "clean", "open", -900)
        number = tell(world, EventKind.SLA_AT_RISK, 30, "clean")
        assert marks(look(dag_url("", "sales"))) == [("SLA at risk: clean", f"/alerts/{number}")]
        assert marks(look(run_url("", "sales", RUN))) == [("SLA at risk", f"/alerts/{number}")]

    def test_of_the_run_itself_is_told_by_a_warning_that_names_no_task(
        self, look: Look, world: World, run_pk: int
    ) -> None:
        promise(world, run_pk, "", "open", -900)
        number = tell(world, EventKind.SLA_AT_RISK, 30)
        assert marks(look(dag_url("", "sales"))) == [("SLA at risk: the run", f"/alerts/{number}")]

    def test_begins_without_a_warning_where_most_of_the_time_is_used_up(
        self, look: Look, world: World, run_pk: int
    ) -> None:
        promise(world, run_pk, "clean", "open", -200)
        promise(world, run_pk, "extract", "open", -900)
        assert marks(look(dag_url("", "sales"))) == [("SLA at risk: clean", "")]

    def test_is_none_any_more_when_what_it_names_is_done(self, look: Look, world: World, run_pk: int) -> None:
        promise(world, run_pk, "clean", "met", -900, completed_at=world.ago(5))
        tell(world, EventKind.SLA_AT_RISK, 30, "clean")
        assert marks(look(dag_url("", "sales"))) == []

    def test_of_an_earlier_life_of_the_run_is_not_shown(self, look: Look, world: World) -> None:
        world.dag("sales", [task("clean", sla_seconds=60.0)], schedule=daily())
        run_pk = world.run("sales", RUN, "running", 600, clears=1)
        promise(world, run_pk, "clean", "open", -900)
        tell(world, EventKind.SLA_AT_RISK, 30, "clean")
        assert marks(look(dag_url("", "sales"))) == []
        number = tell(world, EventKind.SLA_AT_RISK, 10, "clean", try_number=2)
        assert marks(look(dag_url("", "sales"))) == [("SLA at risk: clean", f"/alerts/{number}")]


def test_what_has_passed_untold_is_marked_before_what_is_at_risk(look: Look, world: World, run_pk: int) -> None:
    promise(world, run_pk, "clean", "open", 5)
    promise(world, run_pk, "load", "open", -200)
    assert marks(look(dag_url("", "sales"))) == [("SLA passed: clean", ""), ("SLA at risk: load", "")]


def test_marks_cost_two_statements_however_many_runs(
    look: Look, world: World, run_pk: int, statements: list[str]
) -> None:
    def sent() -> int:
        statements.clear()
        look(dag_url("", "sales"))
        return len(statements)

    promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
    few = sent()
    for number in range(20):
        another = world.run("sales", f"scheduled__{number}", "success", 900, 800)
        promise(world, another, "clean", "missed", 850, missed_at=world.ago(849))
    assert sent() == few


def test_no_statement_goes_through_every_miss_that_there_ever_was(
    look: Look, world: World, run_pk: int, store: Store
) -> None:
    promise(world, run_pk, "clean", "missed", 90, missed_at=world.ago(89))
    plans: list[str] = []

    def explain(
        connection: Connection, _cursor: object, statement: str, values: tuple[Any, ...], *_more: object
    ) -> None:
        if statement.startswith("SELECT") and "sla_deadline" in statement:
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.extend(row[3] for row in plan if "sla_deadline" in row[3])

    event.listen(store.engine, "before_cursor_execute", explain)
    for page in ("/dags", dag_url("", "sales"), run_url("", "sales", RUN)):
        look(page)
    event.remove(store.engine, "before_cursor_execute", explain)
    assert len(plans) >= 4
    assert [plan for plan in plans if "(run_pk=?" not in plan] == []
