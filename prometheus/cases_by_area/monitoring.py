"""Cases of the alerts on exporters, Prometheus and Alertmanager."""

from __future__ import annotations

from typing import Final

from prometheus.case import SCRAPED, Case, Firing, Kind, exported, four, grown


def _target(alert: str, job: str, told: str, early: str) -> tuple[Case, ...]:
    """Down, just gone, up, no target at all. `told` has @ where the instance is named."""
    up = f'up{{job="{job}",instance="x:1"}}'
    by_job = {"job": job}
    firing = Firing(told.replace("@", "x:1"), by_job | {"instance": "x:1"})
    return (
        Case(alert, Kind.FIRING, "it does not answer", {up: "1x30 0x60"}, "12m", (firing,)),
        Case(alert, Kind.NOT_YET, "it has just gone", {up: "1x30 0x60"}, early),
        Case(alert, Kind.SILENT, "it answers", {up: "1x90"}, "12m"),
        Case(alert, Kind.MISSING, "it is no target at all", {}, "5m", (Firing(told.replace("@", ""), by_job),)),
    )


_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'
_X_METASTORE: Final = {"job": "windsock-metastore", "instance": "x:9103"}
_PROMETHEUS: Final = 'job="prometheus",instance="x:9090"'
_X_PROMETHEUS: Final = {"job": "prometheus", "instance": "x:9090"}
_BAD: Final = exported("statsd_exporter_sample_errors_total", 'reason="malformed_line"')
_LIMITED: Final = exported("statsd_exporter_events_error_total", 'reason="series_limit"')
_NEGATIVE: Final = exported("statsd_exporter_events_error_total", 'reason="illegal_negative_counter"')
_DROPS: Final = exported("statsd_exporter_udp_packet_drops_total")
_UP: Final = f"airflow_metastore_up{{{_METASTORE}}}"
_READ: Final = f"airflow_metastore_read_duration_seconds{{{_METASTORE}}}"
_HELD: Final = exported("statsd_exporter_series")
_MAY: Final = exported("statsd_exporter_series_limit")
_NODE: Final = 'up{job="node",instance="x:9100"}'
_KNOWN: Final = f"prometheus_notifications_alertmanagers_discovered{{{_PROMETHEUS}}}"
_STARTED: Final = f"process_start_time_seconds{{{_PROMETHEUS}}}"
_DROPPED: Final = f"prometheus_notifications_dropped_total{{{_PROMETHEUS}}}"
_FAILED: Final = 'alertmanager_notifications_failed_total{job="alertmanager",instance="x:9093",integration="webhook"}'
_LOADED: Final = f"prometheus_config_last_reload_successful{{{_PROMETHEUS}}}"
_RULES: Final = f'prometheus_rule_evaluation_failures_total{{{_PROMETHEUS},rule_group="g"}}'

EXPORTERS: Final = (
    *_target(
        "WindsockExporterDown",
        "windsock",
        "The StatsD exporter @ gives no metrics: rates and latencies are unknown.",
        "5m40s",
    ),
    *_target(
        "WindsockMetastoreExporterDown",
        "windsock-metastore",
        "The metastore exporter @ gives no metrics: whether processes live and work is done is unknown.",
        "5m40s",
    ),
    *four(
        "WindsockMetastoreUnreadable",
        bad={_UP: "1x6 0x60"},
        good={_UP: "1x66"},
        early="2m30s",
        late="6m",
        told="The exporter x:9103 has not read the metastore for two minutes.",
        labels=_X_METASTORE,
    ),
    *four(
        "WindsockMetastoreReadSlow",
        bad={_READ: "4x120"},
        good={_READ: "1x120"},
        early="9m",
        late="12m",
        told="The last read by x:9103 took 4 s; the database is slow for everybody.",
        labels=_X_METASTORE,
    ),
    *grown(
        "WindsockSamplesLost",
        _BAD,
        told="7 sample(s) were lost in ten minutes (malformed_line).",
        labels={"reason": "malformed_line"},
        early="17m",
    ),
    Case(
        "WindsockSamplesLost",
        Kind.FIRING,
        "the series cap is reached",
        {**SCRAPED, _LIMITED: "_x90 7x60"},
        "21m",
        (Firing("7 sample(s) were lost in ten minutes (series_limit).", {"reason": "series_limit"}),),
    ),
    Case(
        "WindsockSamplesLost",
        Kind.FIRING,
        "the kernel's buffer was full",
        {**SCRAPED, _DROPS: "0x90 600x60"},
        "21m",
        (Firing("600 sample(s) were lost in ten minutes (udp_buffer_full).", {"reason": "udp_buffer_full"}),),
    ),
    Case(
        "WindsockSamplesLost",
        Kind.SILENT,
        "Airflow counts processes down",
        {**SCRAPED, _NEGATIVE: "0+1x200"},
        "25m",
    ),
    Case("WindsockSamplesLost", Kind.SILENT, "no drops", {**SCRAPED, _DROPS: "5x200"}, "25m"),
    *four(
        "WindsockSeriesLimitNear",
        bad={_HELD: "95x60", _MAY: "100x60"},
        good={_HELD: "85x60", _MAY: "100x60"},
        early="4m",
        late="6m",
        told="x:9102 holds 95% of the series that it may.",
        labels={"job": "windsock", "instance": "x:9102"},
        missing={_HELD: "95x60"},  # prom/statsd_exporter has no limit
    ),
    *grown(
        "WindsockMappingReloadFailed",
        exported("statsd_exporter_config_reloads_total", 'outcome="failure"'),
        told="x:9102 could not load its mapping and goes on with the one before.",
        labels={"instance": "x:9102"},
        early="14m",
    ),
    *grown(
        "WindsockSenderDropsLines",
        exported("airflow_statsd_lines_dropped", 'reason="unreachable"'),
        told="7 line(s) of StatsD could not be sent in ten minutes (unreachable).",
        labels={"reason": "unreachable"},
        early="17m",
    ),
    *four(
        "WindsockTargetDown",
        bad={_NODE: "1x6 0x60"},
        good={_NODE: "1x66"},
        early="5m30s",
        late="8m",
        told="The node exporter x:9100 gives no metrics.",
        labels={"job": "node", "instance": "x:9100"},
    ),
)

ALERTING_PATH: Final = (
    *_target(
        "WindsockAlertmanagerDown",
        "alertmanager",
        "Alertmanager @ does not answer: alerts of Prometheus reach nobody.",
        "6m40s",
    ),
    Case(
        "WindsockAlertmanagerDown",
        Kind.SILENT,
        "it is scraped by a job of another name",
        {'alertmanager_build_info{job="alerts",instance="x:9093"}': "1x90"},
        "10m",
    ),
    *four(
        "WindsockPrometheusWithoutAlertmanager",
        bad={_KNOWN: "1x6 0x60"},
        good={_KNOWN: "1x66"},
        early="5m30s",
        late="8m",
        told="Prometheus x:9090 has nobody to send alerts to.",
        labels=_X_PROMETHEUS,
    ),
    *four(
        "WindsockPrometheusDropsAlerts",
        bad={_DROPPED: "0x6 0+1x60", _STARTED: "-86400x66"},
        good={_DROPPED: "4x66", _STARTED: "-86400x66"},
        early="2m30s",
        late="6m",
        told="Prometheus x:9090 dropped alerts that no Alertmanager took.",
        labels=_X_PROMETHEUS,
    ),
    Case(
        "WindsockPrometheusDropsAlerts",
        Kind.SILENT,
        "Alertmanager started after Prometheus",
        {_DROPPED: "0x2 3x120", _STARTED: "0x120"},
        "9m30s",
    ),
    Case(
        "WindsockPrometheusDropsAlerts",
        Kind.FIRING,
        "no Alertmanager took anything since Prometheus' start",
        {_DROPPED: "0+1x120", _STARTED: "0x120"},
        "9m30s",
        (Firing("Prometheus x:9090 dropped alerts that no Alertmanager took.", _X_PROMETHEUS),),
    ),
    Case(
        "WindsockPrometheusDropsAlerts",
        Kind.FIRING,
        "nobody knows when Prometheus started",
        {_DROPPED: "0x6 0+1x60"},
        "6m",
        (Firing("Prometheus x:9090 dropped alerts that no Alertmanager took.", _X_PROMETHEUS),),
    ),
    *four(
        "WindsockNotificationsFail",
        bad={_FAILED: "0x6 0+1x60"},
        good={_FAILED: "4x66"},
        early="2m30s",
        late="6m",
        told="Notifications by webhook fail: who should hear of alerts does not.",
        labels={"instance": "x:9093", "integration": "webhook"},
    ),
    *four(
        "WindsockMonitoringConfigRejected",
        bad={_LOADED: "1x6 0x60"},
        good={_LOADED: "1x66"},
        early="2m30s",
        late="6m",
        told="The prometheus x:9090 goes on with the configuration before.",
        labels=_X_PROMETHEUS,
    ),
    Case(
        "WindsockMonitoringConfigRejected",
        Kind.FIRING,
        "Alertmanager's",
        {'alertmanager_config_last_reload_successful{job="alertmanager",instance="x:9093"}': "0x60"},
        "6m",
        (
            Firing(
                "The alertmanager x:9093 goes on with the configuration before.",
                {"job": "alertmanager", "instance": "x:9093"},
            ),
        ),
    ),
    *four(
        "WindsockAlertingConfigRejected",
        bad={exported("airflow_alerts_config_ok"): "1x6 0x60"},
        good={exported("airflow_alerts_config_ok"): "1x66"},
        early="2m30s",
        late="6m",
        told="Alerts go by the alerting.yml that was read before, or by the settings where none was.",
        labels={"job": "windsock", "instance": "x:9102"},
    ),
    *four(
        "WindsockRuleFailures",
        bad={_RULES: "0x6 0+1x60"},
        good={_RULES: "4x66"},
        early="2m30s",
        late="6m",
        told="Prometheus x:9090 fails to evaluate rules: their alerts cannot fire.",
        labels={"instance": "x:9090"},
    ),
    Case(
        "WindsockWatchdog",
        Kind.FIRING,
        "always",
        {},
        "1m",
        (Firing("This alert always fires. Whoever receives it should complain when it stops."),),
    ),
)

CASES: Final = (*EXPORTERS, *ALERTING_PATH)
