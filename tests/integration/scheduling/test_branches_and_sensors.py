"""Branches, short circuits, sensors and triggered runs through a real scheduler on SQLite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from alerting.kinds import EventKind
from engine.metastore.tables import DagRun, TaskAttempt, TaskInstance, XCom
from engine.metastore.transitions import creating
from tests.contract.metastore.told import told
from tests.integration.scheduling.engine_home import Home
from tests.servers.processes import wait_until

AIRFLOW = """
from airflow.decorators import task
from airflow.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException
from airflow.operators.bash import BashOperator
from airflow.operators.empty import EmptyOperator
from airflow.operators.latest_only import LatestOnlyOperator
from airflow.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
from airflow.sensors.bash import BashSensor
from airflow.sensors.external_task import ExternalTaskSensor
from airflow.sensors.filesystem import FileSensor
from airflow.sensors.python import PythonSensor
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    made = Home()
    made.scheduler()
    yield made
    made.close()


def run(home: Home, dag_id: str, body: str, preamble: str = "") -> dict[str, str]:
    """The states in which the tasks of a DAG end."""
    home.add(dag_id, body, preamble=AIRFLOW + preamble)
    home.finish(dag_id, timeout=30)
    return home.states(dag_id)


def test_what_a_branch_does_not_follow_is_skipped_and_the_join_runs(home: Home) -> None:
    body = """
    @task.branch
    def choose():
        return "left"
    left, right = EmptyOperator(task_id="left"), BashOperator(task_id="right", bash_command="exit 1")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    choose() >> [left, right] >> join
    """
    assert run(home, "branch", body) == {"choose": "success", "left": "success", "right": "skipped", "join": "success"}
    assert home.runs("branch")[0].state == "success"


def test_a_task_that_also_lies_on_the_chosen_side_is_not_skipped(home: Home) -> None:
    body = """
    choose = BranchPythonOperator(task_id="choose", python_callable=lambda: ["a"])
    a, b, both = (EmptyOperator(task_id=name) for name in ("a", "b", "both"))
    both.trigger_rule = "none_failed"
    choose >> [a, b, both]
    a >> both
    """
    assert run(home, "shared", body) == {"choose": "success", "a": "success", "b": "skipped", "both": "success"}


def test_a_branch_to_a_task_that_is_not_there_fails_with_a_suggestion(home: Home) -> None:
    body = """
    choose = BranchPythonOperator(task_id="choose", python_callable=lambda: "lefft")
    choose >> EmptyOperator(task_id="left")
    """
    assert run(home, "lost", body) == {"choose": "failed", "left": "upstream_failed"}
    error = home.last("lost", "choose").error
    assert "choose chose 'lefft', which is no task of DAG 'lost'. Did you mean 'left'?" in error


@pytest.mark.parametrize(("ignore", "last"), [(True, "skipped"), (False, "success")])
def test_a_short_circuit_skips_all_behind_it_or_only_what_is_next(home: Home, ignore: bool, last: str) -> None:
    body = f"""
    @task.short_circuit(ignore_downstream_trigger_rules={ignore})
    def go_on():
        return False
    last = EmptyOperator(task_id="last", trigger_rule="all_done")
    go_on() >> EmptyOperator(task_id="next") >> last
    """
    assert run(home, f"short_{ignore}", body) == {"go_on": "success", "next": "skipped", "last": last}


def test_a_decision_survives_the_failure_of_an_attempt_before_it(home: Home) -> None:
    body = """
    @task.branch(retries=1, retry_delay=0)
    def choose(ti):
        if ti.try_number == 1:
            raise ValueError("not yet")
        return "left"
    choose() >> [EmptyOperator(task_id="left"), EmptyOperator(task_id="right")]
    """
    assert run(home, "again", body) == {"choose": "success", "left": "success", "right": "skipped"}


def test_a_run_by_hand_is_always_the_latest(home: Home) -> None:
    body = 'LatestOnlyOperator(task_id="latest") >> EmptyOperator(task_id="behind")'
    assert run(home, "latest", body) == {"latest": "success", "behind": "success"}


SENSOR = """
class Counting(BaseSensorOperator):
    def __init__(self, *, times, file, **kwargs):
        super().__init__(**kwargs)
        self.times, self.file = times, file
    def poke(self, context):
        with open(self.file, "a") as file:
            file.write("x")
        looks = os.path.getsize(self.file)
        print("look", looks, "attempt", context["ti"].try_number)
        if looks < self.times:
            return False
        return PokeReturnValue(True, looks)
"""


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_sensor_looks_until_it_is_so_within_one_attempt(home: Home, mode: str) -> None:
    body = f"""
    sensor = Counting(task_id="sensor_{mode}", times=3, file="{home.folder}/{mode}", mode="{mode}", poke_interval=0.2,
                      timeout=60)
    sensor >> BashOperator(task_id="after", bash_command="echo {{{{{{{{ ti.xcom_pull('sensor_{mode}') }}}}}}}}")
    """.replace("{{{{", "{{").replace("}}}}", "}}")
    failures = home.statsd.total("ti_failures", dag_id=f"sense_{mode}")
    assert run(home, f"sense_{mode}", body, SENSOR) == {f"sensor_{mode}": "success", "after": "success"}
    (attempt,) = home.attempts(f"sense_{mode}", f"sensor_{mode}")
    assert (attempt.try_number, attempt.state) == (1, "success")
    log = home.log(f"sense_{mode}", f"sensor_{mode}")
    assert [line.partition("] ")[2] for line in log.splitlines() if "look" in line] == [
        f"look {n} attempt 1" for n in (1, 2, 3)
    ]
    assert log.count("gives its slot back") == (2 if mode == "reschedule" else 0)
    assert "3" in home.log(f"sense_{mode}", "after").splitlines()[1]
    assert home.statsd.total("ti_failures", dag_id=f"sense_{mode}") == failures == 0
    assert home.used_budgets() == {}


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize(("soft", "state"), [(False, "failed"), (True, "skipped")])
def test_a_sensor_whose_timeout_is_over_fails_without_a_retry_or_is_skipped(
    home: Home, mode: str, soft: bool, state: str
) -> None:
    dag_id = f"timeout_{mode}_{soft}"
    body = f"""
    PythonSensor(task_id="t", python_callable=lambda: False, mode="{mode}", poke_interval=0.2, timeout=0.5,
                 soft_fail={soft}, retries=3)
    """
    assert run(home, dag_id, body) == {"t": state}
    assert "longer than its timeout of 0.5 s" in home.last(dag_id).error
    assert home.last(dag_id).try_number == 1
    kinds = [event.kind for event in told(home.store) if event.dag_id == dag_id and event.task_id]
    assert kinds == [EventKind.TASK_SKIPPED if soft else EventKind.TASK_FAILED]


def test_a_timeout_counts_from_the_first_start_of_the_attempt(home: Home) -> None:
    body = """
    PythonSensor(task_id="t", python_callable=lambda: False, mode="reschedule", poke_interval=0.3, timeout=1)
    """
    run(home, "first_start", body)
    attempt = home.last("first_start")
    assert 1.0 <= (attempt.end_date - attempt.start_date).total_seconds() < 20


def test_each_retry_of_a_sensor_has_a_timeout_of_its_own(home: Home) -> None:
    body = """
    @task.sensor(mode="reschedule", poke_interval=0.1, timeout=60, retries=1, retry_delay=0)
    def sense(ti):
        if ti.try_number == 1:
            raise ValueError("broken")
        return True
    sense()
    """
    assert run(home, "retried_sensor", body) == {"sense": "success"}
    assert [attempt.state for attempt in home.attempts("retried_sensor")] == ["up_for_retry", "success"]


def test_any_python_task_may_give_its_slot_back(home: Home) -> None:
    body = """
    @task
    def wait():
        mark = os.environ["WINDSOCK_HOME"] + "/mark"
        if not os.path.exists(mark):
            open(mark, "w").close()
            raise AirflowRescheduleException(datetime.now(timezone.utc) + timedelta(seconds=0.2))
    wait()
    """
    assert run(home, "gives_back", body) == {"wait": "success"}
    assert home.log("gives_back", "wait").count("attempt 1 of 1") == 2


def test_sensors_of_commands_and_files_see_what_is_there(home: Home) -> None:
    (home.folder / "there").mkdir()
    (home.folder / "there" / "file").touch()
    body = f"""
    BashSensor(task_id="command", bash_command="test -d {home.folder}", timeout=5)
    FileSensor(task_id="file", filepath="{home.folder}/there/f*", timeout=5)
    FileSensor(task_id="folder", filepath="{home.folder}/there", timeout=5)
    FileSensor(task_id="nothing", filepath="{home.folder}/nowhere", timeout=0, poke_interval=0, soft_fail=True)
    BashSensor(task_id="wrong", bash_command="exit 7", retry_exit_code=1, timeout=5)
    """
    expected = {"command": "success", "file": "success", "folder": "success", "nothing": "skipped", "wrong": "failed"}
    assert run(home, "standard", body) == expected


def test_an_external_sensor_waits_for_the_same_logical_date(home: Home) -> None:
    home.add(
        "upstream", 'BashOperator(task_id="a", bash_command="true")\nBashOperator(task_id="b", bash_command="exit 1")'
    )
    arguments = 'external_dag_id="upstream", mode="reschedule", poke_interval=0.2, timeout=20'
    home.add(
        "downstream",
        f"""
        ExternalTaskSensor(task_id="task", external_task_id="a", {arguments})
        ExternalTaskSensor(task_id="failed", external_task_ids=["b"], failed_states=["failed"], {arguments})
        ExternalTaskSensor(task_id="run", allowed_states=["failed"], {arguments})
        ExternalTaskSensor(task_id="unknown", external_task_id="c", check_existence=True, {arguments})
        """,
        preamble=AIRFLOW,
    )
    down = home.trigger("downstream")
    wait_until(lambda: home.states("downstream").get("task") == "up_for_reschedule", "a sensor that waits")
    with home.store.read() as connection:
        date = connection.execute(select(DagRun.logical_date).where(DagRun.dag_id == "downstream")).scalar_one()
    home.store.run(lambda tx: creating.create_run(tx, "upstream", logical_date=date))
    home.store.wake("scheduler")
    home.wait("downstream", down)
    expected = {"task": "success", "failed": "failed", "run": "success", "unknown": "failed"}
    assert home.states("downstream") == expected
    assert "['c']" in home.last("downstream", "unknown").error


TRIGGERED = (
    "BashOperator(task_id=\"t\", bash_command=\"echo {{ dag_run.conf['x'] }}; sleep {{ dag_run.conf.get('s', 0) }}\")"
)


def test_a_triggered_run_gets_its_conf_and_is_waited_for_without_a_slot(home: Home) -> None:
    home.add("target", TRIGGERED)
    body = """
    TriggerDagRunOperator(task_id="t", trigger_dag_id="target", conf={"x": "{{ ds_nodash }}", "s": 1},
                          wait_for_completion=True, poke_interval=0.2) >> EmptyOperator(task_id="after")
    """
    assert run(home, "source", body) == {"t": "success", "after": "success"}
    (made,) = home.runs("target")
    assert (made.state, made.run_type) == ("success", "manual")
    assert made.conf["x"].isdigit()
    assert made.triggered_by.startswith("task:source.t#")
    assert "gives its slot back" in home.log("source")


def test_a_task_whose_triggered_run_failed_fails_and_its_retry_makes_another(home: Home) -> None:
    home.add("failing_target", 'BashOperator(task_id="t", bash_command="exit 1")')
    body = """
    TriggerDagRunOperator(task_id="t", trigger_dag_id="failing_target", wait_for_completion=True, poke_interval=0.2,
                          retries=1, retry_delay=0)
    """
    assert run(home, "failing_source", body) == {"t": "failed"}
    first, second = home.runs("failing_target")
    assert second.run_id == f"{first.run_id}__2"
    assert f"failing_target {second.run_id} ended as failed" in home.last("failing_source").error


def test_an_attempt_that_dies_after_its_trigger_finds_its_run_again(home: Home) -> None:
    home.add("once", TRIGGERED)
    body = """
    class Dies(TriggerDagRunOperator):
        def execute(self, context):
            super().execute(context)
            if context["ti"].try_number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
    Dies(task_id="t", trigger_dag_id="once", conf={"x": 1}, retries=1, retry_delay=0)
    """
    assert run(home, "dies", body) == {"t": "success"}
    assert len(home.runs("once")) == 1


def test_a_run_that_is_there_already_fails_the_task_or_skips_it(home: Home) -> None:
    home.add("taken", TRIGGERED)
    body = """
    arguments = {"trigger_dag_id": "taken", "trigger_run_id": "mine", "conf": {"x": 1}}
    first = TriggerDagRunOperator(task_id="first", **arguments)
    first >> TriggerDagRunOperator(task_id="second", **arguments)
    first >> TriggerDagRunOperator(task_id="third", skip_when_already_exists=True, **arguments)
    TriggerDagRunOperator(task_id="unknown", trigger_dag_id="takn")
    """
    expected = {"first": "success", "second": "failed", "third": "skipped", "unknown": "failed"}
    assert run(home, "takers", body) == expected
    assert "already has a run 'mine'" in home.last("takers", "second").error


def test_with_reset_dag_run_a_run_that_is_there_runs_again_with_its_own_conf_and_is_waited_for(home: Home) -> None:
    home.add("reset", TRIGGERED)
    mine = home.trigger("reset", x="first", s=0.3)
    home.wait("reset", mine)
    body = f"""
    TriggerDagRunOperator(task_id="t", trigger_dag_id="reset", trigger_run_id="{mine}", conf={{"x": "second"}},
                          reset_dag_run=True, wait_for_completion=True, poke_interval=0.1)
    """
    assert run(home, "resets", body) == {"t": "success"}
    (made,) = home.runs("reset")
    assert (made.state, made.clears, made.conf["x"]) == ("success", 1, "first")
    with home.store.read() as connection:
        tries = select(TaskAttempt.state).join(TaskInstance).where(TaskInstance.dag_id == "reset")
        assert connection.execute(tries).scalars().all() == ["success", "success"]


def test_a_run_of_the_same_logical_date_is_reset_too_and_without_one_it_is_made(home: Home) -> None:
    home.add("dated", TRIGGERED)
    body = """
    about = {"trigger_dag_id": "dated", "logical_date": "2026-01-01T00:00:00+00:00", "conf": {"x": 1},
             "reset_dag_run": True, "wait_for_completion": True, "poke_interval": 0.1}
    made = TriggerDagRunOperator(task_id="made", trigger_run_id="mine", **about)
    made >> TriggerDagRunOperator(task_id="reset", **about)
    """
    assert run(home, "dates", body) == {"made": "success", "reset": "success"}
    (made,) = home.runs("dated")
    assert (made.run_id, made.state, made.clears) == ("mine", "success", 1)
    assert "there is no DAG 'takn'" in home.last("takers", "unknown").error


def test_a_supervisor_without_a_scheduler_answers_what_tasks_ask() -> None:
    own = Home()
    try:
        scheduler = own.scheduler()
        own.add("target", TRIGGERED)
        own.add(
            "source",
            """
            class Later(TriggerDagRunOperator):
                def execute(self, context):
                    while not os.path.exists(os.environ["WINDSOCK_HOME"] + "/go"):
                        time.sleep(0.05)
                    super().execute(context)
            Later(task_id="t", trigger_dag_id="target", conf={"x": 1})
            """,
            preamble=AIRFLOW,
        )
        own.trigger("source")
        wait_until(lambda: own.running("source") == 1, "the task")
        os.kill(scheduler.pid, signal.SIGKILL)
        scheduler.wait()
        (own.folder / "go").touch()
        wait_until(lambda: own.states("source").get("t") == "success", "the end of the task")
        assert len(own.runs("target")) == 1
    finally:
        own.close()


def test_values_of_earlier_runs_are_pulled_where_that_is_asked_for(home: Home) -> None:
    body = """
    @task
    def leave(dag_run):
        return dag_run.conf.get("x")
    @task
    def look(ti):
        return [ti.xcom_pull("leave"), ti.xcom_pull("leave", include_prior_dates=True)]
    leave() >> look()
    """
    home.add("prior", body, preamble=AIRFLOW)
    home.finish("prior", x=1)
    home.finish("prior")
    with home.store.read() as connection:
        statement = select(XCom.value).join(TaskInstance, TaskInstance.id == XCom.ti_id)
        told = connection.execute(statement.where(TaskInstance.task_id == "look").order_by(XCom.ti_id)).scalars().all()
    assert told == ["[1, 1]", "[null, 1]"]


def test_each_item_of_multiple_outputs_is_a_value_of_its_own(home: Home) -> None:
    body = """
    @task
    def make() -> dict:
        return {"a": 1, "b": 2}
    @task
    def add(a, b):
        assert (a, b) == (1, 2)
    @task(multiple_outputs=True)
    def wrong():
        return [1]
    made = make()
    add(made["a"], made["b"])
    wrong()
    """
    assert run(home, "outputs", body) == {"make": "success", "add": "success", "wrong": "failed"}
    assert "must return a dict with strings as keys, not list" in home.last("outputs", "wrong").error


def test_what_is_called_at_the_start_runs_in_the_attempt_itself_and_cannot_fail_it(home: Home) -> None:
    preamble = """
def tell(context):
    print("starting", context["ti"].task_id, os.getpid())
def broken(context):
    raise ValueError("broken")
"""
    body = """
    BashOperator(task_id="bash", bash_command="echo pid $PPID", on_execute_callback=tell)
    PythonOperator(task_id="python", python_callable=os.getpid, on_execute_callback=[broken, tell])
    """
    assert run(home, "at_start", body, preamble) == {"bash": "success", "python": "success"}
    assert "starting bash" in home.log("at_start", "bash")
    log = home.log("at_start", "python")
    assert "on_execute_callback broken raised ValueError; the task goes on" in log
    assert "starting python" in log
