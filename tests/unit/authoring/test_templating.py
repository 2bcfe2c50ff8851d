from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine import DAG, BashOperator, PythonOperator
from engine.authoring.attempt_context import bash_facts
from engine.authoring.context import build_context
from engine.authoring.exceptions import AirflowException, AirflowSkipException, TemplateError
from engine.authoring.execution import execute
from engine.authoring.serialize import serialize
from engine.authoring.serialized import BashSpec
from engine.authoring.templating import render_bash


def render(make_record: Any, xcom: Any, text: str, **changes: Any) -> str:
    return render_bash(BashSpec(bash_command=text), make_record(**changes), xcom, {}).command


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("echo {{ ds }}", "echo 2026-03-01"),
        ("{{ ti.try_number }} of {{ ti.max_tries }}", "1 of 3"),
        ("{{ data_interval_end | ds }}", "2026-03-02"),
        ("{{ logical_date.add(days=2) | ts_nodash }}", "20260303T000000"),
        ("{{ macros.ds_add(ds, 5) }}", "2026-03-06"),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.') }}", "01.03."),
        ("{{ (macros.datetime(2026, 1, 1) + macros.timedelta(days=1)).day }}", "2"),
        ("{{ dag_run.conf.get('x', 'none') }}", "none"),
        ("{{ params.table }}", "users"),
        ("{% for x in range(3) %}{{ x }}{{ loop.last }} {% endfor %}", "0False 1False 2True "),
        ("{% set ds = 'mine' %}{{ ds }}", "mine"),
        ("{# silent #}", ""),
        ("{{ ti.xcom_pull('a') }}", "5"),
        ("{{ dag.dag_id }} {{ task.task_id }}", "d t"),
        ("no template { }", "no template { }"),
    ],
)
def test_templates_see_airflows_names(make_record: Any, make_xcom: Any, text: str, result: str) -> None:
    assert render(make_record, make_xcom(a=5), text, params={"table": "users"}) == result


def test_facts_of_dag_and_task_travel_with_the_record(make_record: Any, make_xcom: Any) -> None:
    with DAG("d", tags=["x"], schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        BashOperator(task_id="t", bash_command="true", owner="ops", email="a@b.c")
    serialized = serialize(dag)
    facts, task_facts = bash_facts(serialized, serialized.task("t"))
    text = "{{ dag.tags[0] }} {{ task.owner }} {{ task.email[0] }} {{ prev_ds }}"
    assert render(make_record, make_xcom(), text, dag=facts, task=task_facts) == "x ops a@b.c 2026-02-28"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ dss }}", "template field bash_command: 'dss' is undefined. Did you mean 'ds'?"),
        (
            "{{ prev_data_interval_end_success }}",
            "'prev_data_interval_end_success' is undefined. Windsock does not look up the last run that succeeded.",
        ),
        ("{{ conf.get('core', 'x') }}", "'conf' is undefined. A run's conf is dag_run.conf;"),
        ("{{ exception }}", "'exception' is undefined. It is there in the callbacks of a task whose attempt"),
        (
            "{{ ds | nofilter }}",
            "No filter named 'nofilter', line 1 of the template. Correct its name, or define it in user_defined_fi",
        ),
        ("{{ params.nope }}", "has no attribute 'nope'"),
        ("{{ ds", "template field bash_command: unexpected end of template"),
        ("{{ var.value.key }}", "template field bash_command: var: variables are not supported yet."),
        ("{{ conn.db }}", "connections are not supported yet"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("missing.sh", "there is no template file 'missing.sh'"),
    ],
)
def test_what_cannot_be_rendered_is_told_by_task_and_field(
    make_record: Any, make_xcom: Any, text: str, told: str
) -> None:
    with pytest.raises(TemplateError) as refusal:
        render(make_record, make_xcom(), text)
    assert str(refusal.value).startswith("Task 't', template field bash_command")
    assert told in str(refusal.value)


def test_errors_name_the_place_inside_a_field(make_record: Any, make_xcom: Any) -> None:
    made = PythonOperator(task_id="t", python_callable=print, op_kwargs={"a": ["ok", "{{ nope }}"]}, dag=DAG("d"))
    with pytest.raises(TemplateError, match=r"template field op_kwargs\['a'\]\[1\]: 'nope' is undefined"):
        execute(made, build_context(make_record(), made.dag, made, make_xcom()))


def test_a_command_that_ends_in_sh_is_a_template_file_beside_the_dag_file(
    make_record: Any, make_xcom: Any, tmp_path: Path
) -> None:
    (tmp_path / "job.sh").write_text("echo {{ ds }} {% include 'more.sh' %}")
    (tmp_path / "more.sh").write_text("again {{ run_id }}")
    with DAG("d") as dag:
        BashOperator(task_id="t", bash_command="job.sh")
    dag.fileloc = str(tmp_path / "d.py")
    serialized = serialize(dag)
    facts, _ = bash_facts(serialized, serialized.task("t"))
    assert render(make_record, make_xcom(), "job.sh", dag=facts, run_id="r") == "echo 2026-03-01 again r"
    assert render(make_record, make_xcom(), "job.sh ", dag=facts) == "job.sh "


def test_env_is_rendered_and_replaces_or_extends_what_is_inherited(make_record: Any, make_xcom: Any) -> None:
    inherited = {"PATH": "/bin", "SECRET": "x"}

    def environment(**spec: Any) -> dict[str, str]:
        return render_bash(BashSpec(bash_command="true", **spec), make_record(), make_xcom(), inherited).env

    assert environment()["SECRET"] == "x"
    alone = environment(env={"DAY": "{{ ds }}"})
    assert (alone["DAY"], "SECRET" in alone) == ("2026-03-01", False)
    assert environment(env={"DAY": "x"}, append_env=True)["SECRET"] == "x"
    assert alone["AIRFLOW_CTX_DAG_ID"] == "d"
    assert alone["AIRFLOW_CTX_EXECUTION_DATE"] == "2026-03-01T00:00:00+00:00"


def test_macros_and_filters_of_the_dag_are_used_by_tasks_that_import_it(make_record: Any, make_xcom: Any) -> None:
    dag = DAG("d", user_defined_macros={"shout": str.upper}, user_defined_filters={"twice": lambda text: text * 2})
    made = PythonOperator(
        task_id="t", python_callable=lambda x: x, op_args=["{{ shout('a') }} {{ 'b' | twice }}"], dag=dag
    )
    assert execute(made, build_context(make_record(), dag, made, make_xcom())) == "A bb"
    assert not serialize(dag).needs_file_to_render
    BashOperator(task_id="b", bash_command="{{ shout('a') }}", dag=dag)
    assert serialize(dag).needs_file_to_render


def test_plain_strings_do_not_even_import_jinja() -> None:
    program = """
import sys
from engine.authoring.templating import Renderer
assert Renderer(None, "t").field("bash_command", "echo plain", (".sh",)) == "echo plain"
assert "jinja2" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_subclass_of_bash_operator_can_run_its_command(
    make_record: Any, make_xcom: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(command: str, **arguments: Any) -> Any:
        made = BashOperator(task_id="t", bash_command=command, dag=DAG("d"), **arguments)
        return execute(made, build_context(make_record(), made.dag, made, make_xcom()))

    assert run("echo one; echo {{ ds }} $AIRFLOW_CTX_TASK_ID") == "2026-03-01 t"
    assert "one" in capfd.readouterr().out
    with pytest.raises(AirflowSkipException):
        run("exit 99")
    with pytest.raises(AirflowException, match="exited with 3"):
        run("exit 3")
    with pytest.raises(AirflowException, match="exited with 99"):
        run("exit 99", skip_on_exit_code=None)
