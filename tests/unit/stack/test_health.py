from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from engine.linux import start_mark
from engine.stack.component import Check, Component, Heartbeat, Http, Tcp, Udp
from engine.stack.health import Beat, Beats, Health, Report, all_core_healthy, examine
from engine.stack.state import ComponentState, Phase, StackState
from tests.servers.processes import free_port


@pytest.fixture
def http_server() -> Iterator[Callable[[int], str]]:
    """An HTTP server that answers with the status that its path names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield lambda status: f"http://127.0.0.1:{server.server_port}/{status}"
    server.shutdown()
    thread.join()
    server.server_close()


def running(*checks: Check, started_at: float | None = None, core: bool = True) -> ComponentState:
    return ComponentState(
        component=Component(name="c", argv=("c",), checks=checks, core=core),
        phase=Phase.RUNNING,
        pid=os.getpid(),
        pid_mark=start_mark(os.getpid()),
        started_at=time.time() if started_at is None else started_at,
    )


def look(state: ComponentState, beats: Beats | None = None) -> Report:
    return examine(StackState(pid=1, started_at=0, components=(state,)), lambda: beats or {})[0]


def test_a_component_that_answers_is_healthy(http_server: Callable[[int], str]) -> None:
    assert look(running(Http(http_server(200)))).health is Health.HEALTHY


def test_an_error_status_is_not_health(http_server: Callable[[int], str]) -> None:
    report = look(running(Http(http_server(503)), started_at=0))
    assert report.health is Health.UNHEALTHY
    assert "answers with status 503" in report.detail


def test_one_that_does_not_answer_yet_is_starting_and_later_not_answering() -> None:
    check = Http(f"http://127.0.0.1:{free_port()}/")
    assert look(running(check)).health is Health.STARTING
    late = look(running(check, started_at=0))
    assert late.health is Health.UNHEALTHY
    assert "Connection refused" in late.detail


def test_a_tcp_port_that_accepts_is_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert look(running(Tcp("127.0.0.1", port))).health is Health.HEALTHY
    assert look(running(Tcp("127.0.0.1", port), started_at=0)).health is Health.UNHEALTHY


def test_a_bound_udp_port_is_healthy_and_a_free_one_is_not() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        assert look(running(Udp("127.0.0.1", server.getsockname()[1]))).health is Health.HEALTHY
    port = free_port()
    assert look(running(Udp("127.0.0.1", port), started_at=0)).detail == f"nothing listens at {port}/udp"


def test_a_fresh_heartbeat_of_this_very_process_is_health() -> None:
    state = running(Heartbeat("scheduler"))
    assert look(state, {"scheduler": [Beat(os.getpid(), 2.0)]}).health is Health.HEALTHY
    assert look(state, {"scheduler": [Beat(1, 2.0)]}).detail == "no heartbeat yet"
    assert look(state, {"notifier": [Beat(os.getpid(), 2.0)]}).detail == "no heartbeat yet"


def test_a_stale_heartbeat_is_told_with_its_age() -> None:
    report = look(running(Heartbeat("scheduler", 30), started_at=0), {"scheduler": [Beat(os.getpid(), 31.0)]})
    assert report.health is Health.UNHEALTHY
    assert report.detail == "its last heartbeat is 31 s old"


def test_an_unreachable_metastore_is_told_in_the_row_that_needs_it() -> None:
    def fail() -> Beats:
        raise RuntimeError("the database is away")

    states = (running(Heartbeat("scheduler"), started_at=0), running())
    needs, other = examine(StackState(pid=1, started_at=0, components=states), fail)
    assert needs.detail == "the database is away"
    assert other.health is Health.HEALTHY


def test_a_process_that_is_gone_is_not_mistaken_for_another_with_its_pid() -> None:
    state = ComponentState(
        component=Component(name="c", argv=("c",)), phase=Phase.RUNNING, pid=os.getpid(), pid_mark="boot:1"
    )
    assert look(state).health is Health.STOPPED


@pytest.mark.parametrize(
    ("phase", "health"),
    [
        (Phase.BACKOFF, Health.RESTARTING),
        (Phase.NOT_INSTALLED, Health.NOT_INSTALLED),
        (Phase.BLOCKED, Health.BLOCKED),
        (Phase.STOPPING, Health.STOPPED),
        (Phase.STOPPED, Health.STOPPED),
    ],
)
def test_a_component_that_does_not_run_is_told_by_its_phase(phase: Phase, health: Health) -> None:
    state = ComponentState(component=Component(name="c", argv=("c",)), phase=phase, last_exit="exit code 1")
    assert look(state).health is health


def test_only_the_core_decides_whether_the_stack_is_healthy() -> None:
    well = Report(running(), Health.HEALTHY, "")
    extra = Report(running(core=False), Health.UNHEALTHY, "")
    core = Report(running(), Health.STARTING, "")
    assert all_core_healthy([well, extra])
    assert not all_core_healthy([well, core])


def test_a_heartbeat_that_is_late_is_told_while_the_component_counts_as_healthy() -> None:
    check = Heartbeat("scheduler", stale_after_seconds=30, late_after_seconds=10)
    ages = (9.0, 16.0)
    prompt, late = (look(running(check, started_at=0), {"scheduler": [Beat(os.getpid(), age)]}) for age in ages)
    assert (prompt.health, prompt.detail) == (Health.HEALTHY, "")
    assert late.health is Health.HEALTHY
    assert late.detail == "its last heartbeat is 16 s old; from 30 s on it counts as dead"
