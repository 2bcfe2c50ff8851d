"""A deadline that is missed while a real scheduler and a real notifier run: one mail, and the DAG's callbacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from engine.metastore import processes
from engine.metastore.processes import identify
from engine.metastore.sla_missed import SETTLING
from engine.metastore.states import ProcessKind
from engine.metastore.tables import CallbackRequest, Process, SlaDeadline
from tests.integration.scheduling.engine_home import Home
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until

PREAMBLE = """
import json
from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
def note(what, **about):
    with open({told!r}, 'a') as file:
        file.write(json.dumps([what, about]) + '\\n')
def missed(dag, task_list, blocking_task_list, slas, blocking_tis):
    note('missed', dag=dag.dag_id, tasks=task_list.split(' on ')[0], blocking=blocking_task_list.split(' on ')[0],
         slas=[(sla.dag_id, sla.task_id, sla.timestamp.isoformat()) for sla in slas],
         tis=[(ti.task_id, ti.state, ti.try_number) for ti in blocking_tis])
def again(dag, task_list, blocking_task_list, slas, blocking_tis):
    note('again', tasks=task_list.split(' on ')[0])
async def over(text, context):
    note(text, run=context['dag_run'].run_id)
"""
BODY = (
    "BashOperator(task_id='slow', bash_command='while [ -e {gate} ]; do sleep 0.05; done') >> "
    "BashOperator(task_id='behind', bash_command='true', sla=timedelta(seconds=4), email='team@example.com')"
)
DEADLINE = (
    "deadline=[DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(seconds=4.5),"
    " callback=AsyncCallback(over, kwargs={'text': text})) for text in ('over', 'still over')]"
)


@pytest.fixture
def home(smtp_server: MailServer) -> Iterator[Home]:
    made = Home(
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(smtp_server.port),
        WINDSOCK__SMTP__SMTP_MAIL_FROM="windsock@example.com",
    )
    made.start("notifier")
    wait_until(lambda: "delivering alerts" in made.output("notifier"), "the notifier", 30)
    made.scheduler()
    yield made
    made.close()


def test_a_missed_sla_is_mailed_once_and_the_callbacks_are_called_with_what_they_expect(
    home: Home, smtp_server: MailServer
) -> None:
    gate, told = home.folder / "gate", home.folder / "told"
    gate.touch()
    arguments = f"schedule=None, sla_miss_callback=[missed, again], {DEADLINE}"
    preamble = PREAMBLE.format(told=str(told))
    home.add("late", BODY.format(gate=gate), arguments=arguments, preamble=preamble)
    asked = datetime.now(UTC)
    run_id = home.trigger("late")
    (mail,) = smtp_server.wait_for(1, 60)[:1]
    text = mail.message.get_body(("plain",)).get_content()
    assert mail.message["Subject"].startswith("SLA missed: late.behind")
    assert "behind was not done by" in text
    assert "slow is running since" in text
    assert "Missed:       behind" in text
    assert "Blocked by:   slow" in text
    assert (mail.received_at - asked).total_seconds() >= 4
    wait_until(lambda: len(_settled(home)) == 3, "three callback requests", 60)
    with home.store.read() as connection:
        assert len(set(connection.execute(select(CallbackRequest.log_path)).scalars())) == 3
    gate.unlink()
    home.wait("late", run_id)
    lines = dict(map(json.loads, told.read_text().splitlines()))
    assert lines.keys() == {"missed", "again", "over", "still over"}
    assert lines["over"] == lines["still over"] == {"run": run_id}
    assert lines["again"] == {"tasks": "behind"}
    about = lines["missed"]
    assert (about["dag"], about["tasks"], about["blocking"]) == ("late", "behind", "slow")
    assert about["tis"] == [["slow", "running", 1]]
    assert [sla[:2] for sla in about["slas"]] == [["late", "behind"]]
    assert [mail.message["Subject"] for mail in smtp_server.mails if "behind" in mail.message["Subject"]] == [
        mail.message["Subject"]
    ]


def _settled(home: Home) -> list[str]:
    with home.store.read() as connection:
        states = connection.execute(select(CallbackRequest.state, CallbackRequest.error)).all()
    assert [row.error for row in states if row.error] == []
    return [row.state for row in states if row.state == "done"]


def test_a_scheduler_beside_another_lets_it_write_its_ends_before_a_miss_is_told() -> None:
    home = Home()
    try:
        home.add("late", "BashOperator(task_id='t', bash_command='true', sla=timedelta(seconds=1))")
        home.trigger("late")
        other = identify(ProcessKind.SCHEDULER)
        home.store.run(lambda tx: processes.register(tx, other))
        wait_until(lambda: (home.store.run(lambda tx: tx.now) - _due(home)).total_seconds() > 1, "the deadline", 30)
        home.scheduler()
        wait_until(lambda: _told_at(home) is not None, "the miss", 60)
        started = select(Process.started_at).where(Process.kind == ProcessKind.SCHEDULER, Process.id != other.id)
        with home.store.read() as connection:
            since = connection.execute(started).scalar_one()
        assert _told_at(home) - since > SETTLING / 2
    finally:
        home.close()


def _due(home: Home) -> datetime:
    with home.store.read() as connection:
        return connection.execute(select(SlaDeadline.due_at)).scalar_one()


def _told_at(home: Home) -> datetime | None:
    with home.store.read() as connection:
        return connection.execute(select(SlaDeadline.missed_at)).scalar_one()
