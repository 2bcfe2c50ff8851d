"""One sentence for each reason to wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.metastore.why import Facts, Reason, Use, decide

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
READY = Facts(now=NOW, dag_id="d", task_id="t", run_state="running", state="scheduled", executors=Use(0, 32))
USERS = (("a.x", 2), ("b.y", 1), ("c.z", 1))

SENTENCES = [
    (
        {"state": None, "earlier_run": "scheduled__1"},
        "earlier_run",
        (
            "it waits for its own success in the run before, scheduled__1 (depends_on_past). "
            "See: windsock dags why d scheduled__1 t"
        ),
    ),
    (
        {"run_state": "queued", "state": None, "runs": Use(2, 2), "backfill": True},
        "run_queued",
        "its run is queued: 2 of 2 runs of its backfill are running (--max-active-runs)",
    ),
    ({"state": "running", "try_number": 1, "hostname": "h"}, "running", "it is running on h, attempt 1 of 1"),
    (
        {"state": "queued", "hostname": "x"},
        "starting",
        "it has been handed to the executor on x and starts in a moment",
    ),
    (
        {"state": "failed", "try_number": 2, "max_tries": 2, "ended_at": NOW, "error": "exited with code 1"},
        "ended",
        "it has ended in attempt 2 of 2 at 2026-11-28 12:00:00 UTC, as failed: exited with code 1",
    ),
    (
        {"state": "upstream_failed", "upstream": (("a", "failed"), ("b", "success"))},
        "ended",
        "it has ended, as upstream failed, because of a",
    ),
    (
        {"state": "skipped", "run_state": "failed", "ended_at": NOW, "run_deadline": NOW - timedelta(seconds=1)},
        "ended",
        (
            "it has ended at 2026-11-28 12:00:00 UTC, as skipped, because its run went on for longer than its "
            "dagrun_timeout"
        ),
    ),
    (
        {"state": "skipped", "run_state": "failed", "ended_at": NOW, "run_deadline": NOW + timedelta(seconds=1)},
        "ended",
        "it has ended at 2026-11-28 12:00:00 UTC, as skipped",
    ),
    ({"state": None, "run_state": "failed"}, "ended", "its run has ended (failed) and it never ran"),
    (
        {"schedulers": 0, "scheduler_seen": NOW},
        "no_scheduler",
        "no scheduler is running; the last one was seen at 2026-11-28 12:00:00 UTC. Start one: windsock up --detach",
    ),
    ({"schedulers": 0}, "no_scheduler", "no scheduler is running. Start one: windsock up --detach"),
    (
        {"paused": True},
        "paused",
        "d is paused, so none of its runs and tasks starts. Go on: windsock dags unpause d",
    ),
    (
        {"met": False, "run_state": "queued", "state": None},
        "not_met",
        "the scheduler has not taken d over from the DAG processor yet; if that lasts: windsock dags errors",
    ),
    (
        {"readable": False},
        "unreadable",
        (
            "the DAG as it was for this run cannot be read from the metastore; it waits for the DAG processor to parse "
            "its file again"
        ),
    ),
    (
        {"run_state": "queued", "state": None, "runs": Use(2, 2), "runs_before": 3},
        "run_queued",
        "its run is queued: 2 of 2 runs of d are running (max_active_runs), and 3 queued runs come first",
    ),
    (
        {"run_state": "queued", "state": None, "runs": Use(2, 2), "runs_before": 1},
        "run_queued",
        "its run is queued: 2 of 2 runs of d are running (max_active_runs), and 1 queued run comes first",
    ),
    (
        {"run_state": "queued", "state": None, "runs": Use(0, 2)},
        "next",
        "its run is queued and starts with the scheduler's next turn",
    ),
    (
        {"state": None, "upstream": (("a", "success"), ("b", "running"), ("c", None))},
        "upstream",
        "it waits for b (running) and c (not yet due)",
    ),
    (
        {"state": None, "rule": "all_done", "upstream": tuple((f"p{n}", "up_for_retry") for n in range(5))},
        "upstream",
        "it waits for p0 (up for retry), p1 (up for retry) and 3 more (trigger rule all_done)",
    ),
    (
        {
            "state": "up_for_retry",
            "try_number": 1,
            "max_tries": 3,
            "ready_at": NOW + timedelta(minutes=4),
            "error": "killed by SIGKILL",
        },
        "retry",
        "attempt 1 of 3 failed (killed by SIGKILL), and the next is due at 2026-11-28 12:04:00 UTC, in 4 min",
    ),
    (
        {"state": "up_for_reschedule", "ready_at": NOW},
        "rescheduled",
        "what it senses is not there yet; it looks again at 2026-11-28 12:00:00 UTC",
    ),
    (
        {"pool": "gpu", "pool_use": None},
        "pool_missing",
        "it names the pool 'gpu', and there is none of that name. Make it: windsock pools set gpu SLOTS",
    ),
    (
        {"pool": "gpu", "pool_slots": 3, "pool_use": Use(0, 2)},
        "pool_too_small",
        "it needs 3 slots of the pool 'gpu', which has 2 in all. Make it larger: windsock pools set gpu SLOTS",
    ),
    (
        {"pool": "gpu", "pool_use": Use(4, 4, USERS)},
        "pool_full",
        "4 of 4 slots of the pool 'gpu' are used by a.x (2), b.y and c.z",
    ),
    (
        {"pool": "gpu", "pool_slots": 2, "pool_use": Use(3, 4, (*USERS, ("d.w", 1)))},
        "pool_full",
        "3 of 4 slots of the pool 'gpu' are used by a.x (2), b.y and 2 more, and it needs 2",
    ),
    (
        {"dag_use": Use(2, 2, (("x", 2),))},
        "dag_full",
        "2 of 2 tasks of d are running (max_active_tasks) by x (2)",
    ),
    (
        {"task_use": Use(3, 3)},
        "task_full",
        "3 of 3 allowed attempts of t are running over all runs (max_active_tis_per_dag)",
    ),
    (
        {"executors": Use(32, 32)},
        "parallelism",
        "32 of 32 slots of the scheduler are in use (core.parallelism)",
    ),
    (
        {"schedulers": 2, "executors": Use(64, 64)},
        "parallelism",
        "64 of 64 slots of the 2 schedulers are in use (core.parallelism)",
    ),
    ({}, "next", "nothing is in its way: the scheduler starts it in its next turn"),
]


@pytest.mark.parametrize(("changes", "reason", "sentence"), SENTENCES, ids=[reason for _, reason, _ in SENTENCES])
def test_each_reason_has_its_sentence(changes: dict[str, object], reason: str, sentence: str) -> None:
    answer = decide(replace(READY, **changes))
    assert (answer.reason, answer.sentence) == (reason, sentence)


def test_every_reason_is_told_by_one_of_these_sentences() -> None:
    assert {reason for _, reason, _ in SENTENCES} == set(Reason)


def test_what_stops_everything_is_told_before_what_stops_one_task() -> None:
    facts = replace(READY, schedulers=0, paused=True, pool_use=None)
    assert decide(facts).reason == Reason.NO_SCHEDULER
    assert decide(replace(facts, schedulers=1)).reason == Reason.PAUSED
    assert decide(replace(facts, schedulers=1, paused=False)).reason == Reason.POOL_MISSING
    assert decide(replace(facts, state="running")).reason == Reason.RUNNING  # it goes on under its supervisor
