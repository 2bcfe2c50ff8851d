"""The fork server by itself: a client, a zygote and its children, all real."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from engine.linux import start_mark
from engine.running.zygote import Exited, Forked, Refused, ZygoteClient, ZygoteDied
from tests.servers.binaries import ROOT
from tests.servers.processes import wait_until

# What children do: the first word of the payload names it; files[0], where given, takes what they write.
_HANDLER = """
import os, resource, signal, socket, subprocess, sys, time
from engine.running.zygote import serve

def handle(payload, fds):
    name, _, rest = payload.partition(b" ")
    return globals()[name.decode()](rest, fds)

def leave(rest, fds): return int(rest)
def say(rest, fds): os.write(fds[0], rest); return 0
def size(rest, fds): os.write(fds[0], str(len(rest)).encode()); return 0
def raises(rest, fds): raise ValueError("no")
def exits(rest, fds): sys.exit(int(rest))
def hang(rest, fds): os.write(fds[0], b"ready"); time.sleep(1000)
def stubborn(rest, fds): signal.signal(signal.SIGTERM, signal.SIG_IGN); return hang(rest, fds)
def files(rest, fds):
    os.write(fds[0], " ".join(sorted(os.readlink(f"/proc/self/fd/{n}") for n in fds)).encode())
    return 0
def burn(rest, fds):
    data = b"x" * 100_000_000
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
    return 0
def daemon(rest, fds):
    process = subprocess.Popen(["sleep", "1000"])
    os.write(fds[0], f"daemon {process.pid}".encode())
    if rest == b"stay": time.sleep(1000)
    return 0
def few(rest, fds):
    return 0
def limited(rest, fds):
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    with socket.socket(fileno=fds[0]) as sock: serve(sock, handle)
    return 0
def zygote(rest, fds):
    with socket.socket(fileno=fds[0]) as sock: serve(sock, handle)
    return 0
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ZygoteClient]]:
    (tmp_path / "zygote_children.py").write_text(_HANDLER)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    clients: list[ZygoteClient] = []

    def make() -> ZygoteClient:
        clients.append(ZygoteClient.start("zygote_children:handle"))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def zygote(start: Callable[[], ZygoteClient]) -> ZygoteClient:
    return start()


Event = Forked | Exited | Refused


def events(zygote: ZygoteClient, count: int, seconds: float = 15) -> list[Event]:
    """The next `count` events."""
    heard: list[Event] = []
    deadline = time.monotonic() + seconds
    poller = select.poll()
    poller.register(zygote.fileno(), select.POLLIN)
    while len(heard) < count:
        assert poller.poll(max(0, deadline - time.monotonic()) * 1000), f"only {heard} within {seconds} s"
        zygote.flush()
        heard += zygote.read_events()
    return heard


def run(zygote: ZygoteClient, payload: bytes, files: Sequence[int] = ()) -> tuple[str, Exited]:
    """Run one child to its end; returns what it wrote, and its end."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    zygote.fork(1, payload, [writer, *files])
    os.close(writer)
    forked, exited = events(zygote, 2)
    assert isinstance(forked, Forked)
    assert isinstance(exited, Exited)
    with os.fdopen(reader) as file:
        return file.read(), exited


def begin(zygote: ZygoteClient, payload: bytes) -> tuple[int, str]:
    """Fork a child and wait until it has written something; returns its pid and what it wrote."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    zygote.fork(1, payload, [writer])
    os.close(writer)
    (forked,) = events(zygote, 1)
    assert isinstance(forked, Forked)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    return forked.pid, said


@pytest.mark.parametrize(
    ("payload", "code"), [(b"leave 0", 0), (b"leave 7", 7), (b"exits 4", 4), (b"raises", 1), (b"unknown", 1)]
)
def test_the_exit_code_is_the_handlers(zygote: ZygoteClient, payload: bytes, code: int) -> None:
    _, exited = run(zygote, payload)
    assert (exited.exit_code, exited.signal) == (code, None)


def test_a_signal_reaches_the_child_and_is_told(zygote: ZygoteClient) -> None:
    begin(zygote, b"hang")
    zygote.kill(1, signal.SIGTERM)
    (exited,) = events(zygote, 1)
    assert isinstance(exited, Exited)
    assert (exited.exit_code, exited.signal) == (None, signal.SIGTERM)


def test_a_child_that_ignores_term_does_not_survive_kill(zygote: ZygoteClient) -> None:
    begin(zygote, b"stubborn")
    zygote.kill(1, signal.SIGTERM)
    zygote.kill(1, signal.SIGKILL)
    (exited,) = events(zygote, 1)
    assert isinstance(exited, Exited)
    assert exited.signal == signal.SIGKILL


def test_a_signal_for_a_reaped_child_does_nothing(zygote: ZygoteClient) -> None:
    run(zygote, b"leave 0")
    zygote.kill(1, signal.SIGKILL)
    assert run(zygote, b"say still here")[0] == "still here"


def test_what_the_child_used_is_told(zygote: ZygoteClient) -> None:
    _, exited = run(zygote, b"burn")
    assert exited.user_seconds + exited.system_seconds >= 0.2
    assert exited.max_rss_bytes > 100_000_000


@pytest.mark.parametrize("size", [0, 32_768 - 5, 32_768, 65_536, 50_000_000])
def test_payloads_of_every_size_arrive_whole(zygote: ZygoteClient, size: int) -> None:
    assert run(zygote, b"size " + b"x" * size)[0] == str(size)


def test_files_arrive_in_their_order_beside_a_large_payload(zygote: ZygoteClient, tmp_path: Path) -> None:
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY, 0o600)
    said, _ = run(zygote, b"files " + b"x" * 100_000, [other])
    os.close(other)
    assert re.fullmatch(rf"{tmp_path}/other pipe:\[\d+\]", said)


def test_events_of_one_child_come_in_order(zygote: ZygoteClient) -> None:
    for job_id in range(100):
        zygote.fork(job_id, b"leave 0")
    heard = events(zygote, 200)
    for job_id in range(100):
        assert [type(event) for event in heard if event.job_id == job_id] == [Forked, Exited]


def test_two_hundred_jobs_leak_no_file_and_no_zombie(zygote: ZygoteClient) -> None:
    run(zygote, b"leave 0")
    before = (_files(os.getpid()), _files(zygote.pid or 0))
    for job_id in range(200):
        zygote.fork(job_id, b"size " + b"x" * 40_000, [2])
    events(zygote, 400)
    assert (_files(os.getpid()), _files(zygote.pid or 0)) == before
    assert Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text() == ""


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_daemon_of_the_child_ends_with_it(zygote: ZygoteClient) -> None:
    said, exited = run(zygote, b"daemon")
    assert exited.exit_code == 0
    wait_until(lambda: start_mark(int(said.split()[1])) is None, "the daemon's end")


def test_a_killed_zygote_is_told_and_its_children_die(zygote: ZygoteClient) -> None:
    pid, _ = begin(zygote, b"hang")
    os.kill(zygote.pid or 0, signal.SIGKILL)
    with pytest.raises(ZygoteDied):
        events(zygote, 1)
    wait_until(lambda: start_mark(pid) is None, "the child's end")


def test_closing_the_client_ends_the_children_and_what_they_started(zygote: ZygoteClient) -> None:
    pid, said = begin(zygote, b"daemon stay")
    zygote.close()
    wait_until(lambda: start_mark(pid) is None and start_mark(int(said.split()[1])) is None, "their end")


def test_a_terminal_interrupt_and_term_are_the_owners_to_handle(zygote: ZygoteClient) -> None:
    run(zygote, b"leave 0")
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(zygote.pid or 0, number)
    assert run(zygote, b"say here")[0] == "here"


_CLIENT = """
import os, select, sys, time
from engine.running.zygote import ZygoteClient
zygote = ZygoteClient.start("zygote_children:handle")
reader, writer = os.pipe()
zygote.fork(1, b"daemon stay", [writer])
print(zygote.pid, os.read(reader, 100).decode(), flush=True)
time.sleep(1000)
"""


@pytest.mark.usefixtures("start")
def test_the_zygote_its_children_and_theirs_die_with_a_killed_client() -> None:
    with subprocess.Popen([sys.executable, "-c", _CLIENT], stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        assert client.stdout
        words = client.stdout.readline().split()
        zygote, daemon = int(words[0]), int(words[2])
        client.kill()
    wait_until(lambda: start_mark(zygote) is None, "the zygote's end")
    wait_until(lambda: start_mark(daemon) is None, "the daemon's end")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_a_refused_fork_is_told_and_the_zygote_goes_on(zygote: ZygoteClient) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        zygote.fork(1, b"limited", [theirs.fileno()], serves=True)
    events(zygote, 1)
    limited = ZygoteClient(ours)
    for job_id in (5, 6):
        limited.fork(job_id, b"leave 0")
    refused = events(limited, 2)
    limited.close()
    assert [type(event) for event in refused] == [Refused, Refused]
    assert "temporarily unavailable" in refused[0].error  # type: ignore[union-attr]
    assert isinstance(events(zygote, 1)[0], Exited)
