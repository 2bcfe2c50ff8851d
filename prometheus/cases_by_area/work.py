"""Cases of the alerts on runs, tasks, queues and SLAs. Time begins at 0: a time stamp of 0 is 20 minutes old at 20m."""

from __future__ import annotations

from typing import Final

from prometheus.case import EXPORTER, SCRAPED, Case, Firing, Kind, exported, four, grown

_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'


def _truth(name: str, labels: str) -> str:
    return f"airflow_metastore_{name}{{{_METASTORE},{labels}}}"


_ETL: Final = {"dag_id": "etl"}
_LOAD: Final = _ETL | {"task_id": "load"}
_DB: Final = {"pool_name": "db"}
_NEXT: Final = _truth("next_run_timestamp_seconds", 'dag_id="etl"')
_LAST: Final = _truth("last_run_timestamp_seconds", 'dag_id="etl"')
_SUCCESS: Final = _truth("last_success_timestamp_seconds", 'dag_id="etl"')
_RUN_FAILED: Final = _truth("last_run_failed", 'dag_id="etl"')
_QUEUED_AGE: Final = _truth("oldest_queued_seconds", 'pool_name="db"')
_WAITING: Final = _truth("pool_waiting_tasks", 'pool_name="db"')
_USED: Final = _truth("pool_used_slots", 'pool_name="db"')
_SLOTS: Final = _truth("pool_slots", 'pool_name="db"')
_MISSED: Final = _truth("sla_missed_tasks", 'dag_id="etl"')
_AT_RISK: Final = _truth("sla_at_risk_tasks", 'dag_id="etl"')
_AT_LIMIT: Final = _truth("dag_at_max_active_runs", 'dag_id="etl"')
_PAUSED: Final = _truth("dag_paused", 'dag_id="etl"')
_FAILED: Final = exported("airflow_ti_failures", 'dag_id="etl",task_id="load"')
_FINISHED: Final = exported("airflow_ti_finish", 'dag_id="etl",task_id="load",state="failed"')
_LOST: Final = exported("airflow_task_instances_without_heartbeats_killed", 'dag_id="etl",task_id="load"')
_STARVING: Final = exported("airflow_pool_starving_tasks", 'pool_name="db"')
_LOCAL: Final = {"executor_class_name": "LocalExecutor"}
_OPEN: Final = exported("airflow_executor_open_slots", 'status="open",executor_class_name="LocalExecutor"')
_QUEUED: Final = exported("airflow_executor_queued_tasks", 'status="queued",executor_class_name="LocalExecutor"')
_WHERE: Final = "`windsock alerts list --all --dag etl` (in Airflow: the page of the DAG) says"
_WHICH: Final = f"{_WHERE} which tasks of which runs."
_TOLD_ONE: Final = f"Attempts of etl that failed in ten minutes: 1. {_WHICH}"

FRESHNESS: Final = (
    *four(
        "WindsockRunOverdue",
        bad={_NEXT: "60x90"},
        good={_NEXT: "3600x90"},
        early="6m30s",
        late="10m",
        told="The next run of etl has been due for 9m 0s.",
        labels=_ETL,
    ),
    Case(
        "WindsockRunOverdue",
        Kind.SILENT,
        "it waits for one of its DAG's own runs to end",
        {_NEXT: "60x90", _AT_LIMIT: "1x90"},
        "10m",
    ),
    Case(
        "WindsockRunOverdue",
        Kind.FIRING,
        "its DAG may have one more run",
        {_NEXT: "60x90", _AT_LIMIT: "0x90"},
        "10m",
        (Firing("The next run of etl has been due for 9m 0s.", _ETL),),
    ),
    *four(
        # A run every five minutes; each but the first fails.
        "WindsockNoRecentSuccess",
        bad={_NEXT: "300x30 600x30 900x30 1200x90", _LAST: "10x30 310x30 610x30 910x90", _SUCCESS: "10x180"},
        good={
            _NEXT: "300x30 600x30 900x30 1200x90",
            _LAST: "10x30 310x30 610x30 910x90",
            _SUCCESS: "10x30 310x30 610x30 910x90",
        },
        early="14m",
        late="20m",
        told="The last success of etl was 19m 50s ago.",
        labels=_ETL,
        missing={_NEXT: "300x180", _LAST: "10x180"},  # it never succeeded: its failed run is told
    ),
    Case(
        "WindsockNoRecentSuccess",
        Kind.SILENT,
        "it is paused",
        {
            _NEXT: "300x30 600x30 900x30 1200x30",
            _LAST: "10x30 310x30 610x30 910x90",
            _SUCCESS: "10x180",
            _PAUSED: "0x90 1x90",
        },
        "20m",
    ),
)

FAILURES: Final = (
    *four(
        "WindsockRunFailed",
        bad={_RUN_FAILED: "0x30 1x30"},
        good={_RUN_FAILED: "0x60"},
        early="4m",
        late="6m",
        told=(
            "It is a run of etl. `windsock tasks states etl` (in Airflow: the page of the DAG) says which tasks failed."
        ),
        labels=_ETL,
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "the very first failure of a task",
        {**SCRAPED, _FAILED: "_x90 1x30"},
        "17m",
        (Firing(_TOLD_ONE, _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "the first failure after a fresh start",
        {
            f"up{{{EXPORTER}}}": "1x800",
            f"process_start_time_seconds{{{EXPORTER}}}": "0x800",
            _FAILED: "_x6 1x30",
        },
        "4m",
        (Firing(_TOLD_ONE, _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "one more failure",
        {**SCRAPED, _FAILED: "5x90 6x60"},
        "18m",
        (Firing(_TOLD_ONE, _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "a task fails for the first time, and twice more",
        {**SCRAPED, _FAILED: "_x90 1x10 3x20"},
        "18m",
        (Firing(f"Attempts of etl that failed in ten minutes: 3. {_WHICH}", _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "Airflow's plain lines, of which only ti.finish names the task",
        {**SCRAPED, exported("airflow_ti_failures"): "_x90 1x30", _FINISHED: "_x90 1x30"},
        "17m",
        (Firing(_TOLD_ONE, _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "a failure that two families tell of counts once",
        {**SCRAPED, _FAILED: "_x90 1x30", _FINISHED: "_x90 1x30"},
        "17m",
        (Firing(_TOLD_ONE, _ETL),),
    ),
    Case("WindsockTaskFailures", Kind.NOT_YET, "half a minute ago", {**SCRAPED, _FAILED: "_x90 1x30"}, "15m40s"),
    Case("WindsockTaskFailures", Kind.SILENT, "the failures are old", {**SCRAPED, _FAILED: "5x200"}, "30m"),
    Case(
        "WindsockTaskFailures",
        Kind.SILENT,
        "Prometheus was away: old failures are not new ones",
        {
            f"up{{{EXPORTER}}}": "_x90 1x60",
            f"process_start_time_seconds{{{EXPORTER}}}": "-86400x200",
            _FAILED: "_x90 5x60",
        },
        "18m",
    ),
    Case("WindsockTaskFailures", Kind.MISSING, "nothing ever failed", SCRAPED, "15m"),
    *grown(
        "WindsockTasksLost",
        _LOST,
        told=f"Attempts of etl.load that stopped sending heartbeats and were failed: 7. {_WHERE} of which runs.",
        labels=_LOAD,
        early="15m40s",
    ),
)

QUEUES: Final = (
    *four(
        "WindsockQueueStuck",
        bad={_QUEUED_AGE: "0+10x120"},
        good={_QUEUED_AGE: "600x120"},
        early="15m30s",
        late="18m",
        told="A task of pool db has been ready for 18m 0s.",
        labels=_DB,
    ),
    *four(
        "WindsockPoolStarving",
        bad={_STARVING: "4x90"},
        good={_STARVING: "0x90"},
        early="9m",
        late="12m",
        told="4 task(s) wait for a slot of pool db.",
        labels=_DB,
    ),
    Case(
        "WindsockPoolStarving",
        Kind.FIRING,
        "the metastore says so too",
        {_STARVING: "0x90", _WAITING: "3x90", _USED: "2x90", _SLOTS: "2x90"},
        "12m",
        (Firing("3 task(s) wait for a slot of pool db.", _DB),),
    ),
    Case(
        "WindsockPoolStarving",
        Kind.SILENT,
        "tasks wait, and not for the pool",
        {_WAITING: "3x90", _USED: "1x90", _SLOTS: "2x90"},
        "12m",
    ),
    Case(
        "WindsockPoolStarving",
        Kind.SILENT,
        "a pool without a limit",
        {_WAITING: "3x90", _USED: "1x90", _SLOTS: "-1x90"},
        "12m",
    ),
    *four(
        "WindsockExecutorNoFreeSlots",
        bad={_OPEN: "0x90", _QUEUED: "3x90"},
        good={_OPEN: "0x90", _QUEUED: "0x90"},
        early="9m",
        late="12m",
        told="LocalExecutor has no free slot for ten minutes; tasks wait.",
        labels=_LOCAL,
    ),
)

SLAS: Final = (
    *four(
        "WindsockSlaMissed",
        bad={_MISSED: "0x30 2x30"},
        good={_MISSED: "0x60", _AT_RISK: "1x60"},
        early="4m",
        late="6m",
        told=(
            "It concerns 2 SLA(s) of etl. `windsock sla list --dag etl --state missed` "
            "says which tasks of which runs, and since when."
        ),
        labels=_ETL,
    ),
    *four(
        "WindsockSlaAtRisk",
        bad={_AT_RISK: "0x30 2x30"},
        good={_AT_RISK: "0x60"},
        early="4m",
        late="6m",
        told=(
            "It concerns 2 SLA(s) of etl. `windsock sla list --dag etl --state open` "
            "says which tasks of which runs, and by when."
        ),
        labels=_ETL,
    ),
)

CASES: Final = (*FRESHNESS, *FAILURES, *QUEUES, *SLAS)
