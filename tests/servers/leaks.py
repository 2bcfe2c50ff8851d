"""Processes that outlive the tests which started them."""

from __future__ import annotations

import os
import time

import psutil

MARK = "WINDSOCK_TEST_SESSION"


def stray_processes(mark: str, grace_seconds: float = 20.0) -> list[psutil.Process]:
    """Our children, and any process that inherited `mark` in its environment, still there after `grace_seconds`."""
    deadline = time.monotonic() + grace_seconds
    while (found := _find(mark)) and time.monotonic() < deadline:
        psutil.wait_procs(found, timeout=0.05)
    return found


def _find(mark: str) -> list[psutil.Process]:
    children = {process.pid for process in psutil.Process().children(recursive=True)}
    return [
        process
        for process in psutil.process_iter(["environ", "cmdline", "status"])
        if process.pid != os.getpid() and (process.pid in children or _has(process, mark)) and not _harmless(process)
    ]


def _has(process: psutil.Process, mark: str) -> bool:
    return (process.info["environ"] or {}).get(MARK) == mark


def _harmless(process: psutil.Process) -> bool:
    """multiprocessing's resource tracker lives as long as the interpreter that needed it."""
    command = " ".join(process.info["cmdline"] or ())
    return "multiprocessing.resource_tracker" in command or process.info["status"] == psutil.STATUS_ZOMBIE
