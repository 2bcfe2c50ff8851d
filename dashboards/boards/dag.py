"""DAG detail: one DAG, chosen by the variable `dag`: runs, tasks, SLA, failures, and the way to the logs."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import Uid, board, page, runbook
from dashboards.panels import AMBER, GREEN, RED, Ask, Column, Kit, Words, note
from dashboards.promql import RANGE, age, failed_attempts, grown, level, mean, observations, quantile_of_few, total

_KIT: Final = Kit()
_DAG: Final = 'dag_id="$dag"'
_PAGE: Final = page("Runs and logs of this DAG", "/dags/${dag}")
_NO_RUN: Final = "no run is over yet"

_NOW: Final = Row(
    "Now",
    [
        _KIT.number(
            "Last run",
            Words(
                "How the last run that is over ended.",
                "success.",
                "see the failures by task below, then the log.",
            ),
            level("metastore.last_run_failed", where=_DAG),
            links=[_PAGE, runbook("WindsockRunFailed")],
            steps=((None, GREEN), (1, RED)),
            mappings=(("0", "success", GREEN), ("1", "failed", RED)),
            empty=_NO_RUN,
        ),
        _KIT.number(
            "Last success",
            Words(
                "Time since the last successful run ended.",
                "less than two intervals of the schedule.",
                "the data is as old as this.",
            ),
            age("metastore.last_success_timestamp_seconds", where=_DAG),
            links=[_PAGE, runbook("WindsockNoRecentSuccess")],
            unit="s",
            empty="never",
        ),
        _KIT.number(
            "Last run took",
            Words("From its start to its end.", "about as long as always.", "see the durations by task below."),
            level("metastore.last_run_duration_seconds", where=_DAG),
            links=[_PAGE],
            unit="s",
            empty=_NO_RUN,
        ),
        _KIT.number(
            "Next run overdue by",
            Words(
                "Time since the next run was due; negative while it is still to come.",
                "negative.",
                "max_active_runs holds it back, or the scheduler stands still.",
            ),
            age("metastore.next_run_timestamp_seconds", where=_DAG),
            links=[board(Uid.SCHEDULER), runbook("WindsockRunOverdue")],
            unit="s",
            steps=((None, GREEN), (60, AMBER), (600, RED)),
            empty="paused, or no schedule",
        ),
        _KIT.number(
            "Running now",
            Words(
                "Task instances of this DAG that run.",
                "what the DAG needs.",
                "see how long the oldest one has been running.",
            ),
            total("metastore.task_instances", where=f'{_DAG},state="running"'),
            links=[_PAGE],
            empty="nothing runs",
        ),
        _KIT.number(
            "Paused",
            Words("Whether the schedule is off.", "as you left it.", "`windsock dags unpause` turns it on."),
            level("metastore.dag_paused", where=_DAG),
            links=[_PAGE],
            mappings=(("0", "no", GREEN), ("1", "paused", AMBER)),
            steps=((None, GREEN), (1, AMBER)),
        ),
        note(
            "Where the logs are",
            "[Runs of this DAG](${web}/dags/${dag}): choose a run, then an attempt; its page has the facts, the log "
            "and the reason in one line.\n\n"
            "On a terminal: `windsock tasks logs DAG RUN TASK`. Where logs are shipped to Loki: the board *Logs*.",
            links=[_PAGE, board(Uid.LOGS)],
            height=3,
        ),
    ],
)

_FAILURES: Final = Row(
    "Tasks in the time shown",
    [
        _KIT.rows(
            "Failures by task",
            Words(
                "Attempts that failed in the time shown, also those that were retried.",
                "an empty table.",
                "open the DAG's page, then the attempt: the last line of the log is usually the reason.",
            ),
            Ask(f"{failed_attempts('task_id', _DAG, RANGE)} > 0"),
            columns=(
                Column("task_id", "Task", link="${web}/dags/${dag}"),
                Column("Value", "Failed attempts", steps=((None, GREEN), (1, RED))),
            ),
            links=[_PAGE, runbook("WindsockTaskFailures")],
            empty="no attempt failed in this time",
            sort="Failed attempts",
        ),
        _KIT.rows(
            "Durations by task",
            Words(
                "Attempts that ended in the time shown, and how long they took on average.",
                "about as long as always.",
                "a task that grows: its data grows, or what it calls has become slow.",
            ),
            Ask(observations("task.duration", "task_id", _DAG, RANGE)),
            Ask(mean("task.duration", "task_id", _DAG)),
            columns=(
                Column("task_id", "Task", link="${web}/dags/${dag}"),
                Column("Value #A", "Attempts"),
                Column("Value #B", "Mean", unit="s"),
            ),
            links=[_PAGE],
            empty="no attempt ended in this time",
            sort="Mean",
        ),
    ],
)

_RUNS: Final = Row(
    "Runs",
    [
        _KIT.lines(
            "Open runs by state",
            Words(
                "Runs that are not over.",
                "0 or 1 for most DAGs.",
                "queued that grows: runs come faster than max_active_runs lets them go.",
            ),
            Ask(total("metastore.dag_runs", "state", _DAG), "{{state}}"),
            links=[_PAGE],
            stacked=True,
            empty="no run is open",
        ),
        _KIT.lines(
            "Runs that ended",
            Words(
                "Runs that ended within the window of each point, the first one included.",
                "the shape of the schedule, all of them success.",
                "open the run from the DAG's page.",
            ),
            Ask(observations("dagrun.duration.success", "", _DAG), "success"),
            Ask(observations("dagrun.duration.failed", "", _DAG), "failed"),
            links=[_PAGE],
            bars=True,
            empty="no run ended",
        ),
        _KIT.lines(
            "Duration of the last run",
            Words(
                "How long the last run that is over took.",
                "about as long as always.",
                "see which task takes longer.",
            ),
            Ask(level("metastore.last_run_duration_seconds", where=_DAG), "last run"),
            links=[_PAGE],
            unit="s",
            empty=_NO_RUN,
        ),
        _KIT.lines(
            "From due to begun (p95)",
            Words(
                "From the moment that a run is due to its start, and to the start of its first task.",
                "below a second with free slots.",
                "max_active_runs of this DAG, or a busy scheduler.",
            ),
            Ask(quantile_of_few(0.95, "dagrun.schedule_delay", "", _DAG), "run begins"),
            Ask(quantile_of_few(0.95, "dagrun.first_task_scheduling_delay", "", _DAG), "first task begins"),
            links=[board(Uid.SCHEDULER)],
            unit="s",
            empty="no scheduled run began",
        ),
        _KIT.lines(
            "SLA",
            Words(
                "Unfinished tasks past their allowed time (`sla=`), and those that have used four fifths of it.",
                "0.",
                "what they wait for is in the states beside and in the pools.",
            ),
            Ask(level("metastore.sla_missed_tasks", where=_DAG), "missed"),
            Ask(level("metastore.sla_at_risk_tasks", where=_DAG), "at risk"),
            links=[_PAGE, runbook("WindsockSlaMissed"), runbook("WindsockSlaAtRisk")],
            empty="no task has an SLA at stake",
        ),
        _KIT.lines(
            "User callbacks that raised",
            Words(
                "DAG-level callbacks that ended with an error of their own.",
                "0.",
                "`windsock alerts list` names the callback; its traceback is in the notifier's log.",
            ),
            Ask(grown("dag.callback_exceptions", "", _DAG), "raised"),
            links=[board(Uid.ALERTS), runbook("WindsockCallbacksFail")],
            empty="no callback raised",
        ),
    ],
)

_TASKS: Final = Row(
    "Tasks over time",
    [
        _KIT.lines(
            "Task instances of open runs",
            Words(
                "By state, as the metastore holds them.",
                "scheduled and queued are short-lived.",
                "scheduled that stays: a pool, max_active_tasks or the executor is full.",
            ),
            Ask(total("metastore.task_instances", "state", _DAG), "{{state}}"),
            links=[board(Uid.POOLS)],
            stacked=True,
            empty="no run is open",
        ),
        _KIT.lines(
            "Attempts that ended",
            Words(
                "By the state they ended in, within the window of each point, the first one included.",
                "success.",
                "see the failures by task above.",
            ),
            Ask(grown("ti.finish", "state", _DAG), "{{state}}"),
            links=[_PAGE],
            bars=True,
            stacked=True,
            empty="no attempt ended",
        ),
        _KIT.lines(
            "Oldest running attempt",
            Words(
                "Age of the attempt that has been running for longest.",
                "below the usual duration.",
                "it hangs: set execution_timeout, or stop it from its page.",
            ),
            Ask(level("metastore.oldest_running_seconds", where=_DAG), "oldest"),
            links=[_PAGE],
            unit="s",
            empty="nothing runs",
        ),
        _KIT.lines(
            "Duration by task (p95)",
            Words(
                "How long attempts took.",
                "level lines.",
                "a line that rises is a task that becomes slower.",
            ),
            Ask(quantile_of_few(0.95, "task.duration", "task_id", _DAG), "{{task_id}}"),
            links=[_PAGE],
            unit="s",
            empty="no attempt ended",
            span=12,
        ),
        _KIT.lines(
            "Waiting by task (p95)",
            Words(
                "How long tasks were scheduled before a slot was claimed for them, and queued before they ran.",
                "milliseconds while slots are free.",
                "pools, max_active_tasks or the executor are full.",
            ),
            Ask(quantile_of_few(0.95, "task.scheduled_duration", "task_id", _DAG), "scheduled {{task_id}}"),
            Ask(quantile_of_few(0.95, "task.queued_duration", "task_id", _DAG), "queued {{task_id}}"),
            links=[board(Uid.POOLS)],
            unit="s",
            empty="no task began",
            span=12,
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.DAG,
    description="One DAG: its last run, failures and durations by task, SLA, and the way to its logs.",
    rows=[_NOW, _FAILURES, _RUNS, _TASKS],
    dag=True,
)
