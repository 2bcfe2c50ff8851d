"""Signals of the scheduler and of jobs."""

from __future__ import annotations

from exporters.signal import Emitter, Instead, Label, Signal
from exporters.signals.rows import (
    AIRFLOW,
    AIRFLOW_2,
    AIRFLOW_3_0,
    AIRFLOW_3_1,
    AIRFLOW_3_2,
    AIRFLOW_3_3,
    NEW_IN_3_3,
    WINDSOCK,
    counter,
    gauge,
    timer,
)

SIGNALS: tuple[Signal, ...] = (
    counter(
        "job_start",
        "Component job began",
        WINDSOCK | AIRFLOW,
        note="the class in Airflow's code is always Job, so the wire name is job_start",
    ),
    counter("job_end", "Component job ended normally", WINDSOCK | AIRFLOW),
    counter(
        "job_heartbeat_failure",
        "Heartbeat write to the DB failed",
        WINDSOCK | AIRFLOW,
    ),
    counter(
        "schedulerjobrunner_end",
        "Added in bulk when dead scheduler jobs are marked failed during orphan adoption",
        AIRFLOW,
        note="not in the registry",
    ),
    counter("scheduler_heartbeat", "Scheduler loop heartbeat", WINDSOCK | AIRFLOW),
    counter(
        "scheduler.tasks.killed_externally",
        "Executor reports finished while DB says queued/running",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID, Label.TASK_ID),
    ),
    counter("scheduler.orphaned_tasks.cleared", "Orphaned tasks reset", WINDSOCK | AIRFLOW),
    counter("scheduler.orphaned_tasks.adopted", "Orphaned tasks adopted", WINDSOCK | AIRFLOW),
    counter("scheduler.critical_section_busy", "Another scheduler held the queueing lock", AIRFLOW),
    counter(
        "scheduler.dag_bag.cache_hit",
        "Serialized DAGs the scheduler had cached",
        WINDSOCK | AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
    ),
    counter(
        "scheduler.dag_bag.cache_miss",
        "Serialized DAGs the scheduler loaded anew",
        WINDSOCK | AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
    ),
    counter(
        "scheduler.dag_bag.cache_clear",
        "Times the scheduler emptied its DAG cache",
        AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
    ),
    gauge(
        "scheduler.dag_bag.cache_size",
        "Serialized DAGs the scheduler holds",
        WINDSOCK | AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
    ),
    gauge("scheduler.tasks.starving", "Tasks without an open pool slot", WINDSOCK | AIRFLOW),
    gauge("scheduler.tasks.executable", "Tasks picked for queueing in this loop", WINDSOCK | AIRFLOW),
    gauge(
        "scheduler.dagruns.running",
        "Dag runs in state running",
        WINDSOCK | AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(Instead(AIRFLOW_2 | AIRFLOW_3_0 | AIRFLOW_3_1, "metastore.dag_runs", "by DAG and state"),),
    ),
    timer("scheduler.critical_section_duration", "Time under the queueing lock", WINDSOCK | AIRFLOW, stopwatch=AIRFLOW),
    timer(
        "scheduler.critical_section_query_duration", "Task query inside the lock", WINDSOCK | AIRFLOW, stopwatch=AIRFLOW
    ),
    timer("scheduler.scheduler_loop_duration", "One scheduler loop", WINDSOCK | AIRFLOW, stopwatch=AIRFLOW),
    timer(
        "scheduler.executor_heartbeat_duration",
        "Executor heartbeat inside the loop",
        WINDSOCK | AIRFLOW_3_3,
        labels=(Label.EXECUTOR,),
        stopwatch=AIRFLOW_3_3,
        instead=(
            Instead(
                AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2, "scheduler.scheduler_loop_duration", "the loop it is a part of"
            ),
        ),
    ),
)
