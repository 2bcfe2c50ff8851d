"""The series of other programs that the boards show, by scrape job: what their standard exporters call them.

A board cannot ask for a name that is not here (`promql.third_party`), so this table is what a check against a real
exporter has to compare with. Versions: node 1.5, postgres 0.11, mysqld 0.14, redis 1.45, blackbox 0.23 (Debian 12),
Flower 2, Prometheus 2.42, Alertmanager 0.25, and the StatsD exporter's own telemetry under statsd_exporter's names.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY_TARGET: Final = ("up", "process_start_time_seconds")
"""What Prometheus, or nearly every client library, gives for each target."""

THIRD_PARTY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "windsock": ("statsd_exporter_lines_total",),
        "prometheus": (
            "prometheus_notifications_dropped_total",
            "prometheus_notifications_errors_total",
            "prometheus_rule_evaluation_failures_total",
        ),
        "alertmanager": (
            "alertmanager_notifications_total",
            "alertmanager_notifications_failed_total",
        ),
        "node": (
            "node_cpu_seconds_total",
            "node_load1",
            "node_memory_MemAvailable_bytes",
            "node_memory_MemTotal_bytes",
            "node_filesystem_avail_bytes",
            "node_filesystem_size_bytes",
            "node_disk_io_time_seconds_total",
            "node_network_receive_bytes_total",
            "node_network_transmit_bytes_total",
        ),
        "postgres": (
            "pg_up",
            "pg_stat_database_numbackends",
            "pg_settings_max_connections",
            "pg_stat_database_xact_commit",
            "pg_stat_database_xact_rollback",
            "pg_stat_database_deadlocks",
            "pg_stat_activity_max_tx_duration",
            "pg_database_size_bytes",
        ),
        "mysql": (
            "mysql_up",
            "mysql_global_status_threads_connected",
            "mysql_global_variables_max_connections",
            "mysql_global_status_queries",
            "mysql_global_status_slow_queries",
            "mysql_global_status_innodb_row_lock_waits",
        ),
        "redis": (
            "redis_up",
            "redis_connected_clients",
            "redis_memory_used_bytes",
            "redis_memory_max_bytes",
            "redis_commands_processed_total",
        ),
        "blackbox": (
            "probe_success",
            "probe_duration_seconds",
            "probe_ssl_earliest_cert_expiry",
        ),
        "celery": (
            "flower_worker_online",
            "flower_worker_number_of_currently_executing_tasks",
            "flower_worker_prefetched_tasks",
            "flower_events_total",
            "flower_task_runtime_seconds",
        ),
    }
)
