"""Starting programs without a fork: what they inherit, and that they die with who started them."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.running import launcher
from engine.running.launcher import Launcher
from engine.running.zygote import Exited, Forked, Refused, SpawnJob, ZygoteClient
from tests.servers.binaries import ROOT
from tests.servers.processes import wait_until

pytestmark = pytest.mark.skipif(not launcher.is_usable(), reason="programs are forked here")

BASH = "/bin/bash"


@pytest.fixture
def zygote() -> Iterator[ZygoteClient]:
    client = ZygoteClient.start("tests.integration.running.handlers:describe")
    yield client
    client.close()


def run(zygote: ZygoteClient, folder: Path, command: str) -> tuple[Exited | Refused, str]:
    """How a command ended, and what it printed."""
    read, write = os.pipe()
    job = SpawnJob(7, BASH, ["bash", "-c", command], {"COLOUR": "blue"}, str(folder))
    zygote.spawn(job, write)
    os.close(write)
    with os.fdopen(read) as output:
        while True:
            select.select([zygote.fileno()], [], [], 20)
            for event in zygote.read_events():
                if not isinstance(event, Forked):
                    assert isinstance(event, Exited | Refused)
                    return event, output.read()


def test_a_program_starts_in_its_new_folder_with_its_variables_and_streams(
    zygote: ZygoteClient, tmp_path: Path
) -> None:
    end, printed = run(zygote, tmp_path / "new", "echo $COLOUR $PWD; echo wrong >&2; read -r line || exit 3")
    assert printed == f"blue {tmp_path}/new\nwrong\n"
    assert isinstance(end, Exited)
    assert end.exit_code == 3


def test_a_program_leads_a_session_of_its_own_under_the_usual_limits(zygote: ZygoteClient, tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    _, printed = run(zygote, tmp_path / "new", "ulimit -Sn; read -r stat </proc/$$/stat; set -- $stat; echo $1 $5 $6")
    limit, numbers = printed.splitlines()
    assert limit == str(usual)
    assert len(set(numbers.split())) == 1  # pid, process group, session


def test_a_program_ignores_no_signal_and_blocks_none(zygote: ZygoteClient, tmp_path: Path) -> None:
    _, printed = run(zygote, tmp_path / "new", "exec grep -E 'Sig(Blk|Ign)' /proc/self/status")
    ordinary = 2**31 - 1  # the two signals beyond are the C library's own
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # what a shell ignores in the background, all do
        ordinary &= -1 if signal.getsignal(number) != signal.SIG_IGN else ~(1 << number - 1)
    assert [int(line.split()[1], 16) & ordinary for line in printed.splitlines()] == [0, 0]


def test_a_program_inherits_no_other_file(zygote: ZygoteClient, tmp_path: Path) -> None:
    _, printed = run(zygote, tmp_path / "new", "exec ls /proc/self/fd")
    assert printed.split() == ["0", "1", "2", "3"]  # 3 is the listing's own


def test_what_cannot_be_started_is_refused_with_the_reason(zygote: ZygoteClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    end, _ = run(zygote, tmp_path / "file" / "new", "true")
    assert isinstance(end, Refused)
    assert "Not a directory" in end.error


def test_a_program_dies_with_who_started_it(tmp_path: Path) -> None:
    code = f"""
import os, time
from engine.running.launcher import Launcher
command = "trap '' HUP TERM; sleep 1000 & wait"
pid = Launcher().spawn({BASH!r}, ["bash", "-c", command], {{}}, "{tmp_path}/new", os.dup(2))
print(pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        group = os.getpgid(pid)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "the end of the program")
    os.killpg(group, signal.SIGKILL)  # what it had started is another's to end


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_program_whose_parent_died_before_it_could_ask_is_never_started(tmp_path: Path) -> None:
    program = tmp_path / "launcher"
    program.write_bytes(launcher._executable(os.getpid() + 1))
    program.chmod(0o755)
    done = subprocess.run([BASH, "-c", f"exec -a {BASH} {program} bash -c 'echo started'"], capture_output=True)
    assert (done.returncode, done.stdout) == (127, b"")


def test_the_folder_of_who_starts_programs_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    starter = Launcher()
    output = os.dup(2)
    pid = starter.spawn(BASH, ["bash", "-c", "true"], {}, str(tmp_path / "new"), output)
    assert os.waitpid(pid, 0)[1] == 0
    assert Path.cwd() == tmp_path
    starter.close()
    os.close(output)
