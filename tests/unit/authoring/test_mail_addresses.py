from __future__ import annotations

import pytest

from engine.authoring.mail_addresses import unfit, unfit_of
from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedTask, encode_dag

_NOWHERE = "which is no mail address: nobody is told there"


@pytest.mark.parametrize("address", ["ops@example.org", "ops@localhost", "o.p+s@example.org"])
def test_an_address_is_well(address: str) -> None:
    assert unfit([("load", [address])]) == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ops@", f"'ops@', {_NOWHERE}"),
        ("not an address", f"'not an address', {_NOWHERE}"),
        ("Ops <ops@example.org>", "'Ops <ops@example.org>', which no mail reaches: write ops@example.org alone"),
        ("{{ var.value.ops }}", "'{{ var.value.ops }}', which is no mail address: nobody is told there"),
        (
            "slack://xoxb-canary/ops",
            "'slack://…', which is no mail address: a URL belongs under channels in alerting.yml",
        ),
    ],
)
def test_what_is_none_is_told_with_its_task(address: str, told: str) -> None:
    assert unfit([("load", ["good@example.org", address])]) == [f"task load: email has {told}"]


def test_one_that_many_tasks_have_is_told_once() -> None:
    tasks = [(f"t{number}", ["ops@"]) for number in range(5)]
    assert unfit(tasks) == [f"tasks t0, t1, t2 and 2 more: email has 'ops@', {_NOWHERE}"]


def test_a_long_one_is_cut() -> None:
    (told,) = unfit([("load", ["x" * 10_000])])
    assert len(told) < 300


def test_is_read_from_a_stored_dag() -> None:
    task = SerializedTask(task_id="load", operator="BashOperator", kind="bash", email=("ops@",))
    data = encode_dag(SerializedDag(dag_id="d", fileloc="d.py", schedule=NoSchedule(), tasks=(task,)))
    assert unfit_of(data) == [f"task load: email has 'ops@', {_NOWHERE}"]
