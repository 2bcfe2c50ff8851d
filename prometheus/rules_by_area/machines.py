"""Alerts on the machines, by node exporter. The disk is the log path: attempts write their logs to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.spec import Alert, Board, Group, Severity

_MINUTE: Final = timedelta(minutes=1)
_REAL: Final = '{fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660|nsfs"}'
_FREE: Final = f"node_filesystem_avail_bytes{_REAL} / (node_filesystem_size_bytes{_REAL} > 0)"

ALERTS: Final = (
    Alert(
        name="WindsockDiskFull",
        expr=f"{_FREE} < 0.03",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.INFRASTRUCTURE,
        summary="A disk is full.",
        description="{{ $labels.mountpoint }} of {{ $labels.instance }} has {{ humanizePercentage $value }} left.",
    ),
    Alert(
        name="WindsockDiskFilling",
        expr=(
            f"{_FREE} < 0.1 or "
            f"{_FREE} < 0.3 and predict_linear(node_filesystem_avail_bytes{_REAL}[6h], seconds(24h)) < 0"
        ),
        hold=15 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A disk will be full soon: logs, and the metastore on it, will find no room.",
        description="{{ $labels.mountpoint }} of {{ $labels.instance }} has {{ humanizePercentage $value }} left.",
    ),
    Alert(
        name="WindsockInodesFilling",
        expr=f"node_filesystem_files_free{_REAL} / (node_filesystem_files{_REAL} > 0) < 0.05",
        hold=15 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A file system has nearly no room for more files: each attempt makes one.",
        description=(
            "{{ $labels.mountpoint }} of {{ $labels.instance }} has {{ humanizePercentage $value }} of its inodes left."
        ),
    ),
    Alert(
        name="WindsockMemoryLow",
        expr="node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.08",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A machine has little memory left.",
        description="{{ $labels.instance }} has {{ humanizePercentage $value }} of its memory left.",
    ),
    Alert(
        name="WindsockOutOfMemoryKills",
        expr="increase(node_vmstat_oom_kill[10m]) > 0",
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="The kernel killed a process because memory ran out.",
        description="The kernel of {{ $labels.instance }} killed a process in the last ten minutes.",
    ),
    Alert(
        name="WindsockCpuSaturated",
        expr='max by (instance) (node_load5) / count by (instance) (node_cpu_seconds_total{mode="idle"}) > 2',
        hold=15 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A machine has more work than processors.",
        description='On {{ $labels.instance }}, {{ printf "%.1f" $value }} processes want each processor.',
    ),
    Alert(
        name="WindsockClockOff",
        expr="abs(node_timex_offset_seconds) > 0.1",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="A machine's clock is off.",
        description='The clock of {{ $labels.instance }} is off by {{ printf "%.1f" $value }} s.',
    ),
)

GROUPS: Final = (Group(name="windsock-machines", rules=ALERTS),)
