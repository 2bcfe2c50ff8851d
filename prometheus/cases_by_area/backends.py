"""Cases of the alerts on databases, workers and probes."""

from __future__ import annotations

from typing import Final

from prometheus.case import Case, Firing, Kind, four


def _at(job: str) -> dict[str, str]:
    return {"job": job, "instance": "x:1"}


def _series(name: str, job: str, labels: str = "") -> str:
    return f'{name}{{job="{job}",instance="x:1"{"," if labels else ""}{labels}}}'


def _down(alert: str, family: str, job: str, told: str) -> tuple[Case, ...]:
    """Its exporter says that it does not answer; without the exporter nothing is said."""
    up = _series(family, job)
    return four(alert, bad={up: "1x6 0x60"}, good={up: "1x66"}, early="1m30s", late="4m", told=told, labels=_at(job))


_INSTANCE: Final = {"instance": "x:1"}
_DB: Final = _INSTANCE | {"datname": "windsock"}
_PG_USED: Final = _series("pg_stat_activity_count", "postgres", 'datname="windsock",state="idle"')
_PG_ACTIVE: Final = _series("pg_stat_activity_count", "postgres", 'datname="windsock",state="active"')
_PG_MAX: Final = _series("pg_settings_max_connections", "postgres")
_PG_TX: Final = _series("pg_stat_activity_max_tx_duration", "postgres", 'datname="windsock",state="idle"')
_PG_DEADLOCKS: Final = _series("pg_stat_database_deadlocks", "postgres", 'datname="windsock"')
_MY_USED: Final = _series("mysql_global_status_threads_connected", "mysql")
_MY_MAX: Final = _series("mysql_global_variables_max_connections", "mysql")
_REDIS_USED: Final = _series("redis_memory_used_bytes", "redis")
_REDIS_MAX: Final = _series("redis_memory_max_bytes", "redis")
_REDIS_REFUSED: Final = _series("redis_rejected_connections_total", "redis")
_FLOWER: Final = _series("up", "celery")
_WORKER: Final = _series("flower_worker_online", "celery", 'worker="a"')
_OTHER_WORKER: Final = _series("flower_worker_online", "celery", 'worker="b"')
_FAILED: Final = _series("flower_events_total", "celery", 'worker="a",task="run",type="task-failed"')
_PROBE: Final = _series("probe_success", "blackbox")
_EXPIRY: Final = _series("probe_ssl_earliest_cert_expiry", "blackbox")

DATABASES: Final = (
    *_down(
        "WindsockPostgresDown",
        "pg_up",
        "postgres",
        "The PostgreSQL behind x:1 does not answer: nothing is scheduled.",
    ),
    *four(
        "WindsockPostgresConnectionsFull",
        bad={_PG_USED: "60x60", _PG_ACTIVE: "30x60", _PG_MAX: "100x60"},
        good={_PG_USED: "20x60", _PG_ACTIVE: "30x60", _PG_MAX: "100x60"},
        early="4m",
        late="7m",
        told="90% of the connections of x:1 are in use.",
        labels=_INSTANCE,
    ),
    *four(
        "WindsockPostgresLongTransaction",
        bad={_PG_TX: "0+10x150"},
        good={_PG_TX: "5x150"},
        early="15m30s",
        late="20m",
        told="A transaction in windsock has been open for 20m 0s.",
        labels=_DB,
    ),
    *four(
        "WindsockPostgresDeadlocks",
        bad={_PG_DEADLOCKS: "0x30 1x60"},
        good={_PG_DEADLOCKS: "7x90"},
        early="4m",
        late="7m",
        told="Transactions in windsock locked each other out in the last ten minutes.",
        labels=_DB,
    ),
    *_down("WindsockMysqlDown", "mysql_up", "mysql", "The MySQL behind x:1 does not answer: nothing is scheduled."),
    *four(
        "WindsockMysqlConnectionsFull",
        bad={_MY_USED: "140x60", _MY_MAX: "151x60"},
        good={_MY_USED: "10x60", _MY_MAX: "151x60"},
        early="4m",
        late="7m",
        told="92.72% of the connections of x:1 are in use.",
        labels=_INSTANCE,
    ),
)

WORKERS: Final = (
    *_down("WindsockRedisDown", "redis_up", "redis", "The Redis behind x:1 does not answer: no task reaches a worker."),
    *four(
        "WindsockRedisMemoryFull",
        bad={_REDIS_USED: "95x60", _REDIS_MAX: "100x60"},
        good={_REDIS_USED: "50x60", _REDIS_MAX: "100x60"},
        early="4m",
        late="7m",
        told="x:1 uses 95% of the memory that it may.",
        labels=_at("redis"),
        missing={_REDIS_USED: "95x60", _REDIS_MAX: "0x60"},  # 0 is no limit
    ),
    *four(
        "WindsockRedisRefusesConnections",
        bad={_REDIS_REFUSED: "0x30 5x60"},
        good={_REDIS_REFUSED: "5x90"},
        early="4m",
        late="7m",
        told="x:1 has more clients than its maxclients allows.",
        labels=_at("redis"),
    ),
    *four(
        "WindsockCeleryNoWorkers",
        bad={_FLOWER: "1x60", _WORKER: "1x6 0x60", _OTHER_WORKER: "0x60"},
        good={_FLOWER: "1x60", _WORKER: "1x60", _OTHER_WORKER: "0x60"},
        early="2m30s",
        late="5m",
        told="Flower sees no Celery worker: no task is started.",
    ),
    Case(
        "WindsockCeleryNoWorkers",
        Kind.FIRING,
        "Flower has never seen one",
        {_FLOWER: "1x60"},
        "5m",
        (Firing("Flower sees no Celery worker: no task is started."),),
    ),
    *four(
        "WindsockCeleryWorkerOffline",
        bad={_WORKER: "1x6 0x60", _OTHER_WORKER: "1x66"},
        good={_WORKER: "1x66"},
        early="5m30s",
        late="8m",
        told="Flower no longer sees a.",
        labels=_at("celery") | {"worker": "a"},
    ),
    Case(
        "WindsockCeleryWorkerOffline",
        Kind.FIRING,
        "it was killed, and Flower has forgotten it",
        {_FLOWER: "1x90", _WORKER: "1x6 _x80", _OTHER_WORKER: "1x90"},
        "13m",
        (Firing("Flower no longer sees a.", _at("celery") | {"worker": "a"}),),
    ),
    Case(
        "WindsockCeleryWorkerOffline",
        Kind.SILENT,
        "Flower itself does not answer",
        {_FLOWER: "1x6 0x80", _WORKER: "1x6 _x80"},
        "13m",
    ),
    *four(
        "WindsockCeleryTasksFail",
        bad={_FAILED: "0x30 3x60"},
        good={_FAILED: "3x90"},
        early="4m",
        late="15m",
        told="3 Celery task(s) failed in ten minutes.",
    ),
    Case(
        "WindsockCeleryTasksFail",
        Kind.FIRING,
        "the very first failure of a task",
        {_FLOWER: "1x90", _FAILED: "_x80 1x10"},
        "14m",
        (Firing("1 Celery task(s) failed in ten minutes."),),
    ),
)

PROBES: Final = (
    *four(
        "WindsockProbeFails",
        bad={_PROBE: "1x6 0x60"},
        good={_PROBE: "1x66"},
        early="2m30s",
        late="5m",
        told="x:1 does not answer the probe.",
        labels=_at("blackbox"),
    ),
    *four(
        "WindsockCertificateExpires",
        bad={_EXPIRY: "864000x60"},
        good={_EXPIRY: "8640000x60"},
        early="4m",
        late="10m",
        told="The certificate of x:1 expires in 9d 23h 50m 0s.",
        labels=_INSTANCE,
    ),
)

CASES: Final = (*DATABASES, *WORKERS, *PROBES)
