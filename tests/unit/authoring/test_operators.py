from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine import DAG, BaseOperator, BashOperator, EmptyOperator, PythonOperator, TriggerRule, chain, task
from engine.authoring.defaults import Defaults, using
from engine.authoring.exceptions import AirflowFailException, AuthoringError


def dag(**arguments: Any) -> DAG:
    return DAG("d", **arguments)


def empty(task_id: str, **arguments: Any) -> EmptyOperator:
    return EmptyOperator(task_id=task_id, **arguments)


def test_tasks_made_inside_with_belong_to_the_dag() -> None:
    with dag() as made:
        empty("a")
    assert made.task_ids == ["a"]
    assert made.get_task("a").dag is made


def test_tasks_join_a_dag_by_argument_and_by_an_arrow() -> None:
    made = dag()
    a, b = empty("a", dag=made), empty("b")
    a >> b
    assert b.dag is made


def test_arrows_work_in_both_directions_and_with_lists() -> None:
    with dag():
        a, b, c, d = (empty(name) for name in "abcd")
        a >> [b, c] >> d
        assert d.upstream_task_ids == {"b", "c"}
        d << a
        assert d.upstream_task_ids == {"a", "b", "c"}
        [b, c] << a
        assert a.downstream_task_ids == {"b", "c", "d"}


def test_an_arrow_returns_its_right_side_so_that_arrows_chain() -> None:
    with dag():
        a, b, c = (empty(name) for name in "abc")
        a >> b >> c
    assert (b.upstream_task_ids, c.upstream_task_ids) == ({"a"}, {"b"})


def test_chain_pairs_lists_of_one_length_and_refuses_others() -> None:
    with dag():
        a, b, c, d, e, f = (empty(name) for name in "abcdef")
        chain(a, [b, c], [d, e], f)
        assert d.upstream_task_ids == {"b"}
        assert f.upstream_task_ids == {"d", "e"}
        with pytest.raises(AuthoringError, match="cannot pair 2 tasks with 1"):
            chain([a, b], [c])


def test_tasks_of_two_dags_cannot_depend_on_one_another() -> None:
    a, b = empty("a", dag=DAG("one")), empty("b", dag=DAG("two"))
    with pytest.raises(AuthoringError, match="different DAGs"):
        a >> b


def test_default_args_fill_what_the_task_leaves_out() -> None:
    with dag(default_args={"retries": 3, "owner": "ops", "bash_command": "true"}):
        plain, own = BashOperator(task_id="a"), empty("b", retries=0)
    assert (plain.retries, plain.owner, plain.bash_command) == (3, "ops", "true")
    assert (own.retries, own.owner) == (0, "ops")


def test_default_args_reach_the_arguments_of_a_custom_operator_and_of_its_parent() -> None:
    class Loader(BaseOperator):
        def __init__(self, *, table: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.table = table

    with dag(default_args={"table": "users", "retries": 2, "elsewhere": 1}):
        loader = Loader(task_id="load")
    assert (loader.table, loader.retries) == ("users", 2)


def test_settings_stand_behind_default_args() -> None:
    with using(Defaults(retries=4, email_on_failure=False)):
        made = empty("a", dag=dag())
    assert (made.retries, made.email_on_failure, made.email_on_retry) == (4, False, True)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a@b.c", ["a@b.c"]),
        ("a@b.c, d@e.f;g@h.i", ["a@b.c", "d@e.f", "g@h.i"]),
        (["a@b.c", "d@e.f"], ["a@b.c", "d@e.f"]),
        (None, []),
    ],
)
def test_addresses_come_as_a_string_or_a_list(given: object, kept: list[str]) -> None:
    assert empty("a", email=given).email == kept


def test_an_unknown_argument_is_refused_with_a_suggestion() -> None:
    with pytest.raises(AuthoringError, match=r"no argument 'bash_comand'.*Did you mean 'bash_command'"):
        BashOperator(task_id="a", bash_command="true", bash_comand="true")


def test_a_required_argument_whose_name_is_mistyped_is_told_as_that() -> None:
    with pytest.raises(
        AuthoringError, match=r"BashOperator has no argument 'bash_comand'.*Did you mean 'bash_command'"
    ):
        BashOperator(task_id="a", bash_comand="true")
    with pytest.raises(TypeError, match="missing 1 required"):
        BashOperator(task_id="a")


def test_waiting_for_what_is_behind_the_predecessor_means_waiting_for_it_too() -> None:
    assert empty("a", wait_for_downstream=True).depends_on_past
    assert not empty("a").depends_on_past


@pytest.mark.parametrize("name", ["executor_config", "run_as_user"])
def test_what_is_not_supported_yet_is_refused_when_switched_on_and_accepted_when_off(name: str) -> None:
    with pytest.raises(AuthoringError, match=f"{name} is not supported yet"):
        empty("a", **{name: True})
    assert empty("a", **{name: False}).task_id == "a"


@pytest.mark.parametrize("task_id", ["", "with blank", "ä", "x" * 251, "a/b", 7, "a\n"])
def test_a_bad_task_id_is_refused(task_id: object) -> None:
    with pytest.raises(AuthoringError, match="is not valid"):
        empty(task_id)  # type: ignore[arg-type]


def test_two_tasks_of_one_name_are_refused_with_the_line_of_the_first() -> None:
    with dag():
        first = empty("a")
        with pytest.raises(AuthoringError, match=f"first stands in line {first.defined_at[1]}"):
            empty("a")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"execution_timeout": 5}, "execution_timeout must be a timedelta"),
        ({"sla": 5}, "sla must be a timedelta"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"retries": "2"}, "retries must be a whole number"),
        ({"trigger_rule": "all_sucess"}, "Did you mean 'all_success'"),
        ({"weight_rule": "sideways"}, "weight_rule='sideways' does not exist"),
        ({"pool_slots": 0}, "pool_slots must be at least 1"),
        ({"on_failure_callback": "notify"}, "must be a function"),
        ({"params": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}, r"\['when'\] is datetime"),
        ({"start_date": "2026-01-01"}, "start_date must be a datetime"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_by_name(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(AuthoringError, match=told):
        empty("a", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        ({"retries": -1}, "retries must be at least 0, not -1.", "Write retries=0, or more."),
        (
            {"retries": "2"},
            "retries must be a whole number, not '2'.",
            "Write digits without quotes or fraction, such as retries=1.",
        ),
        (
            {"execution_timeout": timedelta(seconds=-3)},
            "execution_timeout must be more than zero, not -3 s.",
            "Write a time of more than zero, such as execution_timeout=timedelta(minutes=10).",
        ),
        (
            {"retry_delay": -0.25},
            "retry_delay must be at least zero, not -0.25 s.",
            "Write a time of at least zero, such as retry_delay=timedelta(minutes=10).",
        ),
        (
            {"trigger_rule": "sometimes"},
            "trigger_rule='sometimes' does not exist.",
            f"Use one of {', '.join(TriggerRule)}, such as trigger_rule='all_done'.",
        ),
    ],
    ids=["too few", "no number", "negative time-out", "negative delay", "trigger rule"],
)
def test_a_value_that_is_refused_is_told_with_what_is_allowed(
    arguments: dict[str, Any], message: str, remedy: str
) -> None:
    with pytest.raises(AuthoringError) as caught:
        empty("a", **arguments)
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


def test_delays_may_be_given_in_seconds_as_in_airflow() -> None:
    made = empty("a", retry_delay=90, max_retry_delay=timedelta(hours=1))
    assert (made.retry_delay, made.max_retry_delay) == (timedelta(seconds=90), timedelta(hours=1))


def test_aliases_and_rules_are_kept_in_one_form() -> None:
    made = empty("a", task_concurrency=2, trigger_rule="all_done")
    assert (made.max_active_tis_per_dag, made.trigger_rule) == (2, TriggerRule.ALL_DONE)


def test_env_values_must_be_strings() -> None:
    with pytest.raises(AuthoringError, match=r"env\['PORT'\].*must be a string, not 80.*Write '80'"):
        BashOperator(task_id="a", bash_command="true", env={"PORT": 80})


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(AuthoringError, match="keyword arguments only"):
        EmptyOperator("a")  # type: ignore[misc]


def test_outputs_passed_to_tasks_become_dependencies() -> None:
    with dag():
        a = PythonOperator(task_id="a", python_callable=print)
        b = PythonOperator(task_id="b", python_callable=print, op_kwargs={"deep": [{"x": a.output}]})
        c = BashOperator(task_id="c", bash_command=b.output)
    assert (b.upstream_task_ids, c.upstream_task_ids) == ({"a"}, {"b"})


def test_task_functions_make_tasks_wire_results_and_number_repeated_names() -> None:
    @task
    def extract() -> int:
        return 1

    @task(retries=2, task_id="double")
    def twice(number: int, ds: str) -> int:
        return number

    with dag() as made:
        first = twice(extract())
        twice(first) >> empty("end")
        twice.override(task_id="other")(3)
    assert made.task_ids == ["extract", "double", "double__1", "end", "other"]
    assert made.get_task("double__1").upstream_task_ids == {"double"}
    assert made.get_task("double").retries == 2


def test_a_task_function_checks_its_arguments_where_it_is_called() -> None:
    @task
    def load(table: str, ds: str) -> None: ...

    with dag():
        with pytest.raises(AuthoringError, match="misses the argument 'table'"):
            load()
        with pytest.raises(AuthoringError, match="unexpected keyword argument 'tabel'"):
            load(tabel="x")


def test_flavours_of_task_that_do_not_exist_yet_are_refused_in_words() -> None:
    with pytest.raises(AuthoringError, match=r"@task\.virtualenv is not supported yet"):
        _ = task.virtualenv

    @task
    def load(table: str) -> None: ...

    with pytest.raises(AuthoringError, match="mapped tasks are not supported yet"):
        load.expand(table=["a", "b"])


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda made: type(made).partial(task_id="x"), r"EmptyOperator\.partial\(\): mapped tasks"),
        (lambda made: made.as_setup(), r"Task 'a'\.as_setup\(\): setup and teardown tasks"),
        (lambda made: made.as_teardown(setups=[]), r"Task 'a'\.as_teardown\(\): setup and teardown tasks"),
    ],
    ids=["mapped", "setup", "teardown"],
)
def test_mapped_setup_and_teardown_tasks_are_refused_in_words(refused: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(AuthoringError, match=words + " are not supported yet"):
        refused(empty("a"))


def test_a_deferrable_operator_is_refused_in_the_file_and_where_it_defers() -> None:
    with pytest.raises(AuthoringError, match=r"deferrable operators are not supported yet\. Remove deferrable=True"):
        empty("a", deferrable=True)
    assert empty("a", deferrable=False).task_id == "a"
    with pytest.raises(AirflowFailException, match=r"EmptyOperator\.defer\(\): deferrable operators are not supported"):
        empty("a").defer(trigger=None, method_name="done")
