"""A node exporter in namespaces of its own: with real file systems that may be filled, and numbers that may be bent.

Below /mnt, two ext4 of some megabytes are mounted, which nobody outside sees. Of memory and load it is shown files of
ours, as lxcfs shows them to containers, since a test must not use up the machine that runs it. The rest is the
machine's own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers.binaries import require
from tests.servers.pages import answers
from tests.servers.processes import ServerProcess, free_port

COLLECTORS = ("cpu", "filesystem", "loadavg", "meminfo", "timex", "vmstat")
ELSEWHERE = "^/($|[^m]|m[^n])"  # every mount point but those below /mnt


class ShownMachine:
    """What a Prometheus sees of it, and how it is changed."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may mount file systems")
        self._meminfo, self._loadavg = folder / "meminfo", folder / "loadavg"
        self.have_memory(0.5)
        self.have_load(0.1)
        disk, many = folder / "disk.img", folder / "many.img"
        _format(disk)
        _format(many, "-N", "200")
        self.port = free_port()
        exporter = [
            str(require("prometheus-node-exporter")),
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--collector.disable-defaults",
            *(f"--collector.{name}" for name in COLLECTORS),
            f"--collector.filesystem.mount-points-exclude={ELSEWHERE}",
        ]
        steps = (
            "mount -t tmpfs none /mnt",
            "mkdir /mnt/disk /mnt/many",
            f"mount -o loop {disk} /mnt/disk",
            f"mount -o loop {many} /mnt/many",
            f"mount --bind {self._meminfo} /proc/meminfo",
            f"mount --bind {self._loadavg} /proc/loadavg",
            f"exec {shlex.join(exporter)}",
        )
        # The exporter reads the mounts of process 1, so it must be that one.
        spaces = ("--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
        self._process = ServerProcess(["/usr/bin/unshare", *spaces, "sh", "-ec", "\n".join(steps)], folder)
        self._process.wait_ready(lambda: answers(f"http://127.0.0.1:{self.port}/metrics"), "the node exporter")

    def stop(self) -> None:
        self._process.stop(signal.SIGKILL)  # `unshare` ignores milder ones; the rest dies with it

    def have_memory(self, share: float) -> None:
        """Show so much of it as available."""
        text = Path("/proc/meminfo").read_text()
        total = int(text.split()[1])
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("MemAvailable:")]
        self._meminfo.write_text("".join([*lines, f"MemAvailable: {int(total * share)} kB\n"]))

    def have_load(self, per_processor: float) -> None:
        """Show so many processes that want each processor."""
        load = per_processor * (os.cpu_count() or 1)
        self._loadavg.write_text(f"{load:.2f} {load:.2f} {load:.2f} 1/100 100\n")

    def fill_disk(self) -> None:
        """Until no byte finds room."""
        with contextlib.suppress(OSError), (self._mounted("disk") / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65_536))

    def fill_inodes(self) -> None:
        """Until no file finds room."""
        with contextlib.suppress(OSError):
            for number in range(10_000):
                (self._mounted("many") / f"file_{number}").touch()

    def clean(self) -> None:
        """Take away what was filled in."""
        (self._mounted("disk") / "filler").unlink()
        for path in self._mounted("many").glob("file_*"):
            path.unlink()

    def _mounted(self, name: str) -> Path:
        (inside,) = psutil.Process(self._process.process.pid).children()
        return Path(f"/proc/{inside.pid}/root/mnt/{name}")


def _format(image: Path, *options: str) -> None:
    image.touch()
    os.truncate(image, 16 * 2**20)
    command = [require("mkfs.ext4"), "-q", "-m", "0", *options, image]
    subprocess.run(command, check=True, capture_output=True)


def run_out_of_memory() -> None:
    """Have the kernel kill a process of ours that wants more memory than its control group may have."""
    with little_memory() as group:
        greedy = f"echo $$ > {group}/cgroup.procs && exec {require('python3')} -c 'bytearray(2**28)'"
        done = subprocess.run(["sh", "-c", greedy], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr


@contextlib.contextmanager
def little_memory() -> Iterator[Path]:
    """A control group with 32 MiB of memory, below the root's, of version 1 or 2. Raises OSError where none can be."""
    root = Path("/sys/fs/cgroup")
    group = (root / "memory" if (root / "memory").is_dir() else root) / f"windsock-test-{os.getpid()}"
    group.mkdir()
    try:
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max"):
            if (group / name).exists():
                (group / name).write_text("0" if name == "memory.swap.max" else str(32 * 2**20))
        yield group
    finally:
        group.rmdir()
