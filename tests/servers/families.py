"""Which families a query asks for, and which there can be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from exporters.catalogue import CATALOGUE, METASTORE, SignalType
from prometheus.rules_by_area import RECORDINGS

FOREIGN: Final[Mapping[str, frozenset[str]]] = {
    "windsock": frozenset(
        {
            "process_start_time_seconds",
            "statsd_exporter_config_reloads_total",
            "statsd_exporter_events_error_total",
            "statsd_exporter_loaded_mappings",
            "statsd_exporter_sample_errors_total",
            "statsd_exporter_series",
            "statsd_exporter_series_limit",
            "statsd_exporter_udp_packet_drops_total",
            "statsd_exporter_udp_packets_total",
        }
    ),
    "prometheus": frozenset(
        {
            "prometheus_config_last_reload_successful",
            "prometheus_notifications_alertmanagers_discovered",
            "prometheus_notifications_dropped_total",
            "prometheus_notifications_errors_total",
            "prometheus_notifications_queue_length",
            "prometheus_rule_evaluation_failures_total",
        }
    ),
    "alertmanager": frozenset(
        {
            "alertmanager_build_info",
            "alertmanager_config_last_reload_successful",
            "alertmanager_notifications_failed_total",
            "alertmanager_notifications_total",
        }
    ),
    "node": frozenset(
        {
            "node_cpu_seconds_total",
            "node_filesystem_avail_bytes",
            "node_filesystem_files",
            "node_filesystem_files_free",
            "node_filesystem_size_bytes",
            "node_load5",
            "node_memory_MemAvailable_bytes",
            "node_memory_MemTotal_bytes",
            "node_timex_offset_seconds",
            "node_timex_sync_status",
            "node_vmstat_oom_kill",
        }
    ),
    "postgres": frozenset(
        {
            "pg_settings_max_connections",
            "pg_stat_activity_count",
            "pg_stat_activity_max_tx_duration",
            "pg_stat_database_deadlocks",
            "pg_up",
        }
    ),
    "mysql": frozenset({"mysql_global_status_threads_connected", "mysql_global_variables_max_connections", "mysql_up"}),
    "redis": frozenset(
        {
            "redis_connected_clients",
            "redis_memory_max_bytes",
            "redis_memory_used_bytes",
            "redis_rejected_connections_total",
            "redis_up",
        }
    ),
    "celery": frozenset(
        {
            "flower_events_total",
            "flower_task_runtime_seconds_bucket",
            "flower_worker_number_of_currently_executing_tasks",
            "flower_worker_online",
        }
    ),
    "blackbox": frozenset(
        {"probe_duration_seconds", "probe_http_status_code", "probe_ssl_earliest_cert_expiry", "probe_success"}
    ),
}
"""Scrape job → the families of its exporter that rules and runbooks ask for."""

EVERYWHERE: Final = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE"})
"""What Prometheus itself adds."""

_NO_FAMILY: Final = (
    re.compile(r'"[^"]*"'),
    re.compile(r"\{[^}]*\}"),
    re.compile(r"\[[^\]]*\]"),
    re.compile(r"\boffset \w+"),
    re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right) *\([^)]*\)"),
)
_NAME: Final = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?! *\(|[\w:])")
_WORDS: Final = frozenset({"and", "or", "unless", "bool", "sum", "min", "max", "count"})


def asked(expression: str) -> set[str]:
    """The families that a query in PromQL names."""
    for pattern in _NO_FAMILY:
        expression = pattern.sub(" ", expression)
    return set(_NAME.findall(expression)) - _WORDS


def statsd_families() -> set[str]:
    """What the mapping can make of StatsD."""
    families: set[str] = set()
    for row in CATALOGUE.values():
        parts = ("_bucket", "_sum", "_count") if row.type is SignalType.TIMER else ("",)
        families |= {row.series_name() + part for part in parts}
    return families


def known_families() -> set[str]:
    """Everything that rules and runbooks may ask for."""
    return {
        *EVERYWHERE,
        *statsd_families(),
        *(row.series_name() for row in METASTORE.values()),
        *(recording.record for recording in RECORDINGS),
        *(family for families in FOREIGN.values() for family in families),
    }
