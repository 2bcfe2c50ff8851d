"""What an open trouble explains is not told: on every database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from alerting import groups, inhibitions, silences
from alerting.events import AlertEvent
from alerting.inhibitions import Source
from alerting.kinds import EventKind
from alerting.matchers import DEFAULT_SEVERITY, labels_of, parse_matcher
from alerting.routes import Plan, SuppressedBy
from alerting.routing import BUILT_IN_INHIBITIONS
from tests.contract.alerting.conftest import MINUTE, NOW, buried
from tests.contract.alerting.following import a_plan, delivered, event_ids, recorded, rows, told_to

EventMaker = Callable[..., AlertEvent]
BY_RUN = "inhibit: [{source_matchers: event=run_failed, target_matchers: event=task_failed, equal: [dag, run]}]"


class TestInhibition:
    def down(self, **changes: Any) -> AlertEvent:
        values = {"kind": EventKind.COMPONENT_DOWN, "occurred_at": NOW, "subject": "scheduler on a"}
        return AlertEvent(**values | changes)

    def late(self, dag_id: str = "daily", **changes: Any) -> AlertEvent:
        values = {"kind": EventKind.DAG_LATE, "occurred_at": NOW, "dag_id": dag_id}
        return AlertEvent(**values | changes)

    def test_holds_what_a_dead_scheduler_explains_until_it_is_back(self, engine: Engine) -> None:
        plan = Plan(("json-1",))
        recorded(engine, plan, NOW, self.down())
        source = event_ids(engine)[0]
        assert recorded(engine, plan, NOW, self.late()).suppressed == (SuppressedBy.INHIBITED,)
        assert rows(engine)[1].error == f"inhibited by component down (scheduler on a), alert {source}"
        recorded(engine, plan, NOW, self.down(kind=EventKind.COMPONENT_UP))
        assert recorded(engine, plan, NOW, self.late("other")).suppressed == ()

    def test_holds_within_one_batch_whichever_comes_first(self, engine: Engine) -> None:
        assert recorded(engine, Plan(("json-1",)), NOW, self.late(), self.down()).suppressed == (
            SuppressedBy.INHIBITED,
        )

    def test_does_not_hold_for_another_component_nor_for_ever(self, engine: Engine) -> None:
        plan = Plan(("json-1",))
        old = NOW - timedelta(days=2)
        recorded(engine, plan, NOW, self.down(subject="web server on a"), self.down(occurred_at=old))
        assert recorded(engine, plan, NOW, self.late()).suppressed == ()

    def test_by_rules_of_the_file_needs_the_labels_to_be_equal(self, engine: Engine, an_event: EventMaker) -> None:
        rule = (
            "inhibit: [{source_matchers: event=dag_broken, target_matchers: 'event=~\"task_.*|dag_broken\"', "
            "equal: [subject]}]"
        )
        plan = a_plan(top=rule)
        broken = AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=NOW, subject="a.py")
        again = AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=NOW + MINUTE, subject="a.py")
        routed = recorded(engine, plan, NOW, broken, again, an_event(1, subject="a.py"), an_event(2, subject="b.py"))
        # What is a source as well as a target does not inhibit its like.
        assert routed.suppressed == (SuppressedBy.INHIBITED,)

    def test_holds_back_what_still_waits_in_a_group_too(self, engine: Engine) -> None:
        plan = a_plan(route="{group_by: [event], group_wait: 30s}")
        recorded(engine, plan, NOW, self.late("one"), self.late("two"))
        recorded(engine, plan, NOW, self.down())
        waves = []
        with engine.begin() as connection:
            while (wave := groups.flush(connection, NOW + MINUTE, plan)) is not None:
                waves.append(wave)
        assert sorted(wave.inhibited for wave in waves) == [0, 2]

    @pytest.mark.parametrize("at_once", [True, False])
    def test_does_not_hold_for_a_run_whose_failure_nobody_was_told_of(
        self, engine: Engine, an_event: EventMaker, *, at_once: bool
    ) -> None:
        """A failed run is told by its tasks; when one is cleared and fails again, that is news."""
        plan = a_plan(top=BY_RUN)
        for attempt in (1, 2):
            task = an_event(1, try_number=attempt)
            run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, try_number=attempt, cause="task_failures")
            for batch in [[task, run]] if at_once else [[task], [run]]:
                recorded(engine, plan, NOW, *batch)
        assert told_to(engine)[("ops", "pending")] == 2

    @pytest.mark.parametrize("state", ["dead", "delivered", "silenced"])
    def test_holds_for_what_somebody_knows(self, engine: Engine, an_event: EventMaker, state: str) -> None:
        plan = a_plan(top=BY_RUN)
        if state == "silenced":
            with engine.begin() as connection:
                silences.add(
                    connection, NOW, [parse_matcher("event=run_failed")],
                    author="alice", comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=1),
                )  # fmt: skip
        recorded(engine, plan, NOW, an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="timed_out"))
        (buried if state == "dead" else delivered)(engine, plan, NOW)
        held = recorded(engine, plan, NOW, an_event(1)).suppressed
        assert held == (() if state == "dead" else (SuppressedBy.INHIBITED,))

    @pytest.mark.parametrize(
        "route", ["{receiver: ops}", "{group_by: [event], group_wait: 0s}", "{group_by: [dag], group_wait: 0s}"]
    )
    @pytest.mark.parametrize("at_once", [True, False])
    def test_leaves_one_of_two_that_would_hold_each_other_back(
        self, engine: Engine, an_event: EventMaker, route: str, *, at_once: bool
    ) -> None:
        rule = "{{source_matchers: event={}, target_matchers: event={}, equal: [dag, run]}}"
        rules = ", ".join((rule.format("run_failed", "task_failed"), rule.format("task_failed", "run_failed")))
        plan = a_plan(top=f"inhibit: [{rules}]", route=route)
        both = [an_event(1), an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="timed_out")]
        for batch in [both] if at_once else [[one] for one in both]:
            recorded(engine, plan, NOW, *batch)
        with engine.begin() as connection:
            while groups.flush(connection, NOW, plan) is not None:
                pass
        assert told_to(engine) == {("ops", "pending"): 1, ("ops", "suppressed"): 1}

    def test_that_the_file_says_only_since_they_wait_in_a_group_leaves_one_of_two(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        rule = "{{source_matchers: event={}, target_matchers: event={}, equal: [dag, run]}}"
        rules = ", ".join((rule.format("run_failed", "task_failed"), rule.format("task_failed", "run_failed")))
        route = "{group_by: [dag], group_wait: 0s}"
        run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="timed_out")
        recorded(engine, a_plan(route=route), NOW, an_event(1), run)
        with engine.begin() as connection:
            groups.flush(connection, NOW, a_plan(top=f"inhibit: [{rules}]", route=route))
        assert told_to(engine) == {("ops", "pending"): 1, ("ops", "suppressed"): 1}

    def test_looks_through_the_index_at_what_happened_of_late(self, engine: Engine) -> None:
        seen: list[tuple[str, Any]] = []
        event.listen(engine, "before_cursor_execute", lambda c, k, *told: seen.append((told[0], told[1])))
        with engine.begin() as connection:
            assert inhibitions.open_sources(connection, NOW, BUILT_IN_INHIBITIONS, DEFAULT_SEVERITY) == []
            if engine.dialect.name == "sqlite":  # the others choose by how many rows there are
                plans = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[-1][0]}", seen[-1][1]).all()
                assert "ix_alert_event_open (kind=? AND ended_by=? AND occurred_at>?)" in str(plans)

    def test_compares_an_event_with_those_alone_whose_labels_are_equal(self, an_event: EventMaker) -> None:
        (rule,) = a_plan(top=BY_RUN).inhibitions
        asked: Counter[str] = Counter()

        class Watched(dict[str, Any]):
            def get(self, name: str, default: Any = None) -> Any:
                asked[name] += 1
                return super().get(name, default)

        runs = (an_event(n, kind=EventKind.RUN_FAILED, run_id=f"r{n}", task_id=None) for n in range(100))
        sources = inhibitions.Sources([rule], [Source(n, run, Watched(labels_of(run))) for n, run in enumerate(runs)])
        asked.clear()
        failed = an_event(1, run_id="r7")
        found = sources.inhibitor(1000, failed, labels_of(failed))
        assert found is not None
        assert (found.id, asked.total()) == (7, 0)

    def test_of_a_run_that_timed_out_holds_back_that_its_tasks_were_skipped(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, try_number=None, cause="timed_out")
        skipped = an_event(1, kind=EventKind.TASK_SKIPPED)
        elsewhere = an_event(1, kind=EventKind.TASK_SKIPPED, run_id="r2")
        assert recorded(engine, a_plan(), NOW, skipped, elsewhere, run).suppressed == (SuppressedBy.INHIBITED,)
