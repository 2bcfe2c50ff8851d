"""What processes take: processor time and memory of their own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 2**20


def family(*roots: int) -> list[psutil.Process]:
    """Processes and all that descend from them, as far as they live."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            process = psutil.Process(root)
            found |= {each.pid: each for each in (process, *process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system time so far, that of children they have waited for included."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def own_cpu_seconds(process: psutil.Process) -> float:
    """The same without children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def pss_mib(processes: Iterable[psutil.Process]) -> float:
    """Proportional set size: pages that several share are counted once in all."""
    return sum(_pss_bytes(process.pid) for process in processes) / MIB


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
