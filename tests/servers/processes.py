"""Real servers as child processes: on a free port, in a temporary folder, gone when the test session is."""

from __future__ import annotations

import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _own_ports() -> range:
    """Those of this test process; no parallel one is given any of them.

    What one has given and nobody has bound yet, or what a server is to come back to, looks free to the others. All are
    below the kernel's range for outgoing connections (32768 on), so that no client takes one either.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(20_000 + number, 32_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


_PORTS = _own_ports()
_given: set[int] = set()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, free for UDP too, and given only once by this process."""
    while True:
        port = random.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def listens(port: int) -> bool:
    """Whether somebody takes TCP connections at this port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Return once `condition` is true; fail with `what` was waited for when it is not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.01)


def service_user(*names: str) -> str | None:
    """Whom a server that refuses to be root shall run as; None where we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in (*names, "nobody") if name in known)


class ServerFolder:
    """A temporary folder that `user` owns. Not pytest's: that one is closed to other users."""

    def __init__(self, name: str, user: str | None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"windsock-{name}-"))
        if user:
            shutil.chown(self.path, user, pwd.getpwnam(user).pw_gid)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class ServerProcess:
    """One running server. It is told to die with the process that started it, whatever kills that."""

    def __init__(self, command: Sequence[str | Path], folder: Path, user: str | None = None) -> None:
        self.log = folder / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, nothing that could take a lock
                **as_user(user),
            )

    def wait_ready(self, ready: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Return once `ready` is true; a server that died or is late fails with its log."""
        try:
            wait_until(lambda: self.process.poll() is not None or ready(), what, timeout)
        except TimeoutError as error:
            self.stop()
            raise TimeoutError(f"{error}; its log:\n{self.log.read_text(errors='replace')}") from None
        if self.process.poll() is not None:
            raise RuntimeError(f"{what} has ended; its log:\n{self.log.read_text(errors='replace')}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, by force after half a minute."""
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def as_user(user: str | None) -> dict[str, object]:
    """Arguments for subprocess that make the child run as `user`."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def run_as(user: str | None, command: Sequence[str | Path], folder: Path) -> None:
    """Run `command` to its end; fail with what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **as_user(user),
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")


def _die_with_parent() -> None:
    # SIGQUIT ends PostgreSQL at once with all its children, and is deadly to the others too.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
