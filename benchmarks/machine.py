"""What the machine itself can do: the rates that the engine's are compared with."""

from __future__ import annotations

import os
import subprocess
import sys
import time


def fork_wait_rate(count: int = 400) -> float:
    """Processes per second: a slim Python process forks a child that exits, and waits for it, one after the other.

    Measured in a fresh interpreter, since forking costs by the size of the parent.
    """
    code = (
        "import os, time\n"
        f"n = {count}\n"
        "began = time.perf_counter()\n"
        "for _ in range(n):\n"
        "    pid = os.fork()\n"
        "    if pid == 0: os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "print(n / (time.perf_counter() - began))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def bash_rate(count: int = 300) -> float:
    """``bash -c true`` per second, one after the other."""
    began = time.perf_counter()
    for _ in range(count):
        pid = os.posix_spawnp("bash", ["bash", "-c", "true"], dict(os.environ))
        os.waitpid(pid, 0)
    return count / (time.perf_counter() - began)
