"""Alerts on what Windsock leans on: PostgreSQL, MySQL, Redis, Celery, and what probes see from outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import increased
from prometheus.spec import Alert, Board, Group, Severity

_MINUTE: Final = timedelta(minutes=1)

DATABASES: Final = (
    Alert(
        name="WindsockPostgresDown",
        expr="pg_up == 0",
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        board=Board.INFRASTRUCTURE,
        summary="PostgreSQL does not answer.",
        description="The PostgreSQL behind {{ $labels.instance }} does not answer: nothing is scheduled.",
    ),
    Alert(
        name="WindsockPostgresConnectionsFull",
        expr="sum by (instance) (pg_stat_activity_count) / max by (instance) (pg_settings_max_connections) > 0.8",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="PostgreSQL has few connections left.",
        description="{{ humanizePercentage $value }} of the connections of {{ $labels.instance }} are in use.",
    ),
    Alert(
        name="WindsockPostgresLongTransaction",
        expr="max by (instance, datname) (pg_stat_activity_max_tx_duration) > seconds(15m)",
        hold=_MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A transaction has been open for long.",
        description="A transaction in {{ $labels.datname }} has been open for {{ humanizeDuration $value }}.",
    ),
    Alert(
        name="WindsockPostgresDeadlocks",
        expr="sum by (instance, datname) (increase(pg_stat_database_deadlocks[10m])) > 0",
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="PostgreSQL broke deadlocks.",
        description="Transactions in {{ $labels.datname }} locked each other out in the last ten minutes.",
    ),
    Alert(
        name="WindsockMysqlDown",
        expr="mysql_up == 0",
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        board=Board.INFRASTRUCTURE,
        summary="MySQL does not answer.",
        description="The MySQL behind {{ $labels.instance }} does not answer: nothing is scheduled.",
    ),
    Alert(
        name="WindsockMysqlConnectionsFull",
        expr=(
            "max by (instance) (mysql_global_status_threads_connected) "
            "/ max by (instance) (mysql_global_variables_max_connections) > 0.8"
        ),
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="MySQL has few connections left.",
        description="{{ humanizePercentage $value }} of the connections of {{ $labels.instance }} are in use.",
    ),
)

WORKERS: Final = (
    Alert(
        name="WindsockRedisDown",
        expr="redis_up == 0",
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        board=Board.WORKERS,
        summary="Redis does not answer.",
        description="The Redis behind {{ $labels.instance }} does not answer: no task reaches a worker.",
    ),
    Alert(
        name="WindsockRedisMemoryFull",
        expr="redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.9",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.WORKERS,
        summary="Redis has little memory left.",
        description="{{ $labels.instance }} uses {{ humanizePercentage $value }} of the memory that it may.",
    ),
    Alert(
        name="WindsockRedisRefusesConnections",
        expr="increase(redis_rejected_connections_total[10m]) > 0",
        severity=Severity.WARNING,
        board=Board.WORKERS,
        summary="Redis refuses connections.",
        description="{{ $labels.instance }} has more clients than its maxclients allows.",
    ),
    Alert(
        name="WindsockCeleryNoWorkers",
        expr='sum(flower_worker_online) == 0 or on () max(up{job="celery"}) == 1 unless on () flower_worker_online',
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.WORKERS,
        summary="No Celery worker is at work.",
        description="Flower sees no Celery worker: no task is started.",
    ),
    Alert(
        name="WindsockCeleryWorkerOffline",
        # Flower hears a worker say good-bye. One that is killed says nothing: its series stays at 1, until Flower
        # forgets it, where it is told to (--purge_offline_workers).
        expr=(
            "flower_worker_online == 0 or "
            'max_over_time(flower_worker_online[1h]) unless flower_worker_online and on () max(up{job="celery"}) == 1'
        ),
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.WORKERS,
        summary="A Celery worker went away.",
        description="Flower no longer sees {{ $labels.worker }}.",
    ),
    Alert(
        name="WindsockCeleryTasksFail",
        expr=increased('flower_events_total{type="task-failed"}', "10m", (), job="celery"),
        severity=Severity.WARNING,
        board=Board.WORKERS,
        summary="Celery tasks fail outside of the task's own process.",
        description='{{ printf "%.0f" $value }} Celery task(s) failed in ten minutes.',
    ),
)

PROBES: Final = (
    Alert(
        name="WindsockProbeFails",
        expr="probe_success == 0",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.INFRASTRUCTURE,
        summary="An address does not answer from outside.",
        description="{{ $labels.instance }} does not answer the probe.",
    ),
    Alert(
        name="WindsockCertificateExpires",
        expr="min by (instance) (probe_ssl_earliest_cert_expiry) - time() < 14 * 86400",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A certificate expires soon.",
        description="The certificate of {{ $labels.instance }} expires in {{ humanizeDuration $value }}.",
    ),
)

GROUPS: Final = (
    Group(name="windsock-databases", rules=DATABASES),
    Group(name="windsock-workers", rules=WORKERS),
    Group(name="windsock-probes", rules=PROBES),
)
