"""Cases of the alerts on machines."""

from __future__ import annotations

from typing import Final

from prometheus.case import Case, Firing, Kind, four

_NODE: Final = 'job="node",instance="x:9100"'
_DISK: Final = f'{_NODE},device="/dev/sda1",fstype="ext4",mountpoint="/srv"'
_X: Final = {"job": "node", "instance": "x:9100"}
_SRV: Final = _X | {"device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/srv"}
_LEFT: Final = f"node_filesystem_avail_bytes{{{_DISK}}}"
_SIZE: Final = f"node_filesystem_size_bytes{{{_DISK}}}"
_INODES_LEFT: Final = f"node_filesystem_files_free{{{_DISK}}}"
_INODES: Final = f"node_filesystem_files{{{_DISK}}}"
_AVAILABLE: Final = f"node_memory_MemAvailable_bytes{{{_NODE}}}"
_TOTAL: Final = f"node_memory_MemTotal_bytes{{{_NODE}}}"
_KILLS: Final = f"node_vmstat_oom_kill{{{_NODE}}}"
_LOAD: Final = f"node_load5{{{_NODE}}}"
_CPU_0: Final = f'node_cpu_seconds_total{{{_NODE},cpu="0",mode="idle"}}'
_CPU_1: Final = f'node_cpu_seconds_total{{{_NODE},cpu="1",mode="idle"}}'
_OFFSET: Final = f"node_timex_offset_seconds{{{_NODE}}}"
_TWO_CPUS: Final = {_CPU_0: "0x120", _CPU_1: "0x120"}

CASES: Final = (
    *four(
        "WindsockDiskFull",
        bad={_LEFT: "2x60", _SIZE: "100x60"},
        good={_LEFT: "5x60", _SIZE: "100x60"},
        early="1m30s",
        late="4m",
        told="/srv of x:9100 has 2% left.",
        labels=_SRV,
    ),
    *four(
        "WindsockDiskFilling",
        bad={_LEFT: "8x120", _SIZE: "100x120"},
        good={_LEFT: "50x120", _SIZE: "100x120"},
        early="14m",
        late="17m",
        told="/srv of x:9100 has 8% left.",
        labels=_SRV,
    ),
    Case(
        "WindsockDiskFilling",
        Kind.FIRING,
        "it will be full within a day",
        {_LEFT: "29000-10x120", _SIZE: "100000x120"},
        "18m",
        (Firing("/srv of x:9100 has 27.92% left.", _SRV),),
    ),
    Case(
        "WindsockDiskFilling",
        Kind.SILENT,
        "it fills slowly",
        {_LEFT: "29000-1x120", _SIZE: "100000x120"},
        "18m",
    ),
    *four(
        "WindsockInodesFilling",
        bad={_INODES_LEFT: "4x120", _INODES: "100x120"},
        good={_INODES_LEFT: "50x120", _INODES: "100x120"},
        early="14m",
        late="17m",
        told="/srv of x:9100 has 4% of its inodes left.",
        labels=_SRV,
        missing={_INODES_LEFT: "0x120", _INODES: "0x120"},  # btrfs and the like count none
    ),
    *four(
        "WindsockMemoryLow",
        bad={_AVAILABLE: "5x60", _TOTAL: "100x60"},
        good={_AVAILABLE: "50x60", _TOTAL: "100x60"},
        early="4m",
        late="7m",
        told="x:9100 has 5% of its memory left.",
        labels=_X,
    ),
    *four(
        "WindsockOutOfMemoryKills",
        bad={_KILLS: "3x30 4x60"},
        good={_KILLS: "3x90"},
        early="4m",
        late="7m",
        told="The kernel of x:9100 killed a process in the last ten minutes.",
        labels=_X,
    ),
    *four(
        "WindsockCpuSaturated",
        bad={_LOAD: "5x120", **_TWO_CPUS},
        good={_LOAD: "3x120", **_TWO_CPUS},
        early="14m",
        late="17m",
        told="On x:9100, 2.5 processes want each processor.",
        labels={"instance": "x:9100"},
    ),
    *four(
        "WindsockClockOff",
        bad={_OFFSET: "-2x60"},
        good={_OFFSET: "0.01x60"},
        early="4m",
        late="7m",
        told="The clock of x:9100 is off by 2.0 s.",
        labels=_X,
    ),
)
