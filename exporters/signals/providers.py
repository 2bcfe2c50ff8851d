"""Signals of Airflow providers: Celery, Kubernetes, Edge, AWS, OpenLineage; only the newest was read."""

from __future__ import annotations

from exporters.signal import Label, LegacyForm, Signal, Unit
from exporters.signals.rows import AIRFLOW_3_3, NOBODY, counter, gauge, timer

SIGNALS: tuple[Signal, ...] = (
    counter(
        "celery.task_timeout_error",
        "Publishing to the broker timed out",
        AIRFLOW_3_3,
        labels=(Label.TEAM_NAME,),
    ),
    counter("celery.execute_command.failure", "Celery command exited non-zero", AIRFLOW_3_3),
    counter("ol.emit.failed", "OpenLineage event could not be sent", AIRFLOW_3_3, labels=(Label.TEAM_NAME,)),
    counter(
        "edge_worker.heartbeat_count",
        "Edge worker heartbeat",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        legacy=(LegacyForm("edge_worker.heartbeat_count.{worker_name}"),),
    ),
    counter(
        "edge_worker.ti.start",
        "Task began on an edge worker",
        AIRFLOW_3_3,
        labels=(Label.QUEUE, Label.DAG_ID, Label.TASK_ID),
        legacy=(LegacyForm("edge_worker.ti.start.{queue}.{dag_id}.{task_id}"),),
    ),
    counter(
        "edge_worker.ti.finish",
        "Task ended on an edge worker",
        AIRFLOW_3_3,
        labels=(Label.QUEUE, Label.STATE, Label.DAG_ID, Label.TASK_ID),
        legacy=(LegacyForm("edge_worker.ti.finish.{queue}.{state}.{dag_id}.{task_id}"),),
    ),
    counter(
        "kubernetes_executor.pod_creation_status",
        "Create-pod API calls by HTTP status (200, error code, or error)",
        AIRFLOW_3_3,
        labels=(Label.STATUS, Label.TEAM_NAME),
    ),
    counter(
        "kubernetes_executor.pod_deletion_status",
        "Delete-pod API calls by HTTP status",
        AIRFLOW_3_3,
        labels=(Label.STATUS, Label.TEAM_NAME),
    ),
    counter(
        "kubernetes_executor.pod_patching_status",
        "Patch-pod API calls by HTTP status",
        AIRFLOW_3_3,
        labels=(Label.STATUS, Label.TEAM_NAME),
    ),
    gauge(
        "ol.event.size",
        "Bytes of an OpenLineage event",
        AIRFLOW_3_3,
        labels=(Label.EVENT_TYPE, Label.OPERATOR_NAME),
        unit=Unit.BYTES,
        legacy=(LegacyForm("ol.event.size.{event_type}.{operator_name}"),),
    ),
    gauge(
        "edge_worker.status",
        "Worker state as a log-level number",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        unit=Unit.STATE,
        legacy=(LegacyForm("edge_worker.status.{worker_name}"),),
    ),
    gauge(
        "edge_worker.connected",
        "1 when connected",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        unit=Unit.STATE,
        legacy=(LegacyForm("edge_worker.connected.{worker_name}"),),
    ),
    gauge(
        "edge_worker.maintenance",
        "1 in maintenance",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        unit=Unit.STATE,
        legacy=(LegacyForm("edge_worker.maintenance.{worker_name}"),),
    ),
    gauge(
        "edge_worker.jobs_active",
        "Jobs running",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        legacy=(LegacyForm("edge_worker.jobs_active.{worker_name}"),),
    ),
    gauge(
        "edge_worker.concurrency",
        "Configured slots",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        legacy=(LegacyForm("edge_worker.concurrency.{worker_name}"),),
    ),
    gauge(
        "edge_worker.free_concurrency",
        "Free slots",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        legacy=(LegacyForm("edge_worker.free_concurrency.{worker_name}"),),
    ),
    gauge(
        "edge_worker.num_queues",
        "Queues served",
        AIRFLOW_3_3,
        labels=(Label.WORKER_NAME,),
        legacy=(LegacyForm("edge_worker.num_queues.{worker_name}"),),
    ),
    gauge(
        "kubernetes_executor.pod_creation_batch_size",
        "Pods created in one batch",
        AIRFLOW_3_3,
        note="not in the registry",
    ),
    timer(
        "kubernetes_executor.adopt_task_instances.duration",
        "Pod adoption",
        AIRFLOW_3_3,
        labels=(Label.TEAM_NAME,),
    ),
    timer(
        "kubernetes_executor.clear_not_launched_queued_tasks.duration",
        "Old cleanup of unlaunched pods",
        NOBODY,
        note="gone from provider 10.25 and from the 3.3 registry",
    ),
    timer("kubernetes_executor.pod_creation", "API call time", AIRFLOW_3_3, labels=(Label.TEAM_NAME,)),
    timer("kubernetes_executor.pod_deletion", "API call time", AIRFLOW_3_3, labels=(Label.TEAM_NAME,)),
    timer("kubernetes_executor.pod_patching", "API call time", AIRFLOW_3_3, labels=(Label.TEAM_NAME,)),
    timer(
        "kubernetes_executor.pod_creation_batch_duration",
        "Batch of pod creations",
        AIRFLOW_3_3,
        note="not in the registry",
    ),
    timer(
        "batch_executor.adopt_task_instances.duration",
        "Task adoption",
        AIRFLOW_3_3,
        labels=(Label.TEAM_NAME,),
    ),
    timer(
        "ecs_executor.adopt_task_instances.duration", "Task adoption", AIRFLOW_3_3, labels=(Label.TEAM_NAME,)
    ),
    timer(
        "lambda_executor.adopt_task_instances.duration",
        "Task adoption",
        AIRFLOW_3_3,
        labels=(Label.TEAM_NAME,),
    ),
    timer("edge_executor.sync.duration", "One edge executor sync", AIRFLOW_3_3, labels=(Label.TEAM_NAME,)),
    timer(
        "ol.emit.attempts",
        "One send attempt",
        AIRFLOW_3_3,
        labels=(Label.EVENT_TYPE, Label.TRANSPORT_TYPE),
        legacy=(LegacyForm("ol.emit.attempts.{event_type}.{transport_type}"),),
    ),
    timer(
        "ol.extract",
        "Metadata extraction",
        AIRFLOW_3_3,
        labels=(Label.EVENT_TYPE, Label.OPERATOR_NAME),
        legacy=(LegacyForm("ol.extract.{event_type}.{operator_name}"),),
    ),
)
