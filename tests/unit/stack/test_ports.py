from __future__ import annotations

import os
import socket

import pytest

from engine.stack.component import Component, Port
from engine.stack.control import StackError, block_taken
from engine.stack.ports import problem_with, taken_ports
from tests.servers.processes import free_port


def component(port: Port, *, core: bool = True, name: str = "webserver") -> Component:
    return Component(name=name, argv=("web",), ports=(port,), core=core)


def test_a_free_port_is_no_problem() -> None:
    assert problem_with(component(Port(free_port(), ("X",))), Port(free_port(), ("X",)), set()) == ""


def test_a_taken_port_is_told_with_its_holder_and_the_setting_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        port = Port(number, ("WINDSOCK__WEBSERVER__WEB_SERVER_PORT",))
        problem = problem_with(component(port), port, set())
    assert problem.startswith(f"webserver: port {number} is taken by process {os.getpid()} (")
    moved = int(problem.rpartition("WINDSOCK__WEBSERVER__WEB_SERVER_PORT=")[2])
    assert moved > number


def test_a_taken_udp_port_is_found() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = Port(server.getsockname()[1], ("A", "B"), protocol="udp")
        problem = problem_with(component(port), port, set())
    assert f"port {port.number}/udp is taken by process {os.getpid()}" in problem
    assert "A=" in problem
    assert " B=" in problem


def test_a_port_left_in_time_wait_counts_as_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", number))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    port = Port(number, ("X",))
    assert problem_with(component(port), port, set()) == ""


def test_an_address_that_is_not_ours_is_told_with_its_setting() -> None:
    port = Port(free_port(), ("X",), host="192.0.2.1", host_setting="H")
    problem = problem_with(component(port), port, set())
    assert "cannot listen at 192.0.2.1" in problem
    assert problem.endswith("Correct H")


def test_a_component_that_is_not_installed_needs_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Port(server.getsockname()[1], ("X",))
        assert taken_ports([Component(name="grafana", argv=(), ports=(port,))]) == []


def test_a_taken_port_of_the_core_refuses_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(StackError, match="is taken by"):
        block_taken([component(Port(server.getsockname()[1], ("X",)))])


def test_a_taken_port_of_an_extra_blocks_that_extra_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        blocked, other = block_taken(
            [
                component(Port(server.getsockname()[1], ("X",)), core=False),
                component(Port(free_port(), ("Y",)), name="other"),
            ]
        )
    assert "is taken by" in blocked.blocked_by
    assert other.blocked_by == ""


def test_a_number_taken_for_udp_and_for_tcp_is_told_once() -> None:
    number = free_port()
    with socket.create_server(("127.0.0.1", number)), socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", number))
        both = (Port(number, ("X",), protocol="udp"), Port(number, ("X",)))
        assert len(taken_ports([Component(name="exporter", argv=("e",), ports=both)])) == 1


def test_no_number_is_suggested_twice_or_where_another_is_to_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        one, two = (server.getsockname()[1] for server in (first, second))
        others = [component(Port(number, (f"N{number}",)), name="other") for number in range(one + 1, one + 5)]
        taken = [component(Port(number, ("X",)), name=name) for name, number in (("a", one), ("b", one), ("c", two))]
        suggested = [int(text.rpartition("X=")[2]) for _, _, text in taken_ports([*taken, *others]) if "X=" in text]
    assert len(set(suggested)) == 3
    assert not set(suggested) & {one, two, *range(one + 1, one + 5)}


def test_where_several_ports_are_taken_the_page_that_moves_all_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        both = [component(Port(server.getsockname()[1], ("X",))) for server in (first, second)]
        with pytest.raises(StackError, match=r"to move all ports at once: docs/configuration\.md, Other ports$"):
            block_taken(both)
        with pytest.raises(StackError) as refused:
            block_taken(both[:1])
    assert "move all" not in str(refused.value)
