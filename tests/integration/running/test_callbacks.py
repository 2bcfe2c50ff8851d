"""User callbacks through a real scheduler and notifier on SQLite."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select

from alerting.events import AlertEvent, decode
from alerting.tables import alert_event
from engine.linux import children_of
from engine.metastore.tables import CallbackRequest
from tests.integration.scheduling.engine_home import Home, kill
from tests.servers.processes import wait_until
from tests.servers.webhook import WebhookServer

PASSWORD = "c4nary-s3cret-0123456789"

PREAMBLE = """
import json
def tell(context):
    told = {{
        'pid': os.getpid(), 'dag_id': context['dag'].dag_id,
        'run_id': context['dag_run'].run_id, 'task_id': getattr(context.get('ti'), 'task_id', None),
        'try': getattr(context.get('ti'), 'try_number', None), 'exception': str(context.get('exception')),
        'reason': context.get('reason'), 'run_error': context.get('run_error'),
        'secret': os.environ.get('WINDSOCK__SMTP__SMTP_PASSWORD'),
    }}
    print('telling', context['dag_run'].run_id)
    with open({told!r}, 'a') as file:
        file.write(json.dumps(told) + '\\n')
def fail(context):
    raise RuntimeError('the pager is off')
def linger(context):
    tell(context)
    while os.path.exists({gate!r}): time.sleep(0.01)
def fail_first(context):
    tell(context)
    if not os.path.exists({gate!r} + '-again'):
        open({gate!r} + '-again', 'w').close()
        raise RuntimeError('only once')
"""


class World:
    def __init__(self, **settings: str) -> None:
        known = {
            "WINDSOCK__SMTP__SMTP_PASSWORD": "hidden-from-callbacks",
            "WINDSOCK__CORE__CALLBACK_RETRY_DELAY": "0.05",
        }
        self.home = Home(**known, **settings)
        self.told_path, self.gate = self.home.folder / "told", self.home.folder / "gate"
        self.home.scheduler()
        self.start_notifier()

    def start_notifier(self) -> None:
        (self.home.folder / "notifier.log").unlink(missing_ok=True)
        process = self.home.start("notifier")
        wait_until(lambda: "delivering alerts" in self.home.output("notifier"), "the notifier", 30)
        self.notifier = process

    def run(self, dag_id: str, task: str, arguments: str = "schedule=None") -> str:
        """Run a DAG of one failing Bash task; `task` and `arguments` name the callbacks."""
        preamble = PREAMBLE.format(told=str(self.told_path), gate=str(self.gate))
        body = f"BashOperator(task_id='t', bash_command='echo broken; exit 3', {task})"
        self.home.add(dag_id, body, arguments=arguments, preamble=preamble)
        run_id = self.home.trigger(dag_id)
        self.home.wait(dag_id, run_id)
        return run_id

    def told(self, dag_id: str) -> list[dict[str, Any]]:
        """What the callbacks of a DAG wrote."""
        lines = self.told_path.read_text().splitlines() if self.told_path.exists() else []
        return [told for told in map(json.loads, lines) if told["dag_id"] == dag_id]

    def requests(self, dag_id: str) -> list[Row[Any]]:
        statement = select(CallbackRequest.__table__).where(CallbackRequest.dag_id == dag_id)
        with self.home.store.read() as connection:
            return list(connection.execute(statement.order_by(CallbackRequest.id)))

    def events(self, dag_id: str, kind: str) -> list[AlertEvent]:
        """What is in the outbox about a DAG."""
        statement = select(alert_event.c.payload).where(alert_event.c.dag_id == dag_id, alert_event.c.kind == kind)
        with self.home.store.read() as connection:
            payloads = connection.execute(statement.order_by(alert_event.c.id)).scalars().all()
        found = [decode(payload) for payload in payloads]
        return [event for event in found if event is not None]

    def settled(self, dag_id: str) -> list[Row[Any]]:
        """The requests of a DAG, once none is open."""
        wait_until(lambda: {row.state for row in self.requests(dag_id)} <= {"done", "dead"}, "the callbacks", 30)
        return self.requests(dag_id)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(WAREHOUSE_PASSWORD=PASSWORD)
    yield made
    made.home.close()


@pytest.fixture
def hasty_world() -> Iterator[World]:
    """One in which a callback that takes its time is ended for it."""
    made = World(WINDSOCK__CORE__CALLBACK_TIMEOUT="5", WINDSOCK__CORE__CALLBACK_RETRIES="0")
    yield made
    made.home.close()


def test_each_callback_runs_once_in_a_process_of_its_own_with_its_context(world: World) -> None:
    run_id = world.run("both", "on_failure_callback=tell", "schedule=None, on_failure_callback=tell")
    assert [row.state for row in world.settled("both")] == ["done", "done"]
    task, dag = sorted(world.told("both"), key=lambda told: told["reason"] or "")
    assert (task["run_id"], task["task_id"], task["try"]) == (run_id, "t", 1)
    assert task["exception"] == "exited with code 3: broken"
    assert (dag["run_id"], dag["reason"], dag["run_error"]) == (run_id, "task_failure", "failed tasks: t")
    assert len({task["pid"], dag["pid"], world.notifier.pid}) == 3
    assert task["secret"] is None
    logs = list(Path(world.home.settings.logging.base_log_folder).glob("dag_id=both/**/*on_failure.log"))
    assert len(logs) == 2
    assert all(f"telling {run_id}" in log.read_text() for log in logs)


def test_on_retry_and_on_success_are_called_for_their_attempts(world: World) -> None:
    task = "bash_command='[ {{ ti.try_number }} = 2 ]', retries=1, retry_delay=timedelta(0)"
    preamble = PREAMBLE.format(told=str(world.told_path), gate=str(world.gate))
    body = (
        f"BashOperator(task_id='t', {task}, on_retry_callback=tell, on_success_callback=tell, on_failure_callback=tell)"
    )
    world.home.add("again", body, preamble=preamble)
    assert world.home.finish("again") == "success"
    assert [(row.kind, row.state) for row in world.settled("again")] == [("on_retry", "done"), ("on_success", "done")]
    assert sorted(told["try"] for told in world.told("again")) == [1, 2]


def test_a_callback_that_raises_is_called_again_and_then_told_once_with_its_output(world: World) -> None:
    run_id = world.run("raising", "on_failure_callback=[fail, tell]")
    (request,) = world.settled("raising")
    assert (request.state, request.attempts, request.failures, request.left_over) == ("dead", 2, 2, [0])
    assert request.error == "fail: RuntimeError: the pager is off"
    assert request.output.splitlines()[-1] == "RuntimeError: the pager is off"
    assert "telling" not in request.output  # that was in the try before
    assert len(world.told("raising")) == 1  # the one after it was called all the same, and has returned
    (event,) = world.events("raising", "callback_failed")
    assert (event.run_id, event.task_id, event.try_number, event.cause) == (run_id, "t", 1, "exception")
    assert event.error == "fail: RuntimeError: the pager is off"
    assert event.summary == "The on_failure_callback of the task failed after 2 tries; it is not called again."
    assert event.log_path is not None
    log = (Path(world.home.settings.logging.base_log_folder) / event.log_path).read_text()
    assert log.count("windsock: failed") == 2
    wait_until(lambda: world.home.statsd.total("dag.callback_exceptions", dag_id="raising") == 2, "the metric")
    for outcome in ("retried", "failed"):
        wait_until(lambda o=outcome: world.home.statsd.total("callbacks.finished", outcome=o) >= 1, "the metric")


def test_what_fails_once_is_done_at_the_second_try_and_what_has_returned_is_not_called_again(world: World) -> None:
    world.run("flaky", "on_failure_callback=[tell, fail_first]")
    (request,) = world.settled("flaky")
    assert (request.state, request.attempts, request.failures, request.error) == ("done", 2, 1, None)
    assert len(world.told("flaky")) == 3  # tell once, fail_first twice
    assert world.events("flaky", "callback_failed") == []


def test_what_notify_tells_is_in_the_outbox_once_however_often_its_callback_is_called(world: World) -> None:
    """It is handed to the notifier, which writes it together with the outcome of the try that failed."""
    template = "{{ task_id }} of {{ dag_id }} ended: {{ error }}\nTries: {{ try_number }}"
    preamble = f"""
from alerting import notify
def both(context):
    notify('ops', template={template!r}, severity='critical')(context)
    notify(severity='info')(context)
    raise RuntimeError('after telling')
"""
    body = "BashOperator(task_id='t', bash_command='echo broken; exit 3', on_failure_callback=[both, notify('ops')])"
    world.home.add("telling", body, preamble=preamble)
    assert world.home.finish("telling") == "failed"
    (request,) = world.settled("telling")
    assert (request.state, request.failures, request.left_over) == ("dead", 2, [0])
    told = world.events("telling", "notified")
    assert [(event.receiver, event.severity) for event in told] == [
        ("ops", "critical"),
        (None, "info"),
        ("ops", "error"),
    ]
    assert told[0].text == "t of telling ended: exited with code 3: broken\nTries: 1"
    assert told[2].summary == "Attempt 1 of 1 of task t failed."
    assert {(event.task_id, event.try_number, event.error) for event in told} == {
        ("t", 1, "exited with code 3: broken")
    }


def test_a_callback_that_does_not_call_what_notify_returns_says_so_in_its_output(world: World) -> None:
    preamble = """
from alerting import notify
def forget(context):
    notify('ops', template='down')
    notify('ops')(context)
"""
    body = "BashOperator(task_id='t', bash_command='exit 3', on_failure_callback=forget)"
    world.home.add("forgetful", body, preamble=preamble)
    assert world.home.finish("forgetful") == "failed"
    (request,) = world.settled("forgetful")
    assert request.state == "done"
    assert request.output.splitlines() == [
        "WARNING - notify(ops) was made and not called, so it told nobody; call what it returns with the context"
    ]


def test_what_notify_tells_an_apprise_url_holds_no_secret(world: World, webhook_server: WebhookServer) -> None:
    """It goes out from the process of the callback, or of the task, itself."""
    preamble = "import os\nfrom alerting import notify\n"
    template = "f'login with {os.environ.get(\"WAREHOUSE_PASSWORD\")}'"
    notify = f"notify('json://127.0.0.1:{webhook_server.port}/', template={template})"
    body = f"BashOperator(task_id='t', bash_command='exit 3', on_failure_callback={notify}); "
    body += f"PythonOperator(task_id='p', python_callable=int, on_execute_callback={notify})"
    world.home.add("posting", body, preamble=preamble)
    assert world.home.finish("posting") == "failed"
    assert [row.state for row in world.settled("posting")] == ["done"]
    posted = [request.body.decode() for request in webhook_server.requests]
    assert len(posted) == 2
    assert all("login with ********" in text for text in posted)
    assert PASSWORD not in "".join(posted)


def test_notify_in_a_task_of_its_own_says_where_it_belongs(world: World) -> None:
    preamble = "from alerting import notify\ndef say(**context): notify('ops')(context)\n"
    world.home.add("misplaced", "PythonOperator(task_id='t', python_callable=say)", preamble=preamble)
    assert world.home.finish("misplaced") == "failed"
    assert "in on_execute_callback give it an apprise URL" in world.home.last("misplaced").error


def test_a_callback_that_overruns_is_killed(hasty_world: World) -> None:
    hasty_world.gate.touch()
    hasty_world.run("lingering", "on_failure_callback=linger")
    (request,) = hasty_world.settled("lingering")
    assert (request.state, request.error) == ("dead", "linger: ran longer than core.callback_timeout of 5 s")
    assert request.output.startswith("telling ")
    (event,) = hasty_world.events("lingering", "callback_failed")
    assert (event.cause, event.summary) == (
        "timeout",
        "The on_failure_callback of the task ran out of time after 1 try; it is not called again.",
    )
    wait_until(lambda: not Path(f"/proc/{hasty_world.told('lingering')[0]['pid']}").exists(), "its process's end")


def test_a_callback_whose_notifier_is_killed_runs_again_with_the_next(world: World) -> None:
    world.gate.touch()
    world.run("interrupted", "on_failure_callback=linger")
    wait_until(lambda: world.told("interrupted"), "the callback")
    kill(world.notifier.pid)
    world.notifier.wait()
    wait_until(
        lambda: not Path(f"/proc/{world.told('interrupted')[0]['pid']}").exists(),
        "the callback's end with its notifier",
    )
    world.gate.unlink()
    world.start_notifier()
    (request,) = world.settled("interrupted")
    assert (request.state, request.attempts) == ("done", 2)
    assert len(world.told("interrupted")) == 2


def test_a_killed_zygote_of_the_callbacks_is_replaced(world: World) -> None:
    world.run("before", "on_failure_callback=tell")
    world.settled("before")
    (zygote,) = children_of(world.notifier.pid)
    os.kill(zygote, signal.SIGKILL)
    world.run("after", "on_failure_callback=tell")
    assert [row.state for row in world.settled("after")] == ["done"]


def test_a_callback_whose_file_has_vanished_is_dead_with_the_reason(world: World) -> None:
    world.notifier.terminate()
    world.notifier.wait()
    world.run("gone", "on_failure_callback=tell")
    (world.home.settings.core.dags_folder / "gone.py").unlink()
    world.start_notifier()
    (request,) = world.settled("gone")
    assert request.state == "dead"
    assert "gone.py cannot be imported: FileNotFoundError" in request.error


def test_a_task_that_skips_itself_is_told_and_one_that_is_skipped_by_others_is_not(world: World) -> None:
    preamble = PREAMBLE.format(told=str(world.told_path), gate=str(world.gate))
    body = """
    itself = BashOperator(task_id='itself', bash_command='exit 99', on_skipped_callback=tell)
    itself >> BashOperator(task_id='behind', bash_command='true', on_skipped_callback=tell)
    """
    world.home.add("skips", body, preamble=preamble)
    assert world.home.finish("skips") == "success"
    assert [(row.kind, row.state) for row in world.settled("skips")] == [("on_skipped", "done")]
    assert [told["task_id"] for told in world.told("skips")] == ["itself"]


@pytest.mark.parametrize(
    ("command", "seconds", "cause"),
    [("kill -9 $$", 600, "signal"), ("sleep 600", 1, "timeout")],
    ids=["killed", "overran"],
)
def test_the_callback_of_the_dag_is_called_once_whatever_ended_the_task(
    world: World, command: str, seconds: int, cause: str
) -> None:
    dag_id = f"run_{cause}"
    preamble = PREAMBLE.format(told=str(world.told_path), gate=str(world.gate))
    body = f"""
    first = BashOperator(task_id='t', bash_command='{command}', execution_timeout=timedelta(seconds={seconds}),
                         retries=1, retry_delay=timedelta(0))
    first >> BashOperator(task_id='behind', bash_command='true')
    BashOperator(task_id='beside', bash_command='exit 1')
    """
    world.home.add(dag_id, body, arguments="schedule=None, on_failure_callback=tell", preamble=preamble)
    assert world.home.finish(dag_id) == "failed"
    assert [(row.kind, row.scope) for row in world.settled(dag_id)] == [("on_failure", "dag")]
    assert [told["reason"] for told in world.told(dag_id)] == ["task_failure"]
    assert [attempt.cause for attempt in world.home.attempts(dag_id, "t")] == [cause] * 2
