"""Every query of every board before a real Prometheus that scraped a real run, and its answers beside the metastore."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prometheus.generate import rule_files
from prometheus.pace import Pace
from tests.servers.machine import Machine
from tests.servers.processes import free_port, wait_until
from tests.servers.prometheus import Prometheus
from tests.servers.webhook import WebhookServer
from tests.unit.dashboards.boards import BOARDS, data_panels

pytestmark = pytest.mark.timeout(300)  # the first test waits for the whole run

DAGS = """
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def raises(context):
    raise RuntimeError("the callback's own fault")


with DAG("fails", schedule=None, on_failure_callback=raises, default_args={"email": "oncall@example.com"}):
    first = BashOperator(task_id="first", bash_command="true")
    flaky = BashOperator(task_id="flaky", bash_command="exit 1", retries=1, retry_delay=timedelta(0))
    first >> flaky >> BashOperator(task_id="never", bash_command="true")

with DAG("daily", schedule="@daily", start_date=START, catchup=False):
    BashOperator(task_id="report", bash_command="true")

with DAG("killed", schedule=None):
    BashOperator(task_id="t", bash_command="kill -9 $$")

with DAG("taken_away", schedule=None):
    BashOperator(task_id="t", bash_command="until [ -e GATE ]; do sleep .1; done")

with DAG("lost", schedule=None):
    BashOperator(task_id="t", bash_command="sleep 1000")

with DAG("lasts", schedule=None, max_active_tasks=2):
    for number in range(5):
        BashOperator(task_id=f"turn_{number}", bash_command="sleep 1000", sla=timedelta(seconds=1))
"""
DAG_IDS = ("fails", "often", "lasts", "daily")
OFTEN = """
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator

START = datetime.fromtimestamp({start}, timezone.utc)
END = START + timedelta(seconds=6)

with DAG("often", schedule=timedelta(seconds=1), start_date=START, end_date=END, catchup=True):
    BashOperator(task_id="one", bash_command="true") >> BashOperator(task_id="two", bash_command="true")
"""
BROKEN = "from engine import DAG\nDAG('broken'\n"
HANGS = "from engine import DAG\nimport time\ntime.sleep(1000)\n"


@dataclass(frozen=True)
class World:
    """The machine on which things happened, and the Prometheus that watched."""

    machine: Machine
    prometheus: Prometheus
    began: float

    def filled(self, query: str, dag: str = "", window: str = "6s") -> str:
        """The query as Grafana sends it, everything chosen and ten minutes shown."""
        values = {
            "$__rate_interval": window,
            "$__range_s": "600",
            "$__range": "10m",
            "$__auto": "10s",
            "$job": ".+",
            "$instance": ".+",
            "$dag": dag,
        }
        return re.sub(r"\$\w+", lambda match: values[match[0]], query)


@pytest.fixture(scope="module")
def chat() -> Iterator[WebhookServer]:
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, chat: WebhookServer) -> Iterator[World]:
    """A run in which tasks succeeded, failed, waited and were told of; then only what lasts goes on."""
    share = tmp_path_factory.mktemp("share")
    machine = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__CORE__LOAD_EXAMPLES="false",
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="1",
        WINDSOCK__SCHEDULER__MIN_FILE_PROCESS_INTERVAL="2",
        WINDSOCK__SCHEDULER__MAX_FILE_PROCESS_INTERVAL="0",
        WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT="4",  # enough for every good file on a busy machine
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(free_port()),
        WINDSOCK__ALERTING__APPRISE_URLS=f"json://127.0.0.1:{chat.port}/",
        WINDSOCK__ALERTING__GIVE_UP_AFTER="3",
        WINDSOCK__LOGGING__REMOTE_LOGGING="true",
        WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER=f"file://{share}",
    )
    machine.write_dag("stories.py", DAGS.replace("GATE", str(machine.home / "gate")))
    machine.write_dag("broken.py", BROKEN)
    machine.write_dag("hangs.py", HANGS)
    metastore = machine.ports["WINDSOCK__EXPORTER__METASTORE_PORT"]
    watching = Prometheus(
        {
            "windsock": [f"127.0.0.1:{machine.ports['WINDSOCK__EXPORTER__PORT']}"],
            # Twice, as where two exporters read one database: no number may double.
            "windsock-metastore": [f"127.0.0.1:{metastore}", f"localhost:{metastore}"],
            "alertmanager": [f"127.0.0.1:{machine.ports['WINDSOCK__PROMETHEUS__ALERTMANAGER_PORT']}"],
        },
        rule_files(pace=Pace(faster=60, shortest_range=timedelta(seconds=5))),
    )
    began = time.time()
    watching.start()
    machine.call("up", "--detach")
    try:
        _happen(machine)
        _unmount(machine, share)
        yield World(machine, watching, began)
    finally:
        machine.call("down")
        watching.stop()


def _happen(machine: Machine) -> None:
    wait_until(lambda: count(machine, "SELECT count(*) FROM dag") == 6, "the DAGs", timeout=60)
    machine.trigger("killed")
    _take_away(machine)
    _lose(machine)
    os.kill(_pid(machine, "scheduler"), signal.SIGTERM)  # the stack starts another
    wait_until(lambda: machine.total("airflow_job_end"), "the end of the first scheduler", timeout=60)
    for dag_id in ("lasts", "fails"):
        machine.trigger(dag_id)
    machine.write_dag("often.py", OFTEN.format(start=int(time.time())))
    made = "SELECT count(*) FROM dag_run WHERE dag_id = 'often'"
    wait_until(lambda: count(machine, made) == 7, "the last run of the schedule", timeout=60)
    still = f"SELECT count(*) FROM ({OPEN} AND dag_id NOT IN ('lasts', 'taken_away'))"
    wait_until(lambda: not count(machine, still), "the ends of all runs that can end", timeout=60)
    machine.call("dags", "pause", "often")
    wait_until(lambda: count(machine, f"SELECT count(*) FROM ({DEAD})"), "a mail that was given up", timeout=60)
    wait_until(lambda: not count(machine, f"SELECT count(*) FROM ({WAITING})"), "the other mails", timeout=60)
    machine.query(GONE)


def _unmount(machine: Machine, share: Path) -> None:
    """The share that logs are shipped to goes away, and one more log waits."""
    share.rename(share.with_name("away"))
    machine.trigger("killed")
    failed = "SELECT count(*) FROM log_shipment WHERE reason = 'unreachable'"
    wait_until(lambda: count(machine, failed), "a log that cannot be shipped", timeout=60)


def _take_away(machine: Machine) -> None:
    """Somebody else decides about a running attempt; its own end comes too late."""
    _start(machine, "taken_away")
    machine.query(
        "UPDATE task_instance SET state = 'failed', token = NULL, owner = NULL, end_date = start_date "
        "WHERE dag_id = 'taken_away'"
    )
    (machine.home / "gate").touch()
    wait_until(lambda: machine.total("airflow_scheduler_late_finishes"), "the late finish")


def _lose(machine: Machine) -> None:
    """The supervisor dies with what it runs."""
    _start(machine, "lost")
    os.kill(_pid(machine, "supervisor"), signal.SIGKILL)
    lost = "airflow_task_instances_without_heartbeats_killed"
    wait_until(lambda: machine.total(lost), "the lost attempt", timeout=60)


def _start(machine: Machine, dag_id: str) -> None:
    machine.trigger(dag_id)
    running = f"SELECT count(*) FROM task_instance WHERE dag_id = '{dag_id}' AND state = 'running'"
    wait_until(lambda: count(machine, running), f"{dag_id} to run", timeout=60)


def _pid(machine: Machine, kind: str) -> int:
    return count(
        machine, f"SELECT pid FROM process WHERE kind = '{kind}' AND ended_at IS NULL ORDER BY started_at DESC"
    )


def count(machine: Machine, statement: str) -> int:
    return int(machine.query(statement)[0][0])


OPEN = "SELECT id, dag_id, state FROM dag_run WHERE state IN ('queued', 'running')"
DEAD = "SELECT id FROM alert_delivery WHERE state = 'dead'"
WAITING = "SELECT id FROM alert_delivery WHERE state IN ('pending', 'sending')"
GONE = (
    "INSERT INTO process (id, kind, hostname, pid, pid_started, started_at, heartbeat_at, detail) VALUES "
    "('gone', 'webserver', 'a-machine-that-is-gone', 1, 'x', '2026-01-01 00:00:00', '2026-01-01 00:00:00', '{}')"
)
"""A process of a machine that is no more."""


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    legend: str
    ref: str
    expr: str
    instant: bool


def targets(uid: str) -> list[Target]:
    """The queries of a board to Prometheus."""
    return [
        Target(uid, panel["title"], asked["legendFormat"], asked["refId"], asked["expr"], asked["instant"])
        for panel in data_panels(BOARDS[uid])
        for asked in panel["targets"]
        if asked["datasource"]["type"] == "prometheus"
    ]


# --- every query is one


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_prometheus_can_answer_every_query(world: World, uid: str) -> None:
    assert targets(uid)
    for target in targets(uid):
        world.prometheus.instant(world.filled(target.expr))  # raises, with the query, where it is none


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_there_are_series_for_every_variable(world: World, uid: str) -> None:
    for variable in BOARDS[uid]["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert match
            assert world.prometheus.instant(world.filled(match[1])), variable["name"]


def test_what_is_asked_of_loki_can_be_read_by_prometheus_too(world: World) -> None:
    """So the linter can judge it, whichever data source it takes for the board's own."""
    asked = [target["expr"] for panel in data_panels(BOARDS["windsock-logs"]) for target in panel["targets"]]
    of_loki = [query for query in asked if query not in {target.expr for target in targets("windsock-logs")}]
    assert len(of_loki) == 2
    for query in of_loki:
        world.prometheus.read(world.filled(query))


# --- and has an answer

ANSWERED = ("overview", "scheduler", "dag-processing", "dag", "pools", "alerts", "slo", "logs")
UNANSWERED = {
    ("windsock-overview", "Late DAGs", "__auto"): "a run must be overdue for a minute",
    ("windsock-scheduler", "Processes", "heartbeat failed"): "needs a metastore that is away for a moment",
    ("windsock-alerts", "Alertmanager's notifications, per second", "{{integration}}"): "it has no receiver",
    ("windsock-alerts", "Alertmanager's notifications, per second", "{{integration}} failed"): "it has no receiver",
}
"""(board, panel, legend) → why this run has nothing to show there."""


def answers(world: World, target: Target) -> list[str]:
    """The numbers that the target answers, for any DAG, over the whole run where it is a graph."""
    found: list[Any] = []
    for dag in DAG_IDS if "$dag" in target.expr else ("",):
        query = world.filled(target.expr, dag)
        if target.instant:
            found += world.prometheus.instant(query)
        else:
            found += world.prometheus.over(query, world.began, time.time())
        if found:
            break
    return [number for series in found for _, number in series.get("values", [series.get("value")]) if number != "NaN"]


@pytest.mark.parametrize("uid", [f"windsock-{name}" for name in ANSWERED])
def test_every_query_about_this_engine_is_answered(world: World, uid: str) -> None:
    expected = {key for key in UNANSWERED if key[0] == uid}
    unseen = [target for target in targets(uid) if (uid, target.panel, target.legend) not in expected]
    for target in unseen:
        wait_until(lambda target=target: answers(world, target), f"an answer to {target}")  # type: ignore[misc]
    silent = [target for target in targets(uid) if target not in unseen]
    assert {(uid, target.panel, target.legend) for target in silent} == expected
    assert [target for target in silent if answers(world, target)] == []


# --- which is what the metastore holds


@dataclass(frozen=True)
class Equal:
    """A panel's query answers what a statement does: labels in the columns before the last, the number in the last."""

    board: str
    panel: str
    statement: str
    ref: str = "A"
    dag: str = ""
    within: float = 0.01  # seconds and counts; an instant is compared with an instant


def unix(column: str) -> str:
    """SQLite's text of an instant as Unix time."""
    return f"(julianday({column}) - 2440587.5) * 86400"


SILENT = "FROM process WHERE ended_at IS NULL AND julianday(heartbeat_at) < julianday('now') - 60.0 / 86400"
LAST_RUNS = "SELECT max(id) FROM dag_run WHERE state IN ('success', 'failed') GROUP BY dag_id"
LAST_RUN = f"FROM dag_run WHERE id IN ({LAST_RUNS}) AND dag_id ="
LAST_FAILED = f"FROM dag_run WHERE id IN ({LAST_RUNS}) AND state = 'failed'"
ATTEMPTS = "FROM task_attempt a JOIN task_instance t ON t.id = a.ti_id"
FAILED = f"{ATTEMPTS} WHERE a.state IN ('failed', 'up_for_retry')"
OPEN_TASKS = f"FROM task_instance t JOIN ({OPEN}) r ON r.id = t.run_pk"
POOLS = "FROM budget WHERE kind = 'pool'"
READY = "state IN ('scheduled', 'queued')"
BROKEN_FILES = "FROM dag_file WHERE error IS NOT NULL"

EQUAL = [
    Equal("overview", "Silent components", f"SELECT count(*) {SILENT}"),
    Equal(
        "overview",
        "Silent components by name",
        f"SELECT kind AS component, hostname, {unix('CURRENT_TIMESTAMP')} - {unix('heartbeat_at')} {SILENT}",
        within=5,  # the statement is asked a moment later
    ),
    Equal("overview", "Failing DAGs", f"SELECT count(*) {LAST_FAILED}"),
    Equal(
        "overview", "DAGs whose last run failed", f"SELECT dag_id, {unix('end_date')} * 1000 {LAST_FAILED}", within=2
    ),
    Equal(
        "overview",
        "DAGs whose last run failed",
        f"SELECT dag_id, {unix('end_date')} - {unix('start_date')} {LAST_FAILED}",
        "B",
    ),
    Equal("overview", "Broken DAG files", f"SELECT count(*) {BROKEN_FILES}"),
    Equal(
        "overview",
        "DAG files that cannot be imported",
        f"SELECT replace(path, rtrim(path, replace(path, '/', '')), '') AS file_path, 1 {BROKEN_FILES}",
    ),
    Equal("overview", "Alerts undelivered", f"SELECT count(*) FROM ({WAITING})"),
    Equal(
        "overview",
        "Task instances of open runs",
        f"SELECT coalesce(t.state, 'none') AS state, count(*) {OPEN_TASKS} GROUP BY 1",
    ),
    Equal("overview", "Open DAG runs", f"SELECT state, count(*) FROM ({OPEN}) GROUP BY 1"),
    Equal("overview", "Pools in use", f"SELECT name AS pool_name, 1.0 * used / slots {POOLS} AND slots > 0"),
    Equal("overview", "SLAs", "SELECT 5"),
    Equal("scheduler", "Running DAG runs", f"SELECT count(*) FROM ({OPEN}) WHERE state = 'running'"),
    Equal("scheduler", "Running tasks", "SELECT count(*) FROM task_instance WHERE state = 'running'"),
    Equal("dag-processing", "DAGs", "SELECT count(*) FROM dag WHERE is_active"),
    Equal("dag-processing", "Import errors", f"SELECT count(*) {BROKEN_FILES}"),
    *(
        equal
        for dag in ("fails", "often", "daily", "lost", "killed")
        for equal in (
            Equal(
                "dag",
                "Last run",
                f"SELECT state = 'failed' {LAST_RUN} '{dag}'",
                dag=dag,
            ),
            Equal(
                "dag",
                "Last run took",
                f"SELECT {unix('end_date')} - {unix('start_date')} {LAST_RUN} '{dag}'",
                dag=dag,
            ),
            Equal(
                "dag",
                "Durations by task",
                f"SELECT t.task_id, count(*) {ATTEMPTS} WHERE t.dag_id = '{dag}' GROUP BY 1",
                dag=dag,
            ),
            Equal(
                "dag",
                "Failures by task",
                f"SELECT t.task_id, count(*) {FAILED} AND t.dag_id = '{dag}' GROUP BY 1",
                dag=dag,
            ),
            Equal(
                "dag",
                "Attempts that ended",
                f"SELECT a.state, count(*) {ATTEMPTS} WHERE t.dag_id = '{dag}' GROUP BY 1",
                dag=dag,
            ),
        )
    ),
    Equal(
        "dag",
        "Runs that ended",
        "SELECT count(*) FROM dag_run WHERE dag_id = 'often' AND state = 'success'",
        dag="often",
    ),
    Equal(
        "dag",
        "Runs that ended",
        "SELECT count(*) FROM dag_run WHERE dag_id = 'fails' AND state = 'failed'",
        "B",
        dag="fails",
    ),
    Equal("dag", "Paused", "SELECT is_paused FROM dag_schedule WHERE dag_id = 'often'", dag="often"),
    Equal(
        "dag",
        "Task instances of open runs",
        f"SELECT t.state, count(*) {OPEN_TASKS} WHERE t.dag_id = 'lasts' GROUP BY 1",
        dag="lasts",
    ),
    Equal("dag", "SLA", "SELECT 5", dag="lasts"),
    Equal("pools", "Pools", f"SELECT name AS pool_name, slots {POOLS}"),
    Equal("pools", "Pools", f"SELECT name AS pool_name, used {POOLS}", "B"),
    Equal(
        "pools",
        "Pools",
        f"SELECT name AS pool_name, (SELECT count(*) FROM task_instance WHERE pool = name AND {READY}) {POOLS}",
        "C",
    ),
    Equal("pools", "Waiting tasks", f"SELECT count(*) FROM task_instance WHERE {READY}"),
    Equal(
        "pools",
        "Tasks in open runs, by DAG",
        f"SELECT t.dag_id, count(*) {OPEN_TASKS} WHERE t.state = 'running' GROUP BY 1",
    ),
    Equal(
        "pools", "Tasks in open runs, by DAG", f"SELECT t.dag_id, count(*) {OPEN_TASKS} WHERE t.{READY} GROUP BY 1", "B"
    ),
    Equal("pools", "Slots as the scheduler sees them", f"SELECT name AS pool_name, slots - used {POOLS}"),
    Equal(
        "alerts",
        "Deliveries by channel",
        "SELECT CASE channel WHEN '' THEN 'none' ELSE channel END AS channel, state AS outcome, count(*) "
        "FROM alert_delivery GROUP BY 1, 2",
    ),
    Equal("alerts", "Deliveries that wait", f"SELECT count(*) FROM ({WAITING})"),
    Equal("alerts", "Given up", f"SELECT count(*) FROM ({DEAD})"),
    Equal("alerts", "Callbacks that wait", "SELECT count(*) FROM callback_request WHERE state = 'pending'"),
    Equal("alerts", "Recorded events", "SELECT kind AS event, count(*) FROM alert_event GROUP BY 1"),
    Equal("alerts", "Delivered", "SELECT channel, count(*) FROM alert_delivery WHERE state = 'delivered' GROUP BY 1"),
    Equal(
        "alerts",
        "Failed tries and deaths",
        "SELECT channel, count(*) FROM alert_delivery WHERE state = 'dead' GROUP BY 1",
        "B",
    ),
    Equal("logs", "Failed attempts", f"SELECT count(*) {FAILED}"),
    Equal("logs", "Failed attempts by task", f"SELECT t.dag_id, t.task_id, count(*) {FAILED} GROUP BY 1, 2"),
    Equal("logs", "Waiting logs", "SELECT count(*) FROM log_shipment"),
    Equal(
        "logs",
        "Lag",
        f"SELECT {unix('CURRENT_TIMESTAMP')} - {unix('min(created_at)')} FROM log_shipment",
        within=12,  # the exporter's cache, the scrape, and the moment later that the statement is asked
    ),
    Equal("logs", "Logs whose last try failed", "SELECT count(*) FROM log_shipment WHERE reason IS NOT NULL"),
    Equal(
        "logs",
        "Shipped logs",
        "SELECT (SELECT count(*) FROM task_attempt) - (SELECT count(*) FROM log_shipment)",
    ),
    Equal("slo", "What is counted: attempts", f"SELECT count(*) {ATTEMPTS} WHERE a.state = 'success'"),
    Equal("slo", "What is counted: attempts", f"SELECT count(*) {FAILED}", "B"),
    Equal(
        "slo",
        "What is counted: scheduled runs",
        "SELECT count(*) FROM dag_run WHERE run_type = 'scheduled' AND start_date IS NOT NULL",
    ),
]


Numbers = dict[frozenset[tuple[str, str]], float]


def asked(world: World, equal: Equal) -> Numbers:
    """What the panel's query answers; a window of ten minutes holds the whole run."""
    (target,) = [
        target
        for target in targets(f"windsock-{equal.board}")
        if (target.panel, target.ref) == (equal.panel, equal.ref)
    ]
    found = world.prometheus.instant(world.filled(target.expr, equal.dag, window="10m"))
    return {frozenset(series["metric"].items()): float(series["value"][1]) for series in found}


def held(world: World, equal: Equal) -> Numbers:
    """What the statement answers."""
    rows = [dict(row) for row in world.machine.query(equal.statement)]
    return {
        frozenset((name, str(value)) for name, value in list(row.items())[:-1]): float(list(row.values())[-1])
        for row in rows
    }


@pytest.mark.parametrize("equal", EQUAL, ids=[f"{each.board}: {each.panel} {each.ref} {each.dag}" for each in EQUAL])
def test_a_panel_shows_what_the_metastore_holds(world: World, equal: Equal) -> None:
    shown, truth = Numbers(), Numbers()

    def same_now() -> bool:
        nonlocal shown, truth
        shown, truth = asked(world, equal), held(world, equal)
        return same(shown, truth, equal.within)

    with contextlib.suppress(TimeoutError):  # the assertion says what differs
        wait_until(same_now, "the same numbers")
    assert same(shown, truth, equal.within), f"shown {shown}, held {truth}"


def same(shown: Numbers, truth: Numbers, within: float) -> bool:
    return shown == pytest.approx(truth, rel=0, abs=within)


def test_the_alerts_shown_are_those_that_prometheus_holds_to_be_firing(world: World) -> None:
    (target,) = [each for each in targets("windsock-overview") if each.panel == "Alerts that fire now"]

    def shown() -> set[tuple[str, str]]:
        found = world.prometheus.instant(world.filled(target.expr))
        return {(series["metric"]["alertname"], series["metric"].get("dag_id", "")) for series in found}

    def fires() -> set[tuple[str, str]]:
        return world.prometheus.firing() - {("WindsockWatchdog", "")}

    wait_until(lambda: fires() and shown() == fires(), "the same alerts")


def test_a_line_that_cannot_be_read_is_shown_as_lost(world: World) -> None:
    (target,) = [each for each in targets("windsock-scheduler") if each.panel == "StatsD samples lost"]
    query = world.filled(target.expr)
    wait_until(lambda: [each["value"][1] for each in world.prometheus.instant(query)] == ["0"], "no loss", timeout=60)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"no sample", ("127.0.0.1", world.machine.ports["WINDSOCK__EXPORTER__STATSD_PORT"]))
    wait_until(lambda: float(world.prometheus.instant(query)[0]["value"][1]) >= 1, "the lost line")
