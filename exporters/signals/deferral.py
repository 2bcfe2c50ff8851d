"""Signals of the triggerer and of deadline alerts."""

from __future__ import annotations

from typing import Final

from exporters.signal import Instead, Label, LegacyForm, Signal
from exporters.signals.rows import (
    AIRFLOW,
    AIRFLOW_2,
    AIRFLOW_3,
    AIRFLOW_3_0,
    AIRFLOW_3_1,
    AIRFLOW_3_2,
    AIRFLOW_3_3,
    NEW_IN_3_2,
    counter,
    gauge,
)

_LATE: Final = (
    Instead(AIRFLOW_2, "sla_missed", "SLAs came before deadlines"),
    Instead(AIRFLOW_3_0 | AIRFLOW_3_1, "metastore.last_success_timestamp_seconds", "neither SLAs nor deadlines"),
)
_CALLBACK_FAILED: Final = (
    Instead(AIRFLOW_2, "sla_callback_notification_failure", "SLAs came before deadlines"),
    Instead(AIRFLOW_3_0 | AIRFLOW_3_1, "", "neither SLAs nor deadlines"),
)

SIGNALS: tuple[Signal, ...] = (
    counter("triggerer_heartbeat", "Triggerer heartbeat", AIRFLOW, labels=(Label.TEAM_NAME,)),
    counter("triggers.blocked_main_thread", "A trigger blocked the async loop", AIRFLOW),
    counter("triggers.failed", "Trigger raised before firing", AIRFLOW, labels=(Label.TEAM_NAME,)),
    counter("triggers.succeeded", "Trigger fired", AIRFLOW, labels=(Label.TEAM_NAME,)),
    counter(
        "deadline_alerts.deadline_created",
        "Deadline row created for a run",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.DAG_ID,),
        instead=(NEW_IN_3_2,),
    ),
    counter(
        "deadline_alerts.deadline_missed",
        "Deadline passed and callback was queued",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.DAG_ID,),
        stripped=("dagrun_id",),
        instead=_LATE,
        note="the tag dagrun_id holds the run_id; 3.x strips it by default",
    ),
    counter(
        "deadline_alerts.deadline_not_missed",
        "Deadline row deleted because the run ended in time",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.DAG_ID,),
        stripped=("dagrun_id",),
        instead=(NEW_IN_3_2,),
    ),
    counter(
        "deadline_alerts.callback_success",
        "Triggerer-side deadline callback ended well",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.DAG_ID,),
        stripped=("result", "path", "kwargs"),
        instead=(NEW_IN_3_2,),
        note="not in the registry; free-form tag values",
    ),
    counter(
        "deadline_alerts.callback_failed",
        "Triggerer-side deadline callback failed",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.DAG_ID,),
        stripped=("result", "path", "kwargs"),
        instead=_CALLBACK_FAILED,
        note="not in the registry",
    ),
    gauge(
        "triggers.running",
        "Triggers on one triggerer",
        AIRFLOW,
        labels=(Label.HOSTNAME,),
        legacy=(LegacyForm("triggers.running.{hostname}"),),
    ),
    gauge(
        "triggerer.capacity_left",
        "Free trigger capacity on one triggerer",
        AIRFLOW_3,
        labels=(Label.HOSTNAME,),
        legacy=(LegacyForm("triggerer.capacity_left.{hostname}"),),
        instead=(Instead(AIRFLOW_2, "triggers.running", "what is used instead of what is left"),),
    ),
)
