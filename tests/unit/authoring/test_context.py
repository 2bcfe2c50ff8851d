from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest

from engine import DAG, BaseOperator, EmptyOperator, PythonOperator, get_current_context, task
from engine.authoring.absent_names import PAST_SUCCESSES
from engine.authoring.attempt_context import AttemptContext
from engine.authoring.context import NAMES, Context, build_context
from engine.authoring.exceptions import AuthoringError
from engine.authoring.execution import execute

START = datetime(2026, 1, 1, tzinfo=UTC)


def context_of(record: AttemptContext, xcom: Any, made: BaseOperator | None = None, **dag_arguments: Any) -> Context:
    dag = DAG("d", schedule="@daily", start_date=START, **dag_arguments)
    made = made or EmptyOperator(task_id="t")
    dag.add_task(made)
    return build_context(record, dag, made, xcom)


@pytest.fixture
def context(make_record: Callable[..., AttemptContext], make_xcom: Callable[..., Any]) -> Context:
    return context_of(make_record(), make_xcom())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ds", "2026-03-01"),
        ("ds_nodash", "20260301"),
        ("ts", "2026-03-01T00:00:00+00:00"),
        ("ts_nodash", "20260301T000000"),
        ("ts_nodash_with_tz", "20260301T000000+0000"),
        ("yesterday_ds", "2026-02-28"),
        ("yesterday_ds_nodash", "20260228"),
        ("tomorrow_ds", "2026-03-02"),
        ("tomorrow_ds_nodash", "20260302"),
        ("prev_ds", "2026-02-28"),
        ("next_ds", "2026-03-02"),
        ("run_id", "scheduled__2026-03-01T00:00:00+00:00"),
        ("task_instance_key_str", "d__t__20260301"),
        ("logical_date", pendulum.datetime(2026, 3, 1)),
        ("execution_date", pendulum.datetime(2026, 3, 1)),
        ("data_interval_start", pendulum.datetime(2026, 3, 1)),
        ("data_interval_end", pendulum.datetime(2026, 3, 2)),
        ("next_execution_date", pendulum.datetime(2026, 3, 2)),
        ("prev_execution_date", pendulum.datetime(2026, 2, 28)),
        ("test_mode", False),
    ],
)
def test_names_mean_what_they_mean_in_airflow(context: Context, name: str, value: object) -> None:
    assert context[name] == value


WAYS_OF_READING: dict[str, Callable[[Context], Mapping[str, Any]]] = {
    "dict": dict,
    "unpacked": lambda context: {**context},
    "items": lambda context: {name: value for name, value in context.items()},  # noqa: C416 - items() is what is read
    "keys": lambda context: {name: context[name] for name in context.keys()},  # noqa: SIM118
    "values": lambda context: dict(zip(list(context), context.values(), strict=True)),
    "get": lambda context: {name: context.get(name) for name in NAMES if name in context},
    "index": lambda context: {name: context[name] for name in NAMES if name in context},
    "kwargs": lambda context: read_by_function(context, lambda **kwargs: kwargs),
    "kwargs behind names": lambda context: read_by_function(
        context, lambda dag_run=None, ti=None, **kwargs: {"dag_run": dag_run, "ti": ti, **kwargs}
    ),
}


def read_by_function(context: Context, function: Callable[..., Any]) -> Mapping[str, Any]:
    told: Mapping[str, Any] = PythonOperator(task_id="reads", python_callable=function).execute(context)
    return told


@pytest.mark.parametrize("first", [None, "ti", "dag_run", "params", "task_instance"])
@pytest.mark.parametrize("way", WAYS_OF_READING)
def test_every_name_is_there_however_the_context_is_read_and_whatever_was_read_before(
    make_record: Any, make_xcom: Any, way: str, first: str | None
) -> None:
    context = context_of(make_record(conf={"a": 1}), make_xcom())
    if first:
        assert context[first] is not None
    found = WAYS_OF_READING[way](context)
    assert found.keys() >= NAMES.keys()
    assert len(context) == len(list(context)) == len(set(context)) == len(NAMES)
    assert found["dag_run"].conf == {"a": 1}
    assert found["ti"] is found["task_instance"]
    assert found["ti"].dag_run is found["dag_run"]


def test_names_that_one_context_has_more_are_read_like_the_others(context: Context) -> None:
    assert context["ti"] is not None
    more = context.extended(exception="e", ds="mine")
    assert (more["exception"], more["ds"], more.get("run_id")) == ("e", "mine", context["run_id"])
    assert "exception" in more
    assert "exception" not in context
    assert dict(more).keys() == NAMES.keys() | {"exception"}
    assert len(more) == len(list(more)) == len(NAMES) + 1


def test_dates_are_pendulum_objects(context: Context) -> None:
    assert isinstance(context["logical_date"], pendulum.DateTime)
    assert context["ti"].start_date.add(seconds=1).second == 3


def test_a_logical_date_in_another_zone_is_told_in_utc(make_record: Any, make_xcom: Any) -> None:
    local = pendulum.datetime(2026, 3, 1, 0, 30, tz="Europe/Paris")
    assert context_of(make_record(logical_date=local), make_xcom())["ds"] == "2026-02-28"


def test_a_manual_run_has_no_neighbours(make_record: Any, make_xcom: Any) -> None:
    context = context_of(make_record(run_type="manual"), make_xcom())
    assert context["prev_ds"] == context["next_ds"] == context["ds"]
    assert context["dag_run"].external_trigger


def test_a_run_without_a_logical_date_has_no_names_of_dates(make_record: Any, make_xcom: Any) -> None:
    context = context_of(make_record(logical_date=None), make_xcom())
    assert "ds" not in context
    assert {"ds", "ts_nodash", "logical_date", "prev_execution_date"}.isdisjoint(context)
    with pytest.raises(KeyError):
        _ = context["ds"]
    assert context["run_id"]
    assert len(list(context)) == len(context)


def test_ti_and_dag_run_tell_what_the_record_holds(context: Context) -> None:
    ti, run = context["ti"], context["dag_run"]
    assert (ti.dag_id, ti.task_id, ti.try_number, ti.max_tries, ti.map_index) == ("d", "t", 1, 3, -1)
    assert ti.key == ("d", "t", run.run_id, 1, -1)
    assert ti is context["task_instance"]
    assert ti.log_url == "http://localhost:8080/log"
    assert run.queued_at == pendulum.datetime(2026, 3, 2)
    assert (run.run_type, run.conf, run.external_trigger) == ("scheduled", {}, False)


def test_params_of_task_and_conf_lie_over_those_of_the_dag(make_record: Any, make_xcom: Any) -> None:
    made = EmptyOperator(task_id="t", params={"b": "task", "c": "task"})
    record = make_record(params={"a": "dag", "b": "dag", "c": "dag"}, conf={"c": "conf"})
    assert context_of(record, make_xcom(), made)["params"] == {"a": "dag", "b": "task", "c": "conf"}


def test_xcom_is_pulled_from_one_several_or_upstream_tasks(make_record: Any, make_xcom: Any) -> None:
    made = EmptyOperator(task_id="t")
    xcom = make_xcom(a=1, b=[2])
    context = context_of(make_record(), xcom, made)
    EmptyOperator(task_id="b", dag=made.dag) >> made
    ti = context["ti"]
    assert ti.xcom_pull("a") == 1
    assert ti.xcom_pull(["a", "b", "c"]) == [1, [2], None]
    assert ti.xcom_pull("c", default=7) == 7
    assert ti.xcom_pull() == [2]
    ti.xcom_pull("a", key="k", dag_id="other", run_id="r")
    assert xcom.asked[-1] == (("a",), "k", "other", "r")
    with pytest.raises(AuthoringError, match="map_indexes"):
        ti.xcom_pull("a", map_indexes=[1])
    ti.xcom_push("k", 3)
    assert xcom.pushed == {"k": 3}


def test_variables_and_connections_are_refused_in_words(context: Context) -> None:
    with pytest.raises(AuthoringError, match="variables are not supported yet"):
        _ = context["var"].value


def test_building_a_context_imports_nothing_and_text_dates_need_no_pendulum() -> None:
    program = """
import sys
from datetime import UTC, datetime
from engine.authoring.attempt_context import AttemptContext, DagFacts, NoXCom, TaskFacts
from engine.authoring.context import build_context
day = datetime(2026, 3, 1, tzinfo=UTC)
record = AttemptContext(dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1, max_tries=1, run_type="manual",
    logical_date=day, data_interval_start=day, data_interval_end=day, run_after=day, run_start_date=day, queued_at=day,
    conf={}, params={}, start_date=day, log_url="", hostname="")
context = build_context(record, DagFacts(dag_id="d"), TaskFacts(task_id="t"), NoXCom())
assert (context["ds"], context["ti"].try_number, context["dag_run"].run_id) == ("2026-03-01", 1, "r")
assert "pendulum" not in sys.modules
context["logical_date"]
assert "pendulum" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, "does not look up the last run that succeeded") for name in PAST_SUCCESSES),
        ("conf", "A run's conf is dag_run.conf"),
        ("triggering_asset_events", "Assets and datasets are not supported"),
        ("map_index_template", "Mapped tasks are not supported yet"),
        ("exception", "in the callbacks of a task whose attempt has not succeeded"),
        ("reason", "in the callbacks of a DAG"),
        ("dss", "Did you mean 'ds'"),
    ],
)
def test_of_a_name_that_is_not_there_the_error_says_so_and_guesses_no_other_date(
    context: Context, name: str, told: str
) -> None:
    with pytest.raises(KeyError, match=f"this context has no '{name}'. .*{told}") as caught:
        _ = context[name]
    assert "data_interval_end'" not in str(caught.value)
    assert context.get(name) is None
    assert context.get(name, 7) == 7
    assert name not in context


def test_a_run_without_a_logical_date_says_what_to_take_instead(make_record: Any, make_xcom: Any) -> None:
    context = context_of(make_record(logical_date=None), make_xcom())
    for name in ("ds", "logical_date", "prev_ds"):
        with pytest.raises(KeyError, match=f"no '{name}'. This run has no logical date; use dag_run.run_after"):
            _ = context[name]
    with pytest.raises(KeyError, match="This run has no logical date"):
        _ = context.logical_date


def test_a_function_that_asks_for_the_last_success_fails_rather_than_take_none_for_it(
    make_record: Any, make_xcom: Any
) -> None:
    def loads(prev_data_interval_end_success: Any = None) -> Any:
        return prev_data_interval_end_success

    made = PythonOperator(task_id="t", python_callable=loads)
    with pytest.raises(AuthoringError, match=r"loads\(\) asks for prev_data_interval_end_success, which is not there"):
        execute(made, context_of(make_record(), make_xcom(), made))
    for given in ({"op_args": [1]}, {"op_kwargs": {"prev_data_interval_end_success": 1}}):
        made = PythonOperator(task_id="t", python_callable=loads, **given)
        assert execute(made, context_of(make_record(), make_xcom(), made)) == 1


def test_a_task_function_that_asks_for_the_last_success_is_refused_in_its_file() -> None:
    @task
    def loads(prev_start_date_success: Any) -> None: ...

    with DAG("d"), pytest.raises(AuthoringError, match="does not look up the last run that succeeded"):
        loads()


def test_a_task_without_inlets_outlets_and_templates_dict_is_told_so(context: Context) -> None:
    assert (context["inlets"], context["outlets"], context["templates_dict"]) == ([], [], None)
    assert context["try_number"] == context["ti"].try_number == 1


def test_a_function_gets_the_names_that_it_asks_for(make_record: Any, make_xcom: Any) -> None:
    def work(first: int, ds: str, ti: Any, label: str = "x") -> tuple[Any, ...]:
        return first, ds, ti.task_id, label

    made = PythonOperator(task_id="t", python_callable=work, op_args=[5], op_kwargs={"label": "{{ ds_nodash }}"})
    assert execute(made, context_of(make_record(), make_xcom(), made)) == (5, "2026-03-01", "t", "20260301")


def test_a_task_function_may_name_templates_dict(make_record: Any, make_xcom: Any) -> None:
    @task(templates_dict={"sql": "{{ ds }}"})
    def work(templates_dict: Any) -> Any:
        return templates_dict

    with DAG("d") as dag:
        work()
    made = dag.get_task("work")
    assert execute(made, build_context(make_record(task_id="work"), dag, made, make_xcom())) == {"sql": "2026-03-01"}


def test_a_function_with_keywords_gets_everything(make_record: Any, make_xcom: Any) -> None:
    def work(**context: Any) -> tuple[str, str, Any]:
        return context["ds"], context["own"], context["templates_dict"]

    made = PythonOperator(
        task_id="t", python_callable=work, op_kwargs={"own": "mine"}, templates_dict={"sql": ["{{ ds }}"]}
    )
    context = context_of(make_record(), make_xcom(), made)
    assert execute(made, context) == ("2026-03-01", "mine", {"sql": ["2026-03-01"]})


def test_functions_of_c_are_called_with_their_arguments_only(make_record: Any, make_xcom: Any) -> None:
    made = PythonOperator(task_id="t", python_callable=max, op_args=[3, 8])
    assert execute(made, context_of(make_record(), make_xcom(), made)) == 8


def test_outputs_of_other_tasks_are_there_when_the_task_runs(make_record: Any, make_xcom: Any) -> None:
    @task
    def source() -> int: ...

    @task
    def sink(values: list[Any]) -> Any:
        return values

    with DAG("d") as dag:
        sink([source(), {"k": source()}])
    made = dag.get_task("sink")
    context = build_context(make_record(task_id="sink"), dag, made, make_xcom(source=1, source__1=2))
    assert execute(made, context) == [1, {"k": 2}]


def test_the_current_context_is_there_inside_a_task_only(make_record: Any, make_xcom: Any) -> None:
    def work() -> str:
        return str(get_current_context()["ds"])

    made = PythonOperator(task_id="t", python_callable=work)
    assert execute(made, context_of(make_record(), make_xcom(), made)) == "2026-03-01"
    program = "from engine import get_current_context\nget_current_context()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "outside a running task" in done.stderr


def test_a_custom_operator_runs_with_rendered_fields(make_record: Any, make_xcom: Any) -> None:
    class Greeter(BaseOperator):
        template_fields = ("greeting",)

        def __init__(self, *, greeting: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.greeting = greeting

        def execute(self, context: Context) -> str:
            return f"{self.greeting} at try {context['ti'].try_number}"

    made = Greeter(task_id="t", greeting="hello {{ params.who }}")
    assert execute(made, context_of(make_record(params={"who": "you"}), make_xcom(), made)) == "hello you at try 1"


def test_building_a_context_costs_microseconds(make_record: Any, make_xcom: Any) -> None:
    import timeit

    record, xcom, dag, made = make_record(), make_xcom(), DAG("d"), EmptyOperator(task_id="t")
    best = min(timeit.repeat(lambda: build_context(record, dag, made, xcom), number=100, repeat=5)) / 100
    assert timedelta(seconds=best) < timedelta(microseconds=50)
