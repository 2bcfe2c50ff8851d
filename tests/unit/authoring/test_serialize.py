from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import DAG, BaseOperator, BashOperator, EmptyOperator, PythonOperator
from engine.authoring.exceptions import AuthoringError
from engine.authoring.serialize import serialize
from engine.authoring.serialized import decode_dag, encode_dag, version_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def graph(arrows: str, **arguments: Any) -> DAG:
    """``a>b b>c`` as a DAG of empty tasks."""
    with DAG("d") as dag:
        for arrow in arrows.split():
            ends = [dag.task_dict.get(name) or EmptyOperator(task_id=name, **arguments) for name in arrow.split(">")]
            if len(ends) == 2:
                ends[0] >> ends[1]
    return dag


def weights(dag: DAG) -> dict[str, int]:
    return {task.task_id: task.priority_weight for task in serialize(dag).tasks}


def test_a_dag_comes_back_from_its_json_as_it_was() -> None:
    with DAG(
        "d",
        "what it does",
        schedule="@daily",
        start_date=START,
        end_date=START + timedelta(days=9),
        dagrun_timeout=timedelta(hours=1),
        params={"a": [1, {"b": None}]},
        tags=["x", "y"],
        on_failure_callback=print,
        sla_miss_callback=[print, repr],
        is_paused_upon_creation=True,
        default_args={"email": "a@b.c", "retries": 2, "retry_delay": timedelta(seconds=30), "owner": "ops"},
    ) as dag:
        bash = BashOperator(task_id="b", bash_command="true", env={"A": "{{ ds }}"}, sla=timedelta(minutes=2))
        bash >> PythonOperator(task_id="p", python_callable=print, on_retry_callback=print, trigger_rule="all_done")
    stored = serialize(dag)
    assert decode_dag(encode_dag(stored)) == stored
    assert (stored.callbacks, stored.owner, stored.is_paused_upon_creation) == (("on_failure", "sla_miss"), "ops", True)
    b, p = stored.tasks
    assert (b.kind, b.sla_seconds, b.retries, b.email, b.retry_delay_seconds) == ("bash", 120.0, 2, ("a@b.c",), 30.0)
    assert (p.kind, p.upstream, p.callbacks, p.trigger_rule) == ("python", ("b",), ("on_retry",), "all_done")
    assert b.bash is not None
    assert b.bash.env == {"A": "{{ ds }}"}


def test_equal_files_give_equal_versions_and_a_change_gives_another() -> None:
    one, same, other = graph("a>b a>c"), graph("a>b a>c"), graph("a>b b>c")
    for dag in (one, same, other):
        dag.fileloc = "/f.py"
    versions = [version_of(encode_dag(serialize(dag))) for dag in (one, same, other)]
    assert versions[0] == versions[1] != versions[2]


def test_an_operator_that_has_logged_while_it_was_made_is_stored_as_any_other() -> None:
    class Quiet(BaseOperator):
        pass

    class Talks(BaseOperator):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.log.info("made")

    Talks.__name__ = Quiet.__name__
    versions = []
    for kind in (Quiet, Talks):
        with DAG("d") as dag:
            kind(task_id="t")
        dag.fileloc = "/f.py"
        versions.append(version_of(encode_dag(serialize(dag))))
    assert versions[0] == versions[1]


def test_upstream_tasks_stand_before_their_children() -> None:
    order = [task.task_id for task in serialize(graph("z>a a>m y>m")).tasks]
    assert order.index("z") < order.index("a") < order.index("m")
    assert order.index("y") < order.index("m")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25), st.permutations(range(10)))
def test_any_graph_is_ordered_or_told_as_a_cycle_that_exists(arrows: list[tuple[int, int]], rank: list[int]) -> None:
    text = " ".join(f"t{a}>t{b}" for a, b in arrows)
    dag = graph(text)
    drawn = {(f"t{a}", f"t{b}") for a, b in arrows}
    try:
        tasks = serialize(dag).tasks
    except AuthoringError as error:
        cycle = error.message.split(": ")[1].rstrip(".").split(" >> ")
        assert cycle[0] == cycle[-1]
        assert set(pairwise(cycle)) <= drawn
    else:
        seen: set[str] = set()
        for task in tasks:
            assert set(task.upstream) <= seen
            seen.add(task.task_id)


def test_a_cycle_is_told_task_by_task_with_the_line_of_one() -> None:
    dag = graph("a>b b>c c>d d>b")
    with pytest.raises(AuthoringError, match="has a cycle: b >> c >> d >> b") as refusal:
        serialize(dag)
    assert refusal.value.line == dag.get_task("b").defined_at[1]
    with pytest.raises(AuthoringError, match="a >> a"):
        serialize(graph("a>a"))


def test_weights_sum_up_what_is_downstream_by_default() -> None:
    assert weights(graph("a>b a>c b>d c>d")) == {"a": 4, "b": 2, "c": 2, "d": 1}


def test_weights_sum_up_what_is_upstream_or_stay_as_they_are() -> None:
    assert weights(graph("a>b a>c b>d c>d", weight_rule="upstream")) == {"a": 1, "b": 2, "c": 2, "d": 4}
    assert weights(graph("a>b b>c", weight_rule="absolute", priority_weight=7)) == {"a": 7, "b": 7, "c": 7}


def test_unequal_weights_are_summed_with_each_task_once() -> None:
    dag = graph("a>b a>c b>d c>d", priority_weight=2)
    dag.get_task("d").priority_weight = 10
    assert weights(dag) == {"a": 16, "b": 12, "c": 12, "d": 10}


def test_a_scheduled_dag_needs_a_start_date_from_itself_or_its_tasks() -> None:
    with pytest.raises(AuthoringError, match="has a schedule but no start_date"):
        serialize(DAG("d", schedule="@daily"))
    with DAG("d", schedule="@daily") as dag:
        EmptyOperator(task_id="a", start_date=START)
    assert serialize(dag).start_date == START


def test_a_misspelt_default_arg_is_told_but_foreign_ones_are_not() -> None:
    with DAG("d", default_args={"retry_dealy": 5}) as dag:
        EmptyOperator(task_id="a")
    with pytest.raises(AuthoringError, match="Did you mean 'retry_delay'"):
        serialize(dag)
    serialize(DAG("e", default_args={"kubernetes_namespace": "x", "retries": 1}))


def test_operators_with_an_execute_of_their_own_run_in_python() -> None:
    class MyBash(BashOperator):
        def execute(self, context: Any) -> str:
            return super().execute(context)

    class MyEmpty(EmptyOperator):
        def execute(self, context: Any) -> None: ...

    class Renamed(BashOperator):
        pass

    class Custom(BaseOperator):
        def execute(self, context: Any) -> None: ...

    with DAG("d") as dag:
        MyBash(task_id="a", bash_command="true")
        MyEmpty(task_id="b")
        Renamed(task_id="c", bash_command="true")
        Custom(task_id="d")
    kinds = {task.task_id: (task.kind, task.operator) for task in serialize(dag).tasks}
    assert kinds == {
        "a": ("python", "MyBash"),
        "b": ("python", "MyEmpty"),
        "c": ("bash", "Renamed"),
        "d": ("python", "Custom"),
    }


def test_a_large_dag_is_serialised_in_a_blink() -> None:
    with DAG("d") as dag:
        tasks = [EmptyOperator(task_id=f"t{index}") for index in range(1000)]
        for index, one in enumerate(tasks[:-1]):
            one >> tasks[index + 1]
    assert weights(dag)["t0"] == 1000


def test_a_weight_beyond_what_a_column_holds_counts_as_the_largest() -> None:
    most = 2**31 - 1
    dag = graph("a>b", priority_weight=most)
    assert weights(dag) == {"a": most, "b": most}
    assert weights(graph("a>b", priority_weight=-most)) == {"a": -most, "b": -most}
    with pytest.raises(AuthoringError, match=f"priority_weight must be at most {most}"):
        graph("a", priority_weight=most + 1)


def test_a_task_may_say_how_often_it_runs_in_one_run() -> None:
    graph("a", max_active_tis_per_dagrun=1)
    with pytest.raises(AuthoringError, match="max_active_tis_per_dagrun must be at least 1"):
        graph("a", max_active_tis_per_dagrun=0)
