"""Overview: what is wrong now, then the four golden signals. The home board."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.boards import firing
from dashboards.links import TO_DAG, TO_IMPORT_ERRORS, Uid, board, page, runbook
from dashboards.panels import AMBER, GREEN, NONE_IS_GOOD, RED, Ask, Column, Kit, Words
from dashboards.promql import age, failed_attempts, grown, level, or_zero, per_second, quantile, total

_KIT: Final = Kit()
_SILENT_AFTER: Final = 60
_SILENT: Final = f"{age('metastore.heartbeat_timestamp_seconds', 'component, hostname')} > {_SILENT_AFTER}"
_NO_EXPORTER: Final = "metastore exporter is away"

_WRONG: Final = Row(
    "What is wrong now",
    [
        firing.count(_KIT),
        _KIT.number(
            "Silent components",
            Words(
                "Processes whose heartbeat in the metastore is older than a minute and that have not signed off.",
                "0.",
                "see which one in the table below, then `windsock status` on its machine.",
            ),
            or_zero(f"count({_SILENT})"),
            links=[board(Uid.SCHEDULER), runbook("WindsockProcessSilent")],
            steps=NONE_IS_GOOD,
            empty=_NO_EXPORTER,
        ),
        _KIT.number(
            "Failing DAGs",
            Words(
                "DAGs whose last run that is over failed.",
                "0.",
                "open the DAG from the table below; its board shows which task fails and leads to the log.",
            ),
            total("metastore.last_run_failed"),
            links=[page("DAGs", "/dags"), runbook("WindsockRunFailed")],
            steps=NONE_IS_GOOD,
            empty="no run is over yet",
        ),
        _KIT.number(
            "Broken DAG files",
            Words(
                "DAG files that cannot be imported.",
                "0.",
                "the page of import errors names file, line and remedy. The DAGs of these files run as last parsed.",
            ),
            or_zero(f"count({level('metastore.import_errors', 'file_path')})"),
            links=[page("Import errors", "/import-errors"), runbook("WindsockImportErrors")],
            steps=NONE_IS_GOOD,
            empty=_NO_EXPORTER,
        ),
        _KIT.number(
            "Oldest waiting task",
            Words(
                "Age of the task instance that has been ready for longest and does not run.",
                "seconds; longer only while a pool or limit is full on purpose.",
                "look at pools and executors: something is full, or the scheduler stands still.",
            ),
            level("metastore.oldest_queued_seconds"),
            links=[board(Uid.POOLS), runbook("WindsockQueueStuck")],
            unit="s",
            steps=((None, GREEN), (300, AMBER), (900, RED)),
            empty=_NO_EXPORTER,
        ),
        _KIT.number(
            "Alerts undelivered",
            Words(
                "Deliveries in the outbox that wait for a channel to accept them.",
                "0, or a few for seconds.",
                "the board of alerts says which channel does not accept, and why.",
            ),
            or_zero(total("metastore.outbox_backlog")),
            links=[board(Uid.ALERTS), runbook("WindsockAlertsStuck")],
            steps=((None, GREEN), (1, AMBER), (20, RED)),
            empty=_NO_EXPORTER,
        ),
        firing.listed(_KIT),
        _KIT.rows(
            "DAGs whose last run failed",
            Words(
                "Each such DAG, when that run ended, and how long it took.",
                "an empty table.",
                "open the DAG; repair and run it again. A successful run takes it off this list.",
            ),
            Ask(
                f"{level('metastore.last_run_timestamp_seconds', 'dag_id')} * 1000 "
                f"and on (dag_id) {level('metastore.last_run_failed', 'dag_id')} == 1"
            ),
            Ask(
                f"{level('metastore.last_run_duration_seconds', 'dag_id')} "
                f"and on (dag_id) {level('metastore.last_run_failed', 'dag_id')} == 1"
            ),
            columns=(
                Column("dag_id", "DAG", link=TO_DAG),
                Column("Value #A", "Ended", unit="dateTimeFromNow"),
                Column("Value #B", "Took", unit="s"),
            ),
            links=[page("DAGs", "/dags"), runbook("WindsockRunFailed")],
            empty="no DAG's last run failed",
        ),
        _KIT.rows(
            "DAG files that cannot be imported",
            Words(
                "Each broken file, by its path below the DAG folder.",
                "an empty table.",
                "`windsock dags errors`, or the page of import errors.",
            ),
            Ask(level("metastore.import_errors", "file_path")),
            columns=(Column("file_path", "File", link=TO_IMPORT_ERRORS), Column("Value", "Broken")),
            links=[page("Import errors", "/import-errors"), board(Uid.DAG_PROCESSING)],
            empty="every file is imported",
            span=8,
        ),
        _KIT.rows(
            "Late DAGs",
            Words(
                "DAGs whose next run is overdue by more than a minute.",
                "an empty table.",
                "a run is held back by max_active_runs, or the scheduler does not come to it.",
            ),
            Ask(f"{age('metastore.next_run_timestamp_seconds', 'dag_id')} > 60"),
            columns=(Column("dag_id", "DAG", link=TO_DAG), Column("Value", "Overdue by", unit="s")),
            links=[board(Uid.SCHEDULER), runbook("WindsockRunOverdue")],
            empty="no run is overdue",
            span=8,
        ),
        _KIT.rows(
            "Silent components by name",
            Words(
                "Processes whose last heartbeat is older than a minute.",
                "an empty table.",
                "`windsock status` on that machine says what to do.",
            ),
            Ask(_SILENT),
            columns=(
                Column("component", "Component"),
                Column("hostname", "Machine"),
                Column("Value", "Silent for", unit="s"),
            ),
            links=[runbook("WindsockProcessSilent"), runbook("WindsockSchedulerHeartbeatMissing")],
            empty="every component beats",
            span=8,
        ),
    ],
)

_TRAFFIC: Final = Row(
    "Traffic: how much is done",
    [
        _KIT.lines(
            "Attempts that ended, per second",
            Words(
                "Task attempts by the state they ended in.",
                "the shape of your schedule; success far above the rest.",
                "a flat zero while work waits means that nothing is started: see the scheduler's board.",
            ),
            Ask(per_second("ti.finish", "state"), "{{state}}"),
            links=[board(Uid.SCHEDULER)],
            unit="cps",
            stacked=True,
        ),
        _KIT.lines(
            "Task instances of open runs",
            Words(
                "Task instances of runs that are not over, by state, as the metastore holds them.",
                "scheduled and queued are short-lived.",
                "scheduled that only grows: something is full, see pools and executors.",
            ),
            Ask(total("metastore.task_instances", "state"), "{{state}}"),
            links=[board(Uid.POOLS)],
            stacked=True,
        ),
        _KIT.lines(
            "Open DAG runs",
            Words(
                "Runs that are not over, by state.",
                "queued only while max_active_runs holds runs back.",
                "queued that grows: runs come faster than they are worked off.",
            ),
            Ask(total("metastore.dag_runs", "state"), "{{state}}"),
            links=[board(Uid.SCHEDULER)],
            stacked=True,
            empty="no run is open",
        ),
    ],
)

_ERRORS: Final = Row(
    "Errors: what went wrong",
    [
        _KIT.lines(
            "Failed attempts by DAG",
            Words(
                "Attempts that failed within the window of each point, also those that are retried. The first failure "
                "of a task counts.",
                "0.",
                "open the DAG's board.",
            ),
            Ask(f"{failed_attempts('dag_id')} > 0", "{{dag_id}}"),
            links=[board(Uid.DAG), runbook("WindsockTaskFailures")],
            bars=True,
            stacked=True,
            empty="no attempt failed",
        ),
        _KIT.lines(
            "Attempts lost or decided elsewhere",
            Words(
                "Attempts whose supervisor was lost, that were killed from outside, or whose end came too late.",
                "0.",
                "a machine or a process died: see the scheduler's board and the infrastructure.",
            ),
            Ask(grown("task_instances_without_heartbeats_killed", ""), "lost"),
            Ask(grown("scheduler.tasks.killed_externally", ""), "killed from outside"),
            Ask(grown("scheduler.late_finishes", ""), "ended too late"),
            links=[board(Uid.SCHEDULER), runbook("WindsockTasksLost")],
            empty="none since the exporter began",
        ),
        _KIT.lines(
            "SLAs",
            Words(
                "Unfinished tasks past their allowed time (`sla=`), and those that have used four fifths of it.",
                "0.",
                "open the DAG's board: what runs or waits longer than usual.",
            ),
            Ask(total("metastore.sla_missed_tasks"), "missed"),
            Ask(total("metastore.sla_at_risk_tasks"), "at risk"),
            links=[board(Uid.DAG), runbook("WindsockSlaMissed"), runbook("WindsockSlaAtRisk")],
            empty="no SLA is missed or at risk",
        ),
    ],
)

_LATENCY: Final = Row(
    "Latency: how long it takes",
    [
        _KIT.lines(
            "From due to begun",
            Words(
                "From the moment that a run is due to its start: half of the runs, and 95 of 100.",
                "below a second with free slots.",
                "max_active_runs holds runs back, or the scheduler's loop is slow.",
            ),
            Ask(quantile(0.5, "dagrun.schedule_delay"), "p50"),
            Ask(quantile(0.95, "dagrun.schedule_delay"), "p95"),
            links=[board(Uid.SLO), runbook("WindsockScheduleDelayBurnsFast")],
            unit="s",
            empty="no scheduled run began",
        ),
        _KIT.lines(
            "Waiting of tasks",
            Words(
                "How long tasks were scheduled before a slot was claimed for them, and queued before they ran (p95).",
                "milliseconds while slots are free.",
                "pools, max_active_tasks or the executor are full.",
            ),
            Ask(quantile(0.95, "task.scheduled_duration"), "scheduled"),
            Ask(quantile(0.95, "task.queued_duration"), "queued"),
            links=[board(Uid.POOLS), runbook("WindsockQueueStuck")],
            unit="s",
            empty="no task began",
        ),
        _KIT.lines(
            "Scheduler's loop",
            Words(
                "How long one turn of the scheduler takes.",
                "milliseconds to tens of milliseconds.",
                "the metastore is slow, or a batch is very large: see infrastructure.",
            ),
            Ask(quantile(0.5, "scheduler.scheduler_loop_duration"), "p50"),
            Ask(quantile(0.95, "scheduler.scheduler_loop_duration"), "p95"),
            links=[board(Uid.SCHEDULER), runbook("WindsockSchedulerLoopSlow")],
            unit="s",
            empty="no scheduler runs",
        ),
    ],
)

_SATURATION: Final = Row(
    "Saturation: how full it is",
    [
        _KIT.lines(
            "Executor slots",
            Words(
                "Slots that are free, and tasks that run, per executor.",
                "free slots most of the time.",
                "free at zero while tasks wait: raise parallelism or spread the load.",
            ),
            Ask(level("executor.open_slots", "executor_class_name"), "free {{executor_class_name}}"),
            Ask(level("executor.running_tasks", "executor_class_name"), "running {{executor_class_name}}"),
            links=[board(Uid.SCHEDULER), runbook("WindsockExecutorNoFreeSlots")],
        ),
        _KIT.lines(
            "Pools in use",
            Words(
                "The share of each limited pool's slots that is in use.",
                "below 100 %.",
                "a full pool holds its tasks back on purpose; where they wait too long, give it more slots.",
            ),
            Ask(
                f"{level('metastore.pool_used_slots', 'pool_name')} "
                f"/ ({level('metastore.pool_slots', 'pool_name')} > 0)",
                "{{pool_name}}",
            ),
            links=[board(Uid.POOLS), runbook("WindsockPoolStarving")],
            unit="percentunit",
            steps=((None, GREEN), (1, RED)),
            top=1,
        ),
        _KIT.lines(
            "Delivery of alerts",
            Words(
                "Age of the oldest delivery and of the oldest user callback that wait.",
                "0, or seconds.",
                "the notifier stands still, or a channel does not accept.",
            ),
            Ask(level("metastore.outbox_oldest_seconds", "channel"), "alert to {{channel}}"),
            Ask(level("metastore.callback_oldest_seconds"), "callback"),
            links=[board(Uid.ALERTS), runbook("WindsockAlertsDelayed")],
            unit="s",
            empty="nothing waits",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.OVERVIEW,
    description="What is wrong now, since when and where to read on; then traffic, errors, latency and saturation.",
    rows=[_WRONG, _TRAFFIC, _ERRORS, _LATENCY, _SATURATION],
)
