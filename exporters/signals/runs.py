"""Signals of DAG runs, SLAs and assets."""

from __future__ import annotations

from exporters.signal import Buckets, Emitter, Instead, Label, LegacyForm, Signal
from exporters.signals.rows import (
    AIRFLOW,
    AIRFLOW_2,
    AIRFLOW_3,
    AIRFLOW_3_0,
    AIRFLOW_3_1,
    AIRFLOW_3_2,
    AIRFLOW_3_3,
    WINDSOCK,
    counter,
    gauge,
    timer,
)

SIGNALS: tuple[Signal, ...] = (
    counter(
        "sla_missed",
        "Old SLA miss recorded",
        AIRFLOW_2,
        labels=(Label.DAG_ID, Label.TASK_ID),
        instead=(
            Instead(
                AIRFLOW_3_0 | AIRFLOW_3_1,
                "metastore.last_success_timestamp_seconds",
                "SLAs are gone in 3.0, deadlines came in 3.2",
            ),
            Instead(AIRFLOW_3_2 | AIRFLOW_3_3, "deadline_alerts.deadline_missed", "deadlines came for SLAs"),
        ),
    ),
    counter(
        "sla_callback_notification_failure",
        "Old SLA callback raised",
        AIRFLOW_2,
        labels=(Label.DAG_ID, Label.FUNC_NAME),
        instead=(
            Instead(AIRFLOW_3_0 | AIRFLOW_3_1, "", "SLAs are gone in 3.0"),
            Instead(AIRFLOW_3_2 | AIRFLOW_3_3, "deadline_alerts.callback_failed", "deadlines came for SLAs"),
        ),
    ),
    counter(
        "sla_email_notification_failure",
        "Old SLA e-mail failed",
        AIRFLOW_2,
        labels=(Label.DAG_ID,),
        instead=(Instead(AIRFLOW_3, "", "SLAs are gone in 3.0"),),
    ),
    counter(
        "dag.callback_exceptions",
        "A dag-level callback raised",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID,),
        note="worker-side task callbacks that raise are only logged",
    ),
    counter("dataset.updates", "Dataset updated", AIRFLOW_2, instead=(Instead(AIRFLOW_3, "asset.updates", "renamed"),)),
    counter(
        "dataset.triggered_dagruns",
        "Dag run created by datasets",
        AIRFLOW_2,
        instead=(Instead(AIRFLOW_3, "asset.triggered_dagruns", "renamed"),),
    ),
    counter(
        "asset.updates",
        "Asset updated (3.x name)",
        AIRFLOW_3,
        labels=(Label.TEAM_NAME,),
        instead=(Instead(AIRFLOW_2, "dataset.updates", "renamed"),),
    ),
    counter(
        "asset.triggered_dagruns",
        "Dag run created by assets",
        AIRFLOW_3,
        labels=(Label.TEAM_NAME,),
        instead=(Instead(AIRFLOW_2, "dataset.triggered_dagruns", "renamed"),),
    ),
    gauge(
        "dataset.orphaned",
        "Datasets no dag refers to",
        AIRFLOW_2,
        instead=(Instead(AIRFLOW_3, "asset.orphaned", "renamed"),),
    ),
    gauge(
        "asset.orphaned",
        "Assets no dag refers to",
        AIRFLOW_3,
        instead=(Instead(AIRFLOW_2, "dataset.orphaned", "renamed"),),
    ),
    timer(
        "dagrun.dependency-check",
        "Time of one scheduling decision for a run",
        WINDSOCK | AIRFLOW,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        legacy=(LegacyForm("dagrun.dependency-check.{dag_id}"),),
        stopwatch=AIRFLOW,
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
        legacy=(LegacyForm("dagrun.{dag_id}.first_task_scheduling_delay", twice=AIRFLOW_3_3),),
        note="3.3 sends the dotted name once by hand and once for the registry, so in plain mode its base form is "
        "read, which has no labels",
    ),
    timer(
        "dagrun.first_task_start_delay",
        "Run queued to first task start",
        WINDSOCK | AIRFLOW_3_3,
        labels=(Label.DAG_ID, Label.RUN_TYPE),
        buckets=Buckets.DURATION,
        instead=(
            Instead(
                AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2, "dagrun.first_task_scheduling_delay", "from when it was due"
            ),
        ),
    ),
)
