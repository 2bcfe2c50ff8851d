"""What the machine itself can do: the rates that the engine's are compared with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

ORDINARY_MIB: Final = 14.0  # of a Python process that has imported what scripts do; what rates are compared with

_FORK_AND_WAIT = """
import os, sys, time
for name in ("json", "logging", "subprocess", "argparse", "email.message", "sqlite3", "http.client", "asyncio"):
    if resident_mib() >= float(sys.argv[1]):
        break
    __import__(name)
began = time.perf_counter()
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
print(int(sys.argv[2]) / (time.perf_counter() - began), resident_mib())
"""
_RESIDENT = """
def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20
"""


@dataclass(frozen=True, slots=True)
class ForkRate:
    """How fast a Python process of so many MiB forks a child that exits, and waits for it, one after the other."""

    per_second: float
    resident_mib: float


def fork_wait_rate(at_least_mib: float = 0.0, count: int = 400) -> ForkRate:
    """Measured in a fresh interpreter, since forking costs by the size of the parent.

    It imports modules of the standard library until it is that large.
    """
    command = [sys.executable, "-c", _RESIDENT + _FORK_AND_WAIT, str(at_least_mib), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    per_second, resident_mib = map(float, done.stdout.split())
    return ForkRate(per_second, resident_mib)


def bash_rate(count: int = 300) -> float:
    """``bash -c true`` per second, one after the other."""
    began = time.perf_counter()
    for _ in range(count):
        pid = os.posix_spawnp("bash", ["bash", "-c", "true"], dict(os.environ))
        os.waitpid(pid, 0)
    return count / (time.perf_counter() - began)
