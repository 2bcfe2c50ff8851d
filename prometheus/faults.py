"""What is broken on a running system, and which alerts fire then. The tables at the end of ``docs/alerts.md``.

The seconds are those of single runs on two busy cores, with time hurried thirtyfold (budgets: three hundredfold). They
last from the making of the fault until the alert fired: the scrape, the evaluation, the rule's hold, and the thing's
own time, which is not hurried. What rules allow to work is divided by ten where work is made slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Fault:
    """One thing that is broken and repaired."""

    what: str
    seconds: Mapping[str, float]  # alert → seconds until it fired
    repair: str


WORK: Final = (
    Fault("a DAG file has a syntax error", {"WindsockImportErrors": 5.4}, "the file is removed"),
    Fault("a DAG file sleeps for 11 s at import", {"WindsockParseSlow": 38.5}, "the file is removed"),
    Fault("a DAG file hangs at import, until 14 s", {"WindsockParseTimeouts": 17.4}, "the file is removed"),
    Fault(
        "the scheduler hangs (SIGSTOP), while a DAG is due every 5 s",
        {
            "WindsockSchedulerHeartbeatMissing": 5.4,
            "WindsockSchedulerMetricsMissing": 6.4,
            "WindsockProcessSilent": 9.4,
            "WindsockRunOverdue": 15.8,
        },
        "SIGCONT",
    ),
    Fault("the DAG processor hangs", {"WindsockDagProcessorHeartbeatMissing": 8.4}, "SIGCONT"),
    Fault("the notifier hangs", {"WindsockNotifierHeartbeatMissing": 8.4}, "SIGCONT"),
    Fault("two tasks want the one slot of a pool", {"WindsockPoolStarving": 23.2}, "the first one ends"),
    Fault(
        "more tasks than the executor has slots",
        {"WindsockExecutorNoFreeSlots": 28.1, "WindsockQueueStuck": 35.1},
        "tasks end",
    ),
    Fault("a task with an SLA of 20 s sleeps", {"WindsockSlaAtRisk": 22.1, "WindsockSlaMissed": 26.1}, "it ends"),
    Fault(
        "a task fails, and its callback raises",
        {"WindsockRunFailed": 2.0, "WindsockTaskFailures": 3.2, "WindsockCallbacksFail": 2.0},
        "the next run succeeds",
    ),
    Fault("a DAG that runs every 6 s fails again and again", {"WindsockNoRecentSuccess": 30.2}, "it succeeds"),
    Fault("a supervisor is killed (SIGKILL) while its task runs", {"WindsockTasksLost": 3.2}, "the next run succeeds"),
    Fault("the mail server refuses for good (550)", {"WindsockAlertsDead": 2.3}, "`windsock alerts replay`"),
    Fault(
        "the mail server is away",
        {"WindsockDeliveryFails": 6.3, "WindsockAlertsDelayed": 16.3, "WindsockAlertsStuck": 66.3},
        "it is back",
    ),
    Fault("105 tasks with a mail each fail, while it is away", {"WindsockAlertBacklog": 14.2}, "it is back"),
    Fault("five callbacks of 20 s come at once; four run at a time", {"WindsockCallbacksDelayed": 18.2}, "they end"),
)
PACE: Final = (
    Fault("each turn of the scheduler waits 0.8 s for a lock", {"WindsockSchedulerLoopSlow": 14.9}, "none does"),
    Fault("each read of the metastore waits 0.4 s for a lock", {"WindsockMetastoreReadSlow": 22.1}, "none does"),
    Fault(
        "six DAG files sleep for 3 s at import, two at a time",
        {"WindsockParseRoundSlow": 30.2, "WindsockParseSlow": 37.2},
        "they do not sleep",
    ),
    Fault("one of them hangs at import after that", {"WindsockDagFileStale": 75.3}, "its import ends"),
)
MONITORING: Final = (
    Fault(
        "the StatsD exporter hangs (SIGSTOP)",
        {"WindsockExporterDown": 4.4, "WindsockSchedulerMetricsMissing": 6.6},
        "SIGCONT",
    ),
    Fault(
        "1 500 datagrams of 48 KB, while it hangs; from SIGCONT on",
        {"WindsockSamplesLost": 10.7},
        "none are lost any more",
    ),
    Fault(
        "it is killed, and cannot start for 19 s since its mapping is wrong; SenderDropsLines from its repair on",
        {"WindsockExporterDown": 3.8, "WindsockSenderDropsLines": 24.7},
        "its mapping is mended",
    ),
    Fault("its mapping is broken, and SIGHUP sent", {"WindsockMappingReloadFailed": 6.8}, "it is mended, and SIGHUP"),
    Fault("alerting.yml names a receiver that there is not", {"WindsockAlertingConfigRejected": 7.1}, "it is removed"),
    Fault("it holds 95 % of the series that it may", {"WindsockSeriesLimitNear": 16.9}, "their ttl is over"),
    Fault("the metastore exporter hangs", {"WindsockMetastoreExporterDown": 4.4}, "SIGCONT"),
    Fault(
        "the table of processes is gone",
        {"WindsockMetastoreUnreadable": 4.9, "WindsockHeartbeatWritesFail": 7.1},
        "it is back",
    ),
    Fault("a receiver of Alertmanager answers 404", {"WindsockNotificationsFail": 4.9}, "it answers 200"),
    Fault(
        "Alertmanager hangs",
        {"WindsockAlertmanagerDown": 6.0, "WindsockPrometheusDropsAlerts": 20.9},
        "SIGCONT",
    ),
    Fault("Prometheus is told of no Alertmanager", {"WindsockPrometheusWithoutAlertmanager": 10.8}, "it is told"),
    Fault("a node exporter does not run", {"WindsockTargetDown": 11.6}, "it is started"),
    Fault("a rule matches many series to many", {"WindsockRuleFailures": 5.9}, "the rule is removed"),
    Fault("Prometheus' configuration cannot be read", {"WindsockMonitoringConfigRejected": 4.9}, "it is corrected"),
    Fault(
        "25 task attempts fail (budgets: 300 times the pace)",
        {"WindsockTaskSuccessBurnsFast": 6.0, "WindsockTaskSuccessBurns": 6.0},
        "no more fail",
    ),
    Fault(
        "a DAG catches up 32 runs, one at a time",
        {"WindsockScheduleDelayBurnsFast": 18.0, "WindsockScheduleDelayBurns": 18.0},
        "it has caught up",
    ),
)
INFRASTRUCTURE: Final = (
    Fault("165 of 200 connections to PostgreSQL", {"WindsockPostgresConnectionsFull": 19.7}, "they are closed"),
    Fault("a transaction is left open", {"WindsockPostgresLongTransaction": 43.6}, "it is closed"),
    Fault("two transactions wait for each other", {"WindsockPostgresDeadlocks": 9.6}, "time passes"),
    Fault("26 of 30 connections to MariaDB", {"WindsockMysqlConnectionsFull": 14.7}, "they are closed"),
    Fault("PostgreSQL is killed", {"WindsockPostgresDown": 6.4}, "it is started"),
    Fault("MariaDB is killed", {"WindsockMysqlDown": 3.4}, "it is started"),
    Fault("Redis is stopped", {"WindsockRedisDown": 3.9}, "it is started"),
    Fault("Redis has 3 % of its memory left", {"WindsockRedisMemoryFull": 11.4}, "its limit is lifted"),
    Fault("eight clients want three places of Redis", {"WindsockRedisRefusesConnections": 1.5}, "they go"),
    Fault("a site that is probed is stopped", {"WindsockProbeFails": 5.7}, "it is started"),
    Fault("a site's certificate is good for ten days", {"WindsockCertificateExpires": 16.1}, "none: it stays"),
)
LOGS: Final = (
    Fault(
        "the share that logs are shipped to is not mounted",
        {"WindsockLogShippingFails": 8.0, "WindsockLogShippingDelayed": 17.0},
        "it is mounted",
    ),
    Fault(
        "the log shipper hangs (SIGSTOP), while logs come",
        {
            "WindsockLogShipperHeartbeatMissing": 7.9,
            "WindsockProcessSilent": 10.5,
            "WindsockLogShippingDelayed": 13.9,
        },
        "SIGCONT",
    ),
)
MACHINES: Final = (
    Fault(
        "an ext4 is filled to the last byte",
        {"WindsockDiskFull": 5.8, "WindsockDiskFilling": 31.7},
        "what fills it is removed",
    ),
    Fault("an ext4 is filled to the last inode", {"WindsockInodesFilling": 31.7}, "what fills it is removed"),
    Fault(
        "the kernel kills a process that wants more memory than its control group may have",
        {"WindsockOutOfMemoryKills": 1.8},
        "time passes",
    ),
    Fault(
        "the node exporter is shown a /proc/meminfo with 5 % left (bind mount)",
        {"WindsockMemoryLow": 11.7},
        "it is shown 50 %",
    ),
    Fault(
        "it is shown a /proc/loadavg with three processes for each processor (bind mount)",
        {"WindsockCpuSaturated": 31.7},
        "it is shown 0.1",
    ),
    Fault(
        "the kernel is told that its clock is off by 0.3 s (adjtimex)",
        {"WindsockClockOff": 10.9},
        "it is told that it is not",
    ),
)
WORKERS: Final = (
    Fault("a task raises in a Celery worker", {"WindsockCeleryTasksFail": 1.5}, "time passes"),
    Fault(
        "the only Celery worker is killed (SIGKILL)",
        {"WindsockCeleryNoWorkers": 7.9, "WindsockCeleryWorkerOffline": 14.0},
        "it is started",
    ),
)

FAULTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "work": WORK,
    "pace": PACE,
    "monitoring": MONITORING,
    "infrastructure": INFRASTRUCTURE,
    "logs": LOGS,
    "machines": MACHINES,
    "workers": WORKERS,
}
"""Part of ``tests/acceptance/test_faults_of_the_…_fire_their_alerts.py`` → what it breaks."""

NOT_MADE: Final[Mapping[str, str]] = {
    "WindsockWatchdog": "it always fires; a test sees it in a real Prometheus",
}
"""Alerts whose fault no test makes, and what it would take; promtool's cases test their rules."""
