from __future__ import annotations

from engine.links import attempt_url, dag_url, run_url


def test_an_attempt_has_its_own_address() -> None:
    url = attempt_url("http://localhost:8080", "sales", "manual__2026-11-23T13:00:00+00:00", "load", 2)
    assert url == (
        "http://localhost:8080/dags/sales/runs/manual__2026-11-23T13%3A00%3A00%2B00%3A00/tasks/load/attempts/2"
    )


def test_a_mapped_attempt_names_its_index() -> None:
    assert attempt_url("", "d", "r", "t", 1, 3) == "/dags/d/runs/r/tasks/t/attempts/1?map_index=3"


def test_a_trailing_slash_of_the_base_is_not_doubled() -> None:
    assert dag_url("https://flows.example/windsock/", "d") == "https://flows.example/windsock/dags/d"


def test_markup_and_slashes_in_ids_are_encoded() -> None:
    assert run_url("", "a/b", '"><script>') == "/dags/a%2Fb/runs/%22%3E%3Cscript%3E"
