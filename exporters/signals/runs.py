"""Signals of DAG runs, SLAs and assets."""

from __future__ import annotations

from exporters.signal import Buckets, Label, LegacyForm, Signal
from exporters.signals.rows import AIRFLOW, AIRFLOW_2, AIRFLOW_3, AIRFLOW_3_3, WINDSOCK, counter, gauge, timer

SIGNALS: tuple[Signal, ...] = (
    counter("sla_missed", "Old SLA miss recorded", AIRFLOW_2, labels=(Label.DAG_ID, Label.TASK_ID)),
    counter(
        "sla_callback_notification_failure",
        "Old SLA callback raised",
        AIRFLOW_2,
        labels=(Label.DAG_ID, Label.FUNC_NAME),
    ),
    counter("sla_email_notification_failure", "Old SLA e-mail failed", AIRFLOW_2, labels=(Label.DAG_ID,)),
    counter(
        "dag.callback_exceptions",
        "A dag-level callback raised",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID,),
        note="worker-side task callbacks that raise are only logged",
    ),
    counter("dataset.updates", "Dataset updated", AIRFLOW_2),
    counter("dataset.triggered_dagruns", "Dag run created by datasets", AIRFLOW_2),
    counter("asset.updates", "Asset updated (3.x name)", AIRFLOW_3, labels=(Label.TEAM_NAME,)),
    counter("asset.triggered_dagruns", "Dag run created by assets", AIRFLOW_3, labels=(Label.TEAM_NAME,)),
    gauge("dataset.orphaned", "Datasets no dag refers to", AIRFLOW_2),
    gauge("asset.orphaned", "Assets no dag refers to", AIRFLOW_3),
    timer(
        "dagrun.dependency-check",
        "Time of one scheduling decision for a run",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        legacy=(LegacyForm("dagrun.dependency-check.{dag_id}"),),
    ),
    timer(
        "dagrun.duration.success",
        "Start to success of a run",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        buckets=Buckets.DURATION,
        legacy=(LegacyForm("dagrun.duration.success.{dag_id}"),),
    ),
    timer(
        "dagrun.duration.failed",
        "Start to failure of a run",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        buckets=Buckets.DURATION,
        legacy=(LegacyForm("dagrun.duration.failed.{dag_id}"),),
        note="a second site covers dagrun_timeout",
    ),
    timer(
        "dagrun.schedule_delay",
        "Expected start to actual start of a run",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID,),
        buckets=Buckets.DURATION,
        legacy=(LegacyForm("dagrun.schedule_delay.{dag_id}"),),
    ),
    timer(
        "dagrun.first_task_scheduling_delay",
        "Expected start to first task start, scheduled runs only",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        buckets=Buckets.DURATION,
        legacy=(LegacyForm("dagrun.{dag_id}.first_task_scheduling_delay"),),
        note="3.3.2 sends the legacy name twice",
    ),
    timer(
        "dagrun.first_task_start_delay",
        "Run queued to first task start",
        WINDSOCK | AIRFLOW_3_3,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        buckets=Buckets.DURATION,
    ),
)
