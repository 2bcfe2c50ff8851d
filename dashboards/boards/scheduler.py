"""Scheduler and executors: does it beat, is it quick, are there slots, was anything lost."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import Uid, board, runbook
from dashboards.panels import AMBER, GREEN, NONE_IS_GOOD, RED, Ask, Kit, Words
from dashboards.promql import (
    RATE_INTERVAL,
    RECORDED_LOSSES,
    age,
    grown,
    level,
    per_second,
    quantile,
    selector,
    third_party,
    total,
)

_KIT: Final = Kit()

_NOW: Final = Row(
    "Now",
    [
        _KIT.number(
            "Last heartbeat",
            Words(
                "Age of the newest heartbeat of any scheduler, by the metastore.",
                "a few seconds.",
                "no run begins and no task is started while it grows: `windsock status`.",
            ),
            age("metastore.heartbeat_timestamp_seconds", where='component="scheduler"'),
            links=[runbook("WindsockSchedulerHeartbeatMissing")],
            unit="s",
            steps=((None, GREEN), (30, AMBER), (60, RED)),
            empty="no scheduler",
            decimals=0,
        ),
        _KIT.number(
            "Running DAG runs",
            Words("Runs in the state running.", "what your schedule gives.", "see the open runs on the overview."),
            level("scheduler.dagruns.running"),
            links=[board(Uid.OVERVIEW)],
        ),
        _KIT.number(
            "Running tasks",
            Words("Tasks that executors run now.", "what your schedule gives.", "see the slots below."),
            total("executor.running_tasks"),
            links=[board(Uid.POOLS)],
        ),
        _KIT.number(
            "Free executor slots",
            Words(
                "The fewest free slots of any executor.",
                "above 0.",
                "tasks wait for a slot: raise core.parallelism, or find what runs for too long.",
            ),
            f"min({level('executor.open_slots', 'executor_class_name')})",
            links=[runbook("WindsockExecutorNoFreeSlots")],
            steps=((None, RED), (1, GREEN)),
        ),
        _KIT.number(
            "Starving tasks",
            Words(
                "Tasks that are ready and found no slot in their pool.",
                "0.",
                "the board of pools says which one is full.",
            ),
            level("scheduler.tasks.starving"),
            links=[board(Uid.POOLS), runbook("WindsockPoolStarving")],
            steps=NONE_IS_GOOD,
        ),
        _KIT.number(
            "StatsD samples lost",
            Words(
                "Lines that the exporter could not read or use, and packets that the kernel dropped, in ten minutes.",
                "0.",
                "rates and latencies on all boards are too low by what was lost; counts of the metastore are not.",
            ),
            f"sum({selector(RECORDED_LOSSES)}) "
            f"or max(rate({third_party('statsd_exporter_lines_total')}[{RATE_INTERVAL}])) * 0",
            links=[runbook("WindsockSamplesLost"), runbook("WindsockSenderDropsLines")],
            steps=NONE_IS_GOOD,
            decimals=0,
        ),
    ],
)

_LOOP: Final = Row(
    "The loop",
    [
        _KIT.lines(
            "Heartbeats per second",
            Words(
                "How often the schedulers say that they live.",
                "steady: one beat every scheduler_heartbeat_sec and scheduler.",
                "a gap is a scheduler that was away or that could not reach the exporter.",
            ),
            Ask(per_second("scheduler_heartbeat"), "heartbeats"),
            links=[runbook("WindsockSchedulerMetricsMissing")],
            unit="cps",
            empty="no scheduler",
        ),
        _KIT.lines(
            "One turn of the loop",
            Words(
                "How long one turn takes.",
                "milliseconds to tens of milliseconds.",
                "see the critical section beside it; if that is short, the batch is large or the machine is busy.",
            ),
            Ask(quantile(0.5, "scheduler.scheduler_loop_duration"), "p50"),
            Ask(quantile(0.95, "scheduler.scheduler_loop_duration"), "p95"),
            Ask(quantile(0.99, "scheduler.scheduler_loop_duration"), "p99"),
            links=[board(Uid.INFRASTRUCTURE), runbook("WindsockSchedulerLoopSlow")],
            unit="s",
        ),
        _KIT.lines(
            "Critical section (p95)",
            Words(
                "Time in which tasks are claimed within limits, and the claiming query in it.",
                "milliseconds.",
                "the metastore is slow or its rows are locked by others.",
            ),
            Ask(quantile(0.95, "scheduler.critical_section_duration"), "section"),
            Ask(quantile(0.95, "scheduler.critical_section_query_duration"), "query"),
            links=[board(Uid.INFRASTRUCTURE)],
            unit="s",
            empty="nothing was claimed",
        ),
        _KIT.lines(
            "Decisions about runs (p95)",
            Words(
                "How long it takes to decide which tasks of a run come next.",
                "milliseconds.",
                "a very wide DAG, or a busy machine.",
            ),
            Ask(quantile(0.95, "dagrun.dependency-check", "run_type"), "{{run_type}}"),
            links=[board(Uid.DAG)],
            unit="s",
            empty="no run was decided",
        ),
        _KIT.lines(
            "From due to begun",
            Words(
                "From the moment that a run is due to its start, and to the start of its first task (p95).",
                "below a second with free slots.",
                "max_active_runs holds runs back, or the loop above is slow.",
            ),
            Ask(quantile(0.95, "dagrun.schedule_delay"), "run begins"),
            Ask(quantile(0.95, "dagrun.first_task_scheduling_delay"), "first task begins"),
            Ask(quantile(0.95, "dagrun.first_task_start_delay"), "queued run to first task"),
            links=[board(Uid.SLO), runbook("WindsockScheduleDelayBurnsFast")],
            unit="s",
            empty="no run began",
        ),
        _KIT.lines(
            "Serialised DAGs in memory",
            Words(
                "How often the scheduler had a DAG in memory, and how often it had to load it.",
                "hits far above misses.",
                "many misses: DAG files change all the time, for example by a time stamp in them.",
            ),
            Ask(per_second("scheduler.dag_bag.cache_hit"), "hits"),
            Ask(per_second("scheduler.dag_bag.cache_miss"), "misses"),
            links=[board(Uid.DAG_PROCESSING)],
            unit="cps",
            empty="no DAG was asked for",
        ),
    ],
)

_EXECUTORS: Final = Row(
    "Executors",
    [
        _KIT.lines(
            "Slots and tasks",
            Words(
                "Free slots, running and waiting tasks of each executor.",
                "free slots most of the time.",
                "free at zero while tasks wait: raise parallelism or spread the load.",
            ),
            Ask(level("executor.open_slots", "executor_class_name"), "free {{executor_class_name}}"),
            Ask(level("executor.running_tasks", "executor_class_name"), "running {{executor_class_name}}"),
            Ask(level("executor.queued_tasks", "executor_class_name"), "waiting {{executor_class_name}}"),
            links=[runbook("WindsockExecutorNoFreeSlots"), board(Uid.WORKERS)],
        ),
        _KIT.lines(
            "Executor's own turn (p95)",
            Words(
                "How long the executor takes inside the loop.",
                "milliseconds.",
                "the broker or the cluster behind the executor is slow.",
            ),
            Ask(quantile(0.95, "scheduler.executor_heartbeat_duration", "executor"), "{{executor}}"),
            links=[board(Uid.WORKERS)],
            unit="s",
            empty="no executor beats",
        ),
        _KIT.lines(
            "Task instances made, per second",
            Words(
                "New task instances by operator.",
                "follows the runs that begin.",
                "far more than before: a DAG has grown or runs too often.",
            ),
            Ask(per_second("task_instance_created", "task_type"), "{{task_type}}"),
            links=[board(Uid.DAG)],
            unit="cps",
            stacked=True,
            empty="no run began",
        ),
    ],
)

_DEATHS: Final = Row(
    "Deaths and repairs",
    [
        _KIT.lines(
            "Attempts of dead owners",
            Words(
                "Attempts whose supervisor is gone: taken over, put back, or failed as lost.",
                "0.",
                "a process or a machine died. Each attempt is charged and retried where retries are left.",
            ),
            Ask(grown("scheduler.orphaned_tasks.adopted", ""), "taken over"),
            Ask(grown("scheduler.orphaned_tasks.cleared", ""), "put back"),
            Ask(grown("task_instances_without_heartbeats_killed", ""), "lost"),
            links=[runbook("WindsockTasksLost")],
            empty="none since the exporter began",
        ),
        _KIT.lines(
            "Reports that came too late",
            Words(
                "Ends of attempts that somebody else had decided about already, and attempts killed from outside.",
                "0.",
                "look for a machine that stood still and came back.",
            ),
            Ask(grown("scheduler.late_finishes", ""), "ended too late"),
            Ask(grown("scheduler.tasks.killed_externally", ""), "killed from outside"),
            links=[runbook("WindsockTasksLost")],
            empty="none since the exporter began",
        ),
        _KIT.lines(
            "Processes",
            Words(
                "Starts and orderly ends of processes, and heartbeats that could not be written.",
                "starts and ends only when you restart something.",
                "starts without ends are crashes; failed heartbeats are a metastore that does not answer.",
            ),
            Ask(grown("job_start", ""), "started"),
            Ask(grown("job_end", ""), "ended in order"),
            Ask(grown("job_heartbeat_failure", ""), "heartbeat failed"),
            links=[board(Uid.INFRASTRUCTURE), runbook("WindsockHeartbeatWritesFail")],
            empty="none since the exporter began",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.SCHEDULER,
    description="Whether the scheduler lives and is quick, whether executors have slots, whether anything was lost.",
    rows=[_NOW, _LOOP, _EXECUTORS, _DEATHS],
)
