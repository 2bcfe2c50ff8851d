"""The four golden signals of an orchestrator, kept as series: latency, traffic, errors, saturation.

They page nobody by themselves; boards show them, and `slo` and `work` alert on what they mean.
"""

from __future__ import annotations

from typing import Final

from prometheus.promql import increased, mean, quantile, series
from prometheus.spec import Group, Recording

LATENCY: Final = (
    Recording(
        record="windsock:schedule_delay_seconds:p95_10m",
        expr=quantile(0.95, series("dagrun.schedule_delay"), "10m"),
    ),
    Recording(
        record="windsock:queue_to_run_seconds:p95_10m",
        expr=quantile(0.95, series("task.queued_duration"), "10m"),
    ),
    Recording(
        record="windsock:scheduler_loop_seconds:p95_10m",
        expr=quantile(0.95, series("scheduler.scheduler_loop_duration"), "10m"),
    ),
    Recording(
        record="dag_task:task_duration_seconds:mean1h",
        expr=mean(series("task.duration"), "1h", ("dag_id", "task_id")),
    ),
)

TRAFFIC: Final = (
    Recording(record="windsock:tasks_started:rate5m", expr=f"sum(rate({series('ti.start')}[5m]))"),
    Recording(record="windsock:tasks_finished:rate5m", expr=f"sum by (state) (rate({series('ti.finish')}[5m]))"),
    Recording(record="windsock:pool_open_slots:sum", expr=f"sum(max by (pool_name) ({series('pool.open_slots')}))"),
    Recording(record="windsock:scheduler_heartbeat:rate2m", expr=f"sum(rate({series('scheduler_heartbeat')}[2m]))"),
)

ERRORS: Final = (
    Recording(
        record="dag_task:ti_failures:increase10m",
        # Airflow's plain lines of ti_failures name no task; those of ti.finish do.
        expr=(
            increased(series("ti_failures") + '{dag_id!=""}', "10m", ("dag_id", "task_id"))
            + " or "
            + increased(series("ti.finish") + '{state=~"failed|up_for_retry"}', "10m", ("dag_id", "task_id"))
        ),
    ),
    Recording(
        record="dag_task:ti_successes:increase10m",
        expr=increased(series("ti_successes"), "10m", ("dag_id", "task_id")),
    ),
)

SATURATION: Final = (
    Recording(
        record="executor:open_slots:min",
        expr=f"min by (executor_class_name) ({series('executor.open_slots')})",
    ),
    Recording(
        record="executor:used_slots:ratio",
        expr=(
            f"max by (executor_class_name) ({series('executor.running_tasks')}) / "
            f"(max by (executor_class_name) ({series('executor.running_tasks')}) "
            f"+ max by (executor_class_name) ({series('executor.open_slots')}) > 0)"
        ),
    ),
    Recording(
        record="pool:used_slots:ratio",
        expr=(
            f"max by (pool_name) ({series('metastore.pool_used_slots')}) "
            f"/ (max by (pool_name) ({series('metastore.pool_slots')}) > 0)"
        ),
    ),
)

GROUPS: Final = (Group(name="windsock-golden-signals", rules=(*LATENCY, *TRAFFIC, *ERRORS, *SATURATION)),)
