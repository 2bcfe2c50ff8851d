"""Signals of slots and queues: executors, pools, task instances by state."""

from __future__ import annotations

from typing import Final

from exporters.signal import Emitter, Instead, Label, LegacyForm, Signal
from exporters.signals.rows import (
    AIRFLOW,
    AIRFLOW_2,
    AIRFLOW_3,
    AIRFLOW_3_0,
    AIRFLOW_3_1,
    AIRFLOW_3_2,
    AIRFLOW_3_3,
    WINDSOCK,
    gauge,
)

_BEFORE_3_3: Final = Emitter.AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2
_BEFORE_3_2: Final = AIRFLOW_2 | AIRFLOW_3_0 | AIRFLOW_3_1
_PER_POOL: Final = "per pool instead of per task"

SIGNALS: tuple[Signal, ...] = (
    gauge(
        "executor.open_slots",
        "Free executor slots = parallelism minus running set",
        WINDSOCK | AIRFLOW,
        labels=(Label.STATUS, Label.EXECUTOR_CLASS_NAME),
        legacy=(LegacyForm("executor.open_slots.{executor_class_name}", sometimes=_BEFORE_3_3, replacing=AIRFLOW),),
        old_labels=(("name", Label.EXECUTOR_CLASS_NAME),),
        note="can be negative; with several executors only the dotted form is sent, in every version",
    ),
    gauge(
        "executor.queued_tasks",
        "Tasks the executor has not started",
        WINDSOCK | AIRFLOW,
        labels=(Label.STATUS, Label.EXECUTOR_CLASS_NAME),
        legacy=(LegacyForm("executor.queued_tasks.{executor_class_name}", sometimes=_BEFORE_3_3, replacing=AIRFLOW),),
        old_labels=(("name", Label.EXECUTOR_CLASS_NAME),),
    ),
    gauge(
        "executor.running_tasks",
        "Tasks in the executor running set",
        WINDSOCK | AIRFLOW,
        labels=(Label.STATUS, Label.EXECUTOR_CLASS_NAME),
        legacy=(LegacyForm("executor.running_tasks.{executor_class_name}", sometimes=_BEFORE_3_3, replacing=AIRFLOW),),
        old_labels=(("name", Label.EXECUTOR_CLASS_NAME),),
    ),
    gauge(
        "pool.open_slots",
        "Free pool slots",
        WINDSOCK | AIRFLOW,
        labels=(Label.POOL_NAME,),
        legacy=(LegacyForm("pool.open_slots.{pool_name}"),),
        note="may be negative after a shrink",
    ),
    gauge(
        "pool.queued_slots",
        "Slots of queued tasks",
        WINDSOCK | AIRFLOW,
        labels=(Label.POOL_NAME,),
        legacy=(LegacyForm("pool.queued_slots.{pool_name}"),),
    ),
    gauge(
        "pool.running_slots",
        "Slots of running tasks",
        WINDSOCK | AIRFLOW,
        labels=(Label.POOL_NAME,),
        legacy=(LegacyForm("pool.running_slots.{pool_name}"),),
    ),
    gauge(
        "pool.deferred_slots",
        "Slots of deferred tasks",
        AIRFLOW,
        labels=(Label.POOL_NAME,),
        legacy=(LegacyForm("pool.deferred_slots.{pool_name}"),),
    ),
    gauge(
        "pool.scheduled_slots",
        "Slots of scheduled tasks",
        WINDSOCK | AIRFLOW,
        labels=(Label.POOL_NAME,),
        legacy=(LegacyForm("pool.scheduled_slots.{pool_name}"),),
    ),
    gauge(
        "pool.starving_tasks",
        "Tasks of this pool that found no slot",
        WINDSOCK | AIRFLOW,
        labels=(Label.POOL_NAME,),
        legacy=(LegacyForm("pool.starving_tasks.{pool_name}"),),
    ),
    gauge(
        "ti.running",
        "Running task instances counted in the DB",
        WINDSOCK | AIRFLOW_3,
        labels=(Label.QUEUE, Label.DAG_ID, Label.TASK_ID),
        legacy=(LegacyForm("ti.running.{queue}.{dag_id}.{task_id}"),),
        instead=(Instead(AIRFLOW_2, "pool.running_slots", _PER_POOL),),
        note="vanished keys are sent once as 0",
    ),
    gauge(
        "ti.scheduled",
        "Scheduled task instances counted in the DB",
        WINDSOCK | AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.QUEUE, Label.DAG_ID, Label.TASK_ID),
        legacy=(LegacyForm("ti.scheduled.{queue}.{dag_id}.{task_id}"),),
        instead=(Instead(_BEFORE_3_2, "pool.scheduled_slots", _PER_POOL),),
    ),
    gauge(
        "ti.queued",
        "Queued task instances counted in the DB",
        WINDSOCK | AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.QUEUE, Label.DAG_ID, Label.TASK_ID),
        legacy=(LegacyForm("ti.queued.{queue}.{dag_id}.{task_id}"),),
        instead=(Instead(_BEFORE_3_2, "pool.queued_slots", _PER_POOL),),
    ),
    gauge(
        "ti.deferred",
        "Deferred task instances counted in the DB",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.QUEUE, Label.DAG_ID, Label.TASK_ID),
        legacy=(LegacyForm("ti.deferred.{queue}.{dag_id}.{task_id}"),),
        instead=(Instead(_BEFORE_3_2, "pool.deferred_slots", _PER_POOL),),
    ),
)
