from __future__ import annotations

import pytest
from msgspec.structs import replace

from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedTask, TriggerRule
from engine.metastore.graphs import Blocked, Graph, build_graph


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


def test_a_failed_task_blocks_everything_behind_in_order_and_nothing_beside() -> None:
    assert graph(a="", b="a", beside="", c="b", d="beside c").blocked_by("a") == ("b", "c", "d")
    assert graph(a="", b="a").blocked_by("b") == ()


def test_what_is_blocked_is_found_once_for_all_tasks_with_the_same_children(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    find = Graph.blocked_by

    def counted(self: Graph, task_id: str) -> tuple[str, ...]:
        asked.append(task_id)
        return find(self, task_id)

    monkeypatch.setattr(Graph, "blocked_by", counted)
    shape = graph(a="", b="", c="a b", d="b", e="c")
    blocked = Blocked()
    assert [blocked.by(shape, "1", name) for name in "aabe"] == [("c", "e"), ("c", "e"), ("c", "d", "e"), ()]
    assert asked == ["a", "b", "e"]
    twins = graph(a="", b="", c="a b", d="c")
    assert [blocked.by(twins, "2", name) for name in "ab"] == [("c", "d"), ("c", "d")]
    assert asked == ["a", "b", "e", "a"]


@pytest.mark.parametrize(
    ("rule", "blocked"),
    [
        (TriggerRule.ALL_SUCCESS, ("next", "last")),
        (TriggerRule.NONE_FAILED, ("next", "last")),
        (TriggerRule.ALL_SKIPPED, ("next", "last")),
        (TriggerRule.ALL_DONE, ()),
        (TriggerRule.ONE_FAILED, ()),
        (TriggerRule.ONE_SUCCESS, ()),  # the other one may still succeed
        (TriggerRule.ALL_FAILED, ()),
        (TriggerRule.ALWAYS, ()),
    ],
)
def test_the_trigger_rule_says_whether_a_failure_blocks(rule: TriggerRule, blocked: tuple[str, ...]) -> None:
    tasks = graph(bad="", other="", next="bad other", last="next").dag.tasks
    tasks = tuple(replace(task, trigger_rule=rule) if task.task_id == "next" else task for task in tasks)
    dag = SerializedDag(dag_id="dag", fileloc="/dags/x.py", schedule=NoSchedule(), tasks=tasks)
    assert build_graph(dag).blocked_by("bad") == blocked
