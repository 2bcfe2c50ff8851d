"""Which alerts only follow from which: while the cause fires, Alertmanager tells nobody of the consequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Inhibition:
    """`causes` mute `consequences`, of alerts that have the same values of the labels `equal`."""

    causes: tuple[str, ...]
    consequences: tuple[str, ...]
    equal: tuple[str, ...] = ()


_DATABASE_DOWN: Final = ("WindsockPostgresDown", "WindsockMysqlDown")
_NOBODY: Final = (
    "WindsockSchedulerHeartbeatMissing",
    "WindsockDagProcessorHeartbeatMissing",
    "WindsockNotifierHeartbeatMissing",
    "WindsockLogShipperHeartbeatMissing",
)

INHIBITIONS: Final = (
    # Without the metastore nothing can beat, and nothing that is read from it can be told.
    Inhibition(
        _DATABASE_DOWN,
        (
            "WindsockMetastoreUnreadable",
            "WindsockMetastoreReadSlow",
            "WindsockHeartbeatWritesFail",
            "WindsockProcessSilent",
            "WindsockSchedulerMetricsMissing",
            *_NOBODY,
        ),
    ),
    Inhibition(
        ("WindsockMetastoreUnreadable",),
        (
            "WindsockMetastoreReadSlow",
            "WindsockHeartbeatWritesFail",
            "WindsockProcessSilent",
            "WindsockSchedulerMetricsMissing",
            *_NOBODY,
        ),
    ),
    Inhibition(("WindsockExporterDown",), ("WindsockSchedulerMetricsMissing", "WindsockSenderDropsLines")),
    # A kind of process that is gone altogether: each of them, and the work that it does.
    Inhibition(_NOBODY, ("WindsockProcessSilent",), equal=("component",)),
    Inhibition(
        ("WindsockSchedulerHeartbeatMissing",),
        (
            "WindsockSchedulerMetricsMissing",
            "WindsockSchedulerLoopSlow",
            "WindsockRunOverdue",
            "WindsockNoRecentSuccess",
            "WindsockQueueStuck",
            "WindsockPoolStarving",
            "WindsockExecutorNoFreeSlots",
            "WindsockScheduleDelayBurnsFast",
            "WindsockScheduleDelayBurns",
        ),
    ),
    Inhibition(("WindsockDagProcessorHeartbeatMissing",), ("WindsockDagFileStale", "WindsockParseRoundSlow")),
    Inhibition(
        ("WindsockNotifierHeartbeatMissing",),
        ("WindsockAlertsDelayed", "WindsockAlertsStuck", "WindsockAlertBacklog", "WindsockCallbacksDelayed"),
    ),
    Inhibition(("WindsockAlertsStuck",), ("WindsockAlertsDelayed", "WindsockDeliveryFails"), equal=("channel",)),
    Inhibition(("WindsockAlertsDelayed",), ("WindsockDeliveryFails",), equal=("channel",)),
    Inhibition(
        ("WindsockLogShipperHeartbeatMissing", "WindsockLogShippingFails"),
        ("WindsockLogShippingDelayed",),
    ),
    Inhibition(
        ("WindsockAlertmanagerDown", "WindsockPrometheusWithoutAlertmanager"),
        ("WindsockPrometheusDropsAlerts",),
    ),
    # A task that waits because its pool or its executor is full.
    Inhibition(("WindsockPoolStarving",), ("WindsockQueueStuck",), equal=("pool_name",)),
    Inhibition(("WindsockExecutorNoFreeSlots",), ("WindsockQueueStuck",)),
    # The greater of two words for one thing.
    Inhibition(("WindsockRunFailed",), ("WindsockTaskFailures",), equal=("dag_id",)),
    Inhibition(("WindsockSlaMissed",), ("WindsockSlaAtRisk",), equal=("dag_id",)),
    Inhibition(("WindsockTaskSuccessBurnsFast",), ("WindsockTaskSuccessBurns",)),
    Inhibition(("WindsockScheduleDelayBurnsFast",), ("WindsockScheduleDelayBurns",)),
    Inhibition(("WindsockParseTimeouts",), ("WindsockParseSlow",)),
    Inhibition(("WindsockDiskFull",), ("WindsockDiskFilling",), equal=("instance", "mountpoint")),
    Inhibition(("WindsockRedisDown",), ("WindsockCeleryNoWorkers", "WindsockCeleryWorkerOffline")),
    Inhibition(("WindsockCeleryNoWorkers",), ("WindsockCeleryWorkerOffline",)),
)
