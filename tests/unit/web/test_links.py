from __future__ import annotations

from engine.links import attempt_url, dag_url, query_url, run_url


def test_an_attempt_has_its_own_address() -> None:
    url = attempt_url("http://localhost:8080", "sales", "manual__2026-11-23T13:00:00+00:00", "load", 2)
    assert url == (
        "http://localhost:8080/dags/sales/runs/manual__2026-11-23T13%3A00%3A00%2B00%3A00/tasks/load/attempts/2"
    )


def test_a_mapped_attempt_names_its_index() -> None:
    assert attempt_url("", "d", "r", "t", 1, 3) == "/dags/d/runs/r/tasks/t/attempts/1?map_index=3"


def test_a_query_is_where_every_prometheus_answers() -> None:
    assert query_url("http://p:9090/", 'up == 0 and x{a="b"}') == (
        "http://p:9090/graph?g0.expr=up+%3D%3D+0+and+x%7Ba%3D%22b%22%7D&g0.tab=1"
    )


def test_a_trailing_slash_of_the_base_is_not_doubled() -> None:
    assert dag_url("https://flows.example/windsock/", "d") == "https://flows.example/windsock/dags/d"


def test_markup_and_slashes_in_ids_are_encoded() -> None:
    assert run_url("", "a/b", '"><script>') == "/dags/a%2Fb/runs/%22%3E%3Cscript%3E"
