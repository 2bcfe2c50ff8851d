"""Faults of the log path are made on a running system: their alerts fire, no other does, and all resolve.

Time is hurried thirtyfold: a hold of two minutes lasts four seconds. The table in docs/alerts.md tells what was seen.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.hurried import Fault, Hurried
from tests.servers.machine import Machine
from tests.servers.processes import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("goes_first")]

REGULAR = """
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator

with DAG("regular", schedule=timedelta(seconds=3), start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False):
    BashOperator(task_id="t", bash_command="echo said")
"""


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mounts") / "share"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, share: Path) -> Iterator[Machine]:
    share.mkdir()
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__CORE__LOAD_EXAMPLES="false",
        WINDSOCK__LOGGING__REMOTE_LOGGING="true",
        WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER=f"file://{share}",
        WINDSOCK__LOGGING__DELETE_LOCAL_LOGS="true",
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="1",
        WINDSOCK__EXPORTER__METASTORE_CACHE_SECONDS="0.5",
    )
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def prometheus(machine: Machine, share: Path) -> Hurried:
    """Settled, with a log that is shipped every three seconds."""
    machine.write_dag("regular.py", REGULAR)
    hurried = Hurried(machine)
    hurried.settle()
    wait_until(lambda: list(share.glob("dag_id=regular/**/attempt=1.log")), "the first log to be shipped", 30)
    return hurried


def test_nothing_fires_while_all_is_well(prometheus: Hurried) -> None:
    Fault(prometheus, ()).stays_away(5)


def test_a_share_that_is_not_mounted(machine: Machine, prometheus: Hurried, share: Path) -> None:
    fault = Fault(prometheus, ("WindsockLogShippingFails", "WindsockLogShippingDelayed"))
    away = share.with_name("away")
    share.rename(away)
    fault.fires(60)
    (told, *_) = machine.query("SELECT error FROM log_shipment WHERE reason = 'unreachable'")
    assert "mount it or make it" in told["error"]
    away.rename(share)
    fault.resolves(90)


def test_a_log_shipper_that_hangs(prometheus: Hurried) -> None:
    fault = Fault(
        prometheus, ("WindsockLogShipperHeartbeatMissing", "WindsockProcessSilent", "WindsockLogShippingDelayed")
    )
    prometheus.signal("log-shipper", signal.SIGSTOP)
    try:
        fault.fires(60)
        following = {"WindsockProcessSilent", "WindsockLogShippingDelayed"}
        wait_until(lambda: following <= prometheus.muted(), "what follows to be muted", 30)
    finally:
        prometheus.signal("log-shipper", signal.SIGCONT)
    fault.resolves(60)
