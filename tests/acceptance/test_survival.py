"""Two hundred tasks, and somebody kills the engine in the middle: the run ends, nothing runs twice, all is told."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest
from sqlalchemy import select

from alerting.tables import alert_delivery, alert_event
from engine.metastore.states import ProcessKind
from engine.metastore.tables import TaskInstance
from tests.integration.scheduling.engine_home import Home, kill
from tests.servers.databases import PostgreSQL
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import WebhookServer

TASKS = 200
PARALLELISM = 8
DAG = "survivors"
FAILING = {f"t{n}" for n in range(0, TASKS, 10)} | {f"t{n}" for n in range(5, TASKS, 20)}
BODY = """
for n in range({tasks}):
    fails = n % 10 == 0 or n % 20 == 5
    more = dict(task_id=f't{{n}}', email=['oncall@example.org'], retries=0)
    if n % 2:
        PythonOperator(python_callable=begin, op_args=[fails], **more)
    else:
        line = '{{{{ dag.dag_id }}}} {{{{ run_id }}}} {{{{ ti.task_id }}}} {{{{ ti.try_number }}}}'
        BashOperator(bash_command=f'echo "{{line}}" >> {told}; exit {{int(fails)}}', **more)
"""
PREAMBLE = """
def begin(fails, dag=None, run_id=None, ti=None):
    with open({told!r}, 'a') as file:
        file.write(f'{{dag.dag_id}} {{run_id}} {{ti.task_id}} {{ti.try_number}}\\n')
    if fails:
        raise ValueError(f'{{ti.task_id}} fails')
"""


POSTGRESQL = pytest.mark.postgresql
ON_POSTGRESQL = pytest.mark.parametrize("url", [pytest.param("postgresql", marks=POSTGRESQL)], indirect=True)


class World:
    """A home with receivers, a notifier and the DAG."""

    def __init__(self, url: str | None, mail: MailServer, webhook: WebhookServer) -> None:
        self.mail, self.webhook = mail, webhook
        self.home = Home(
            url,
            WINDSOCK__CORE__PARALLELISM=str(PARALLELISM),
            WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="2",
            WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
            WINDSOCK__SMTP__SMTP_PORT=str(mail.port),
            WINDSOCK__SMTP__SMTP_TIMEOUT="10",
            WINDSOCK__ALERTING__APPRISE_URLS=f"json://127.0.0.1:{webhook.port}/hook",
            WINDSOCK__ALERTING__LEASE_SECONDS="20",
        )
        self.told_path = self.home.folder / "told"
        told = str(self.told_path)
        self.home.add(DAG, BODY.format(tasks=TASKS, told=told), preamble=PREAMBLE.format(told=told))
        self.notifier = self.start_notifier()
        self.scheduler = self.home.scheduler()
        self.run_id = self.home.trigger(DAG)

    def start_notifier(self) -> subprocess.Popen[bytes]:
        process = self.home.start("notifier")
        wait_until(lambda: process.pid in self.home.alive(ProcessKind.NOTIFIER), "the notifier", 60)
        return process

    def middle(self, count: int = TASKS // 4) -> None:
        """Wait until so many attempts have ended."""
        wait_until(lambda: self.home.ended(DAG) >= count, f"{count} ended attempts", 60)

    def end(self) -> None:
        self.home.wait(DAG, self.run_id, 120)

    # -- what must hold afterwards

    def check(self, *, lost: int, repeated_messages: bool = False) -> None:
        attempts = self.home.attempts(DAG)
        causes = Counter(attempt.cause for attempt in attempts)
        assert self.home.run_state(DAG, self.run_id) == "failed"
        assert len(attempts) == TASKS
        assert causes["lost"] <= lost
        assert set(causes) <= {"success", "exit", "exception", "lost"}
        self._check_told(attempts)
        self._check_alerts(repeated_messages=repeated_messages)
        assert self.home.used_budgets() == {}

    def _check_told(self, attempts: list[object]) -> None:
        lines = Counter(self.told_path.read_text().splitlines())
        assert {line: n for line, n in lines.items() if n > 1} == {}
        ran = {line.split()[2] for line in lines}
        unseen = {attempt.task_id for attempt in attempts if attempt.cause != "lost"} - ran  # type: ignore[attr-defined]
        assert unseen == set()

    def _check_alerts(self, *, repeated_messages: bool) -> None:
        failed = self._failed_tasks()
        keys = self._keys("task_failed")
        assert sorted(keys.values()) == sorted(failed)  # one event each
        wait_until(lambda: not self._open_deliveries(), "every delivery", 60)
        mails = Counter(str(mail.message["X-Windsock-Key"]).strip() for mail in self.mail.mails)
        chats = Counter(request.headers["idempotency-key"] for request in self.webhook.requests)
        assert set(mails) == set(keys)
        assert set(keys) <= set(chats)
        if not repeated_messages:
            assert max([*mails.values(), *chats.values()]) == 1

    def _failed_tasks(self) -> list[str]:
        statement = select(TaskInstance.task_id).where(TaskInstance.dag_id == DAG, TaskInstance.state == "failed")
        with self.home.store.read() as connection:
            failed = list(connection.execute(statement).scalars())
        assert set(failed) >= FAILING
        return failed

    def _keys(self, kind: str) -> dict[str, str]:
        statement = select(alert_event.c.dedup_key, alert_event.c.task_id).where(alert_event.c.kind == kind)
        with self.home.store.read() as connection:
            return {row.dedup_key: row.task_id for row in connection.execute(statement)}

    def _open_deliveries(self) -> list[str]:
        unrouted = select(alert_event.c.dedup_key).where(alert_event.c.routed_at.is_(None))
        waiting = select(alert_delivery.c.channel).where(alert_delivery.c.state.in_(["pending", "sending"]))
        with self.home.store.read() as connection:
            return [*connection.execute(unrouted).scalars(), *connection.execute(waiting).scalars()]

    def close(self) -> None:
        """TERM ends everything in order, and nothing is left."""
        statuses = [self.home.stop(process) for process in self.home.processes if process.poll() is None]
        assert set(statuses) <= {0}, self.home.output("scheduler") + self.home.output("notifier")
        self.home.close()


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.sqlite), pytest.param("postgresql", marks=POSTGRESQL)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def world(url: str, smtp_server: MailServer, webhook_server: WebhookServer) -> Iterator[World]:
    made = World(url, smtp_server, webhook_server)
    yield made
    made.close()


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_the_scheduler_is_killed(world: World) -> None:
    world.middle()
    kill(world.scheduler.pid)
    world.scheduler.wait()
    world.home.scheduler()
    world.end()
    world.check(lost=0)


def test_the_scheduler_is_killed_three_times(world: World) -> None:
    scheduler = world.scheduler
    for count in (20, 60, 120):
        world.middle(count)
        kill(scheduler.pid)
        scheduler.wait()
        scheduler = world.home.scheduler()
    world.end()
    world.check(lost=0)


def test_the_supervisor_is_killed(world: World) -> None:
    world.middle()
    kill(world.home.supervisor)
    world.end()
    world.check(lost=PARALLELISM)


def test_the_notifier_is_killed(world: World) -> None:
    world.middle()
    kill(world.notifier.pid)
    world.notifier.wait()
    world.start_notifier()
    world.end()
    world.check(lost=0, repeated_messages=True)


def test_scheduler_and_supervisor_are_killed_at_once(world: World) -> None:
    world.middle()
    supervisor = world.home.supervisor
    started = children(world.scheduler.pid)
    kill(world.scheduler.pid)
    kill(supervisor)
    world.scheduler.wait()
    wait_until(lambda: not [process for process in started if process.is_running()], "the end of what they started")
    world.home.scheduler()
    world.end()
    world.check(lost=PARALLELISM)


LASTING = "BashOperator(task_id='t', bash_command={command!r}, retries=1, retry_delay=timedelta(0), priority_weight=9)"


def test_the_scheduler_is_told_to_stop(world: World) -> None:
    command = "[ {{ ti.try_number }} = 2 ] || sleep 1000; true"
    world.home.add("lasting", LASTING.format(command=command))
    lasting = world.home.trigger("lasting")
    wait_until(lambda: world.home.running("lasting"), "the task that is certain to run")
    world.middle()
    assert world.home.stop(world.scheduler) == 0
    assert [attempt.cause for attempt in world.home.attempts("lasting")] == ["stopped"]
    attempts = [*world.home.attempts(DAG), *world.home.attempts("lasting")]
    stopped = [attempt for attempt in attempts if attempt.cause == "stopped"]
    assert {attempt.error for attempt in stopped} == {"stopped because Windsock was shut down while it ran"}
    assert len(stopped) <= PARALLELISM
    assert world.home.running(DAG) == 0
    world.home.scheduler()
    world.end()
    assert world.home.wait("lasting", lasting) == "success"
    wait_until(lambda: not world._open_deliveries(), "every delivery", 60)
    assert sorted(world._keys("task_failed").values()) == sorted(world._failed_tasks())


@ON_POSTGRESQL
def test_the_database_is_down_for_a_while(world: World, postgresql_server: PostgreSQL) -> None:
    world.middle()
    postgresql_server.stop_process(signal.SIGQUIT)
    try:
        # What runs now ends, and has to be remembered until the database is back.
        wait_until(lambda: "the metastore fails" in world.home.output("scheduler"), "the scheduler to notice")
    finally:
        postgresql_server.start()
        world.home.store.engine.dispose()  # our own connections are dead too
    world.end()
    world.check(lost=0)
    assert world.scheduler.poll() is None
    assert world.notifier.poll() is None


@ON_POSTGRESQL
def test_the_scheduler_is_killed_while_the_database_is_down(world: World, postgresql_server: PostgreSQL) -> None:
    world.middle()
    postgresql_server.stop_process(signal.SIGQUIT)
    try:
        wait_until(lambda: "the metastore fails" in world.home.output("scheduler"), "the scheduler to notice")
        kill(world.scheduler.pid)
        world.scheduler.wait()
        wait_until(lambda: "finishing" in world.home.output("scheduler"), "the supervisor to notice")
    finally:
        postgresql_server.start()
        world.home.store.engine.dispose()  # our own connections are dead too
    world.home.scheduler()
    world.end()
    world.check(lost=0)
