"""Alerts on the monitoring itself: exporters, Prometheus, Alertmanager. Without these, silence means nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import EXPORTER_JOB, METASTORE_JOB, down, increased, series
from prometheus.spec import Alert, Board, Group, Severity

OPTIONAL_JOBS: Final = ("node", "postgres", "mysql", "redis", "celery", "blackbox")
"""Scrape jobs that not everybody has: nothing is said of one that has no target."""

_MINUTE: Final = timedelta(minutes=1)

# Airflow counts its parse processes down, which no statsd_exporter accepts: that is no loss of the day.
_REFUSED_EVENTS: Final = 'statsd_exporter_events_error_total{reason!="illegal_negative_counter"}'
_LOSSES: Final = " or ".join(
    (
        increased("statsd_exporter_sample_errors_total", "10m", ("reason",)) + " > 0",
        increased(_REFUSED_EVENTS, "10m", ("reason",)) + " > 0",
        (
            "label_replace(sum(increase(statsd_exporter_udp_packet_drops_total[10m])), "
            '"reason", "udp_buffer_full", "", "") > 0'
        ),
    )
)

EXPORTERS: Final = (
    Alert(
        name="WindsockExporterDown",
        expr=down(EXPORTER_JOB),
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        board=Board.OVERVIEW,
        summary="The StatsD exporter cannot be scraped.",
        description="The StatsD exporter {{ $labels.instance }} gives no metrics: rates and latencies are unknown.",
    ),
    Alert(
        name="WindsockMetastoreExporterDown",
        expr=down(METASTORE_JOB),
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        board=Board.OVERVIEW,
        summary="The metastore exporter cannot be scraped.",
        description=(
            "The metastore exporter {{ $labels.instance }} gives no metrics: whether processes live and work is done "
            "is unknown."
        ),
    ),
    Alert(
        name="WindsockMetastoreUnreadable",
        expr=f"{series('metastore.up')} == 0",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.INFRASTRUCTURE,
        summary="The metastore exporter cannot read the metastore.",
        description="The exporter {{ $labels.instance }} has not read the metastore for two minutes.",
    ),
    Alert(
        name="WindsockMetastoreReadSlow",
        expr=f"{series('metastore.read_duration_seconds')} > work(2s)",
        hold=10 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="Reading the metastore takes long.",
        description=(
            'The last read by {{ $labels.instance }} took {{ printf "%.0f" $value }} s; '
            "the database is slow for everybody."
        ),
    ),
    Alert(
        name="WindsockSamplesLost",
        expr=_LOSSES,
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.OVERVIEW,
        summary="The StatsD exporter loses samples.",
        description='{{ printf "%.0f" $value }} sample(s) were lost in ten minutes ({{ $labels.reason }}).',
    ),
    Alert(
        name="WindsockSeriesLimitNear",
        expr="statsd_exporter_series / statsd_exporter_series_limit > 0.9",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.OVERVIEW,
        summary="The StatsD exporter nearly holds as many series as it may.",
        description="{{ $labels.instance }} holds {{ humanizePercentage $value }} of the series that it may.",
    ),
    Alert(
        name="WindsockMappingReloadFailed",
        expr=increased('statsd_exporter_config_reloads_total{outcome="failure"}', "10m", ("instance",)),
        severity=Severity.WARNING,
        board=Board.OVERVIEW,
        summary="The StatsD exporter refused a new mapping.",
        description="{{ $labels.instance }} could not load its mapping and goes on with the one before.",
    ),
    Alert(
        name="WindsockSenderDropsLines",
        expr=increased(series("statsd.lines_dropped"), "10m", ("reason",)),
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.OVERVIEW,
        summary="A process cannot send its metrics.",
        description='{{ printf "%.0f" $value }} line(s) of StatsD could not be sent in ten minutes '
        "({{ $labels.reason }}).",
    ),
    Alert(
        name="WindsockTargetDown",
        expr=f'up{{job=~"{"|".join(OPTIONAL_JOBS)}"}} == 0',
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="An exporter of the infrastructure cannot be scraped.",
        description="The {{ $labels.job }} exporter {{ $labels.instance }} gives no metrics.",
    ),
)

ALERTING_PATH: Final = (
    Alert(
        name="WindsockAlertmanagerDown",
        # An Alertmanager may be scraped by a job of any name.
        expr=f"{down('alertmanager')} unless on () alertmanager_build_info",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.ALERTS,
        summary="Alertmanager cannot be scraped.",
        description="Alertmanager {{ $labels.instance }} does not answer: alerts of Prometheus reach nobody.",
    ),
    Alert(
        name="WindsockPrometheusWithoutAlertmanager",
        expr="prometheus_notifications_alertmanagers_discovered < 1",
        hold=5 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.ALERTS,
        summary="Prometheus knows no Alertmanager.",
        description="Prometheus {{ $labels.instance }} has nobody to send alerts to.",
    ),
    Alert(
        name="WindsockPrometheusDropsAlerts",
        # Who starts both drops what is sent before Alertmanager listens; it is sent again each minute. So the first two
        # minutes are in no window. What is dropped after them, or for longer, is seen.
        expr=(
            "increase(prometheus_notifications_dropped_total[5m]) > 0 "
            "unless on (job, instance) time() - process_start_time_seconds < seconds(7m)"
        ),
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="Prometheus could not hand over alerts.",
        description="Prometheus {{ $labels.instance }} dropped alerts that no Alertmanager took.",
    ),
    Alert(
        name="WindsockNotificationsFail",
        expr="sum by (instance, integration) (increase(alertmanager_notifications_failed_total[5m])) > 0",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.ALERTS,
        summary="Alertmanager cannot notify.",
        description="Notifications by {{ $labels.integration }} fail: who should hear of alerts does not.",
    ),
    Alert(
        name="WindsockMonitoringConfigRejected",
        expr="prometheus_config_last_reload_successful == 0 or alertmanager_config_last_reload_successful == 0",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="A new configuration was rejected.",
        description="The {{ $labels.job }} {{ $labels.instance }} goes on with the configuration before.",
    ),
    Alert(
        name="WindsockAlertingConfigRejected",
        expr=f"{series('alerts.config_ok')} == 0",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="A notifier refused alerting.yml.",
        description="Alerts go by the alerting.yml that was read before, or by the settings where none was.",
    ),
    Alert(
        name="WindsockRuleFailures",
        expr="sum by (instance) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="Rules cannot be evaluated.",
        description="Prometheus {{ $labels.instance }} fails to evaluate rules: their alerts cannot fire.",
    ),
    Alert(
        name="WindsockWatchdog",
        expr="vector(1)",
        severity=Severity.INFO,
        board=Board.ALERTS,
        summary="The alerting path works.",
        description="This alert always fires. Whoever receives it should complain when it stops.",
    ),
)

GROUPS: Final = (
    Group(name="windsock-exporters", rules=EXPORTERS),
    Group(name="windsock-alerting-path", rules=ALERTING_PATH),
)
