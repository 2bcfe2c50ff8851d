"""The supervisor with real processes as components, none of them Windsock's own."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.linux import start_mark
from engine.stack.component import Component, Http, Plan, Port
from engine.stack.control import (
    Ended,
    Outcome,
    _longest_stop,
    call_supervisor,
    end_leftovers,
    hand_over,
    sent_away_on_failure,
    stop,
    take_stack,
    wait_until_healthy,
)
from engine.stack.state import ComponentState, Phase, read_state, running_pid, take_lock, write_pid
from tests.servers.binaries import ROOT
from tests.servers.machine import Machine
from tests.servers.processes import free_port, wait_until


class Stack:
    """A stack of these components in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *components: Component, foreground: bool = False) -> subprocess.Popen[bytes]:
        lock = take_stack(self.home)
        assert lock is not None
        plan = Plan(
            home=str(self.home),
            logs=str(self.home / "logs"),
            components=components,
            foreground=foreground,
            backoff_seconds=0.05,
            max_backoff_seconds=0.2,
        )
        self.processes.append(call_supervisor(self.home, self.home / "logs", lock, foreground=foreground))
        hand_over(plan, self.processes[-1])
        return self.processes[-1]

    def wait(self, within: float = 60) -> Outcome:
        return wait_until_healthy(self.home, self.processes[-1], dict, within)

    def component(self, name: str) -> ComponentState:
        """What the state says of one, once there is a state: it is written when all have been started."""
        wait_until(lambda: read_state(self.home), "the state")
        state = read_state(self.home)
        assert state is not None
        return next(found for found in state.components if found.component.name == name)

    def restarts(self, name: str) -> int:
        return self.component(name).restarts if read_state(self.home) else 0

    def log(self) -> str:
        return (self.home / "logs" / "stack" / "stack.log").read_text()

    def clean(self) -> None:
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
            process.wait(60)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.clean()
    end_leftovers(tmp_path)


def shell(name: str, script: str, **more: object) -> Component:
    return Component(name=name, argv=("/bin/sh", "-c", script), **more)  # type: ignore[arg-type]


def web(port: int) -> Component:
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    return Component(name="web", argv=argv, checks=(Http(f"http://127.0.0.1:{port}/"),), ports=(Port(port, ("X",)),))


def test_a_stack_starts_is_healthy_and_stops(stack: Stack) -> None:
    supervisor = stack.start(web(free_port()), shell("sleeper", "exec sleep 1000"))
    assert stack.wait().ended is Ended.HEALTHY
    assert running_pid(stack.home) == supervisor.pid
    pids = [stack.component(name).pid for name in ("web", "sleeper")]
    assert stop(stack.home)
    assert running_pid(stack.home) is None
    assert not any(pid and psutil.pid_exists(pid) for pid in pids)
    assert read_state(stack.home) is None


def test_stopping_what_does_not_run_says_so(stack: Stack) -> None:
    assert not stop(stack.home)


def test_a_killed_component_is_restarted_and_said(stack: Stack) -> None:
    stack.start(web(free_port()))
    stack.wait()
    pid = stack.component("web").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stack.restarts("web") == 1, "the restart")
    outcome = stack.wait()
    assert outcome.ended is Ended.HEALTHY
    assert stack.component("web").pid != pid
    assert "web died after" in stack.log()
    assert "killed by SIGKILL" in stack.log()


def test_the_last_words_of_a_dying_component_are_told_and_only_of_this_life(stack: Stack) -> None:
    stack.start(shell("flaky", 'echo "words $$"; exit 3'), shell("sleeper", "exec sleep 1000"))
    wait_until(lambda: stack.restarts("flaky") >= 2, "two restarts")
    stories = stack.log().split("flaky died")[1:]
    assert "exit code 3" in stories[0]
    assert all(story.count("words ") == 1 for story in stories[:2])


def test_a_core_component_that_dies_again_and_again_ends_the_wait(stack: Stack) -> None:
    never = Http(f"http://127.0.0.1:{free_port()}/")  # without a check it is well for as long as it lives
    stack.start(shell("flaky", "exit 3", checks=(never,)))
    assert stack.wait().ended is Ended.HOPELESS


def test_an_extra_that_dies_again_and_again_does_not(stack: Stack) -> None:
    stack.start(shell("flaky", "exit 3", core=False), shell("sleeper", "exec sleep 1000"))
    assert stack.wait().ended is Ended.HEALTHY


def test_a_program_that_cannot_be_started_is_named(stack: Stack) -> None:
    stack.start(Component(name="ghost", argv=("/no/such/program",)))
    assert stack.wait().ended is Ended.HOPELESS
    assert "could not be started: No such file or directory: /no/such/program" in stack.component("ghost").last_exit


def test_a_program_that_is_not_installed_stops_nobody_else(stack: Stack) -> None:
    stack.start(Component(name="grafana", argv=(), core=False, remedy="get it"), shell("sleeper", "exec sleep 1000"))
    assert stack.wait().ended is Ended.HEALTHY
    assert stack.component("grafana").phase is Phase.NOT_INSTALLED


def test_a_component_that_ignores_term_is_killed_after_its_grace(stack: Stack) -> None:
    stubborn = shell("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.05; done", stop_grace_seconds=0.3)
    stack.start(stubborn)
    log = stack.home / "logs" / "stubborn" / "stubborn.log"
    wait_until(lambda: log.exists() and log.read_text(), "the trap")
    pid = stack.component("stubborn").pid
    assert stop(stack.home)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert "stubborn did not stop in 0.3 s" in stack.log()
    assert "stubborn stopped (killed by us after 0.3 s)" in stack.log()
    assert "memory" not in stack.log()


def test_a_full_disk_neither_ends_the_stack_nor_its_watch(stack: Stack) -> None:
    supervisor = stack.start(shell("sleeper", "exec sleep 1000"), shell("other", "exec sleep 1000"))
    stack.wait()
    before = {name: stack.component(name).pid for name in ("sleeper", "other")}
    _, hard = resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, (0, hard))  # whatever it writes now is refused
    pid = before["sleeper"] or 0
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(psutil.Process(supervisor.pid).children()) == 2 and not psutil.pid_exists(pid), "a restart")
    assert psutil.pid_exists(before["other"] or 0)
    assert stack.restarts("sleeper") == 0  # as far as the file tells
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: stack.restarts("sleeper") == 1, "the state to be written")
    assert stack.component("other").pid == before["other"]
    assert stop(stack.home)


def test_a_supervisor_that_can_open_no_file_lives_on_with_its_components(stack: Stack) -> None:
    supervisor = stack.start(shell("sleeper", "exec sleep 1000"), shell("other", "exec sleep 1000"))
    stack.wait()
    other = stack.component("other").pid
    limits = resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
    os.kill(stack.component("sleeper").pid or 0, signal.SIGKILL)
    wait_until(lambda: "the state cannot be written" in stack.log(), "the state to be refused")
    wait_until(lambda: "sleeper died after 0.0 s: could not be started: Too many open files" in stack.log(), "a try")
    resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: psutil.pid_exists(stack.component("sleeper").pid or 0), "the restart")
    assert supervisor.poll() is None
    assert stack.component("other").pid == other


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose home is a file system of 1 MiB."""
    home = tmp_path / "disk"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", home], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    made = Stack(home)
    yield made
    made.clean()
    subprocess.run(["umount", "-l", home], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "big").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_on_a_full_disk_the_state_is_told_from_memory_and_is_the_latest(small_disk: Stack) -> None:
    small_disk.start(shell("sleeper", "exec sleep 1000"))
    small_disk.wait()
    fill(small_disk.home)
    file = small_disk.home / "run" / "stack.json"
    before = file.read_bytes()
    os.kill(small_disk.component("sleeper").pid or 0, signal.SIGKILL)
    wait_until(lambda: small_disk.restarts("sleeper") == 1, "the restart to be told")
    assert psutil.pid_exists(small_disk.component("sleeper").pid or 0)
    assert file.read_bytes() == before
    (small_disk.home / "big").unlink()
    wait_until(lambda: file.read_bytes() != before, "the state to be written")
    assert small_disk.restarts("sleeper") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_stack_that_starts_on_a_full_disk_tells_its_components_too(small_disk: Stack) -> None:
    (small_disk.home / "run").mkdir()
    (small_disk.home / "run" / "stack.pid").write_text("0\n")
    fill(small_disk.home)
    small_disk.start(shell("sleeper", "exec sleep 1000"))
    assert psutil.pid_exists(small_disk.component("sleeper").pid or 0)
    assert not (small_disk.home / "run" / "stack.json").exists()


def test_a_stop_may_take_as_long_as_the_components_were_given(stack: Stack) -> None:
    stack.start(*(shell(name, "exec sleep 1000", stop_grace_seconds=100) for name in ("one", "two")))
    stack.wait()
    assert _longest_stop(stack.home) >= 200


def test_components_stop_in_the_reverse_order_of_their_start(stack: Stack) -> None:
    stack.start(*(shell(name, "exec sleep 1000") for name in ("first", "second", "third")))
    stack.wait()
    stop(stack.home)
    stopped = [line.split()[1] for line in stack.log().splitlines() if " stopped (" in line]
    assert stopped == ["third", "second", "first"]


def test_what_a_component_leaves_behind_ends_with_the_stack(stack: Stack) -> None:
    stack.start(shell("parent", "setsid sleep 1000 & echo $!; exec sleep 1000"))
    log = stack.home / "logs" / "parent" / "parent.log"
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "the orphan")
    orphan = int(log.read_text())
    pid = stack.component("parent").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stack.restarts("parent") == 1, "the restart")
    assert psutil.pid_exists(orphan)
    stop(stack.home)
    assert not psutil.pid_exists(orphan)


def test_components_die_with_a_killed_supervisor(stack: Stack) -> None:
    supervisor = stack.start(shell("sleeper", "exec sleep 1000"))
    stack.wait()
    sleeper = stack.component("sleeper")
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: start_mark(sleeper.pid or 0) != sleeper.pid_mark, "the death of the component")
    assert running_pid(stack.home) is None


def test_after_a_killed_supervisor_the_stack_starts_again(stack: Stack) -> None:
    port = free_port()
    supervisor = stack.start(web(port))
    stack.wait()
    supervisor.kill()
    supervisor.wait()
    stack.start(web(port))
    assert stack.wait().ended is Ended.HEALTHY


def test_a_stack_in_the_foreground_stops_when_its_owner_is_gone(stack: Stack) -> None:
    supervisor = stack.start(shell("sleeper", "exec sleep 1000"), foreground=True)
    stack.wait()
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    assert supervisor.wait(60) == 0
    assert running_pid(stack.home) is None


def test_a_supervisor_that_dies_ends_the_wait(stack: Stack) -> None:
    supervisor = stack.start(shell("never", "exec sleep 1000", checks=(Http("http://127.0.0.1:1/"),)))
    wait_until(lambda: read_state(stack.home), "the first state")
    supervisor.kill()
    assert stack.wait().ended is Ended.SUPERVISOR_DIED


def test_a_core_that_is_not_healthy_in_time_ends_the_wait(stack: Stack) -> None:
    stack.start(shell("never", "exec sleep 1000", checks=(Http(f"http://127.0.0.1:{free_port()}/"),)))
    assert stack.wait(within=0.5).ended is Ended.TOO_SLOW


def test_leftovers_are_ended_but_never_a_reused_pid(stack: Stack) -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    supervisor = stack.start(shell("sleeper", "exec sleep 1000"))
    stack.wait()
    path = stack.home / "run" / "stack.json"
    text = path.read_text().replace(str(stack.component("sleeper").pid), str(bystander.pid))
    supervisor.terminate()
    supervisor.wait()
    path.write_text(text)
    assert end_leftovers(stack.home) == []
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_supervisor_that_never_gets_a_plan_ends_and_the_stack_can_be_started(stack: Stack) -> None:
    supervisor = called(stack)
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    assert supervisor.wait(30) == 0
    assert read_state(stack.home) is None
    stack.start(shell("sleeper", "exec sleep 1000"))
    assert stack.wait().ended is Ended.HEALTHY


def test_a_supervisor_is_sent_away_where_no_plan_can_be_made_and_the_stack_can_be_started(stack: Stack) -> None:
    supervisor = called(stack)
    with pytest.raises(ValueError, match="no plan"), sent_away_on_failure(supervisor):
        raise ValueError("no plan")
    assert supervisor.returncode == -signal.SIGKILL
    stack.start(shell("sleeper", "exec sleep 1000"))
    assert stack.wait().ended is Ended.HEALTHY


def test_a_supervisor_that_waits_for_its_plan_can_be_stopped(stack: Stack) -> None:
    supervisor = called(stack)
    wait_until(lambda: running_pid(stack.home) == supervisor.pid, "its number")
    assert stop(stack.home)
    assert supervisor.wait(30) == -signal.SIGTERM
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    assert running_pid(stack.home) is None


def test_while_the_stack_starts_the_command_says_so_and_down_stops_it(stack: Stack) -> None:
    machine = Machine(stack.home)
    supervisor = called(stack)
    wait_until(lambda: running_pid(stack.home) == supervisor.pid, "its number")
    assert "the stack is just starting or stopping" in machine.call("status", status=1).stderr
    assert "is just starting the stack" in machine.call("up", "--detach", status=1).stderr
    assert machine.call("down").stdout == "Windsock is stopped.\n"
    supervisor.communicate()


def test_down_says_that_it_is_done_before_it_asks_the_metastore_and_asks_once(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    with subprocess.Popen(["sleep", "100"]) as stopped, socket.create_server(("127.0.0.1", 0)) as metastore:
        write_pid(lock, stopped.pid)
        metastore.settimeout(90)
        address = f"postgresql+psycopg://u:p@127.0.0.1:{metastore.getsockname()[1]}/x"
        machine = Machine(tmp_path, WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=address)
        command = [sys.executable, "-m", "engine.cli", "down"]
        with subprocess.Popen(command, env=machine.environment, cwd=ROOT, stdout=subprocess.PIPE) as down:
            asked, _ = metastore.accept()
            assert down.stdout is not None
            said_before = select.select([down.stdout], [], [], 0)[0]
            asked.close()
            assert down.stdout.read() == b"Windsock is stopped.\n"
        metastore.setblocking(False)
        with pytest.raises(BlockingIOError):
            metastore.accept()
    os.close(lock)
    assert said_before


def test_what_a_killed_stack_told_is_told_no_more_once_another_is_called(stack: Stack) -> None:
    supervisor = stack.start(shell("sleeper", "exec sleep 1000"))
    stack.wait()
    supervisor.kill()
    supervisor.wait()
    assert read_state(stack.home)
    again = called(stack)
    assert read_state(stack.home) is None
    again.kill()
    again.communicate()


def called(stack: Stack) -> subprocess.Popen[bytes]:
    """A supervisor that waits for its plan."""
    lock = take_stack(stack.home)
    assert lock is not None
    return call_supervisor(stack.home, stack.home / "logs", lock, foreground=False)


def test_the_supervisor_stays_slim() -> None:
    code = "import sys, engine.stack.supervise; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"sqlalchemy", "rich", "click", "psutil", "pendulum"} & set(eval(loaded))
