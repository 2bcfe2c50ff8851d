from __future__ import annotations

from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedTask
from engine.metastore.graphs import Graph, build_graph


def graph(**upstream: str) -> Graph:
    tasks = tuple(
        SerializedTask(task_id=name, operator="EmptyOperator", kind="empty", upstream=tuple(parents.split()))
        for name, parents in upstream.items()
    )
    return build_graph(SerializedDag(dag_id="dag", fileloc="/dags/x.py", schedule=NoSchedule(), tasks=tasks))


def test_edges_are_turned_round() -> None:
    diamond = graph(top="", left="top", right="top", bottom="left right")
    assert diamond.children == {"top": ("left", "right"), "left": ("bottom",), "right": ("bottom",), "bottom": ()}
    assert diamond.leaves == {"bottom"}


def test_a_task_alone_is_a_leaf() -> None:
    assert graph(only="").leaves == {"only"}


def test_downstream_reaches_everything_behind_in_order_and_nothing_beside() -> None:
    assert graph(a="", b="a", beside="", c="b", d="beside c").downstream("a") == ("b", "c", "d")
    assert graph(a="", b="a").downstream("b") == ()
