"""A wake-up through the database that has to wait holds up no attempt."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from engine.metastore.tables import Wakeup
from tests.integration.scheduling.engine_home import Home
from tests.servers.processes import wait_until

_STALLED = text("SELECT 1 FROM information_schema.processlist WHERE info LIKE :start")


@pytest.mark.mariadb
def test_what_follows_a_failure_begins_while_the_wake_up_of_other_machines_waits(mariadb_url: str) -> None:
    home = Home(mariadb_url)
    began, over = home.folder / "began", home.folder / "over"
    command = f"touch {began}; until [ -e {over} ]; do sleep .02; done"

    def is_stalled() -> bool:
        with home.store.read() as connection:
            return connection.execute(_STALLED, {"start": "UPDATE wakeup%"}).first() is not None

    try:
        home.scheduler()
        home.add(
            "d",
            f"""
            fails = BashOperator(task_id='fails', bash_command='exit 1')
            BashOperator(task_id='t', bash_command={command!r}, trigger_rule='all_done') << fails
            """,
        )
        with home.store.begin() as tx:
            tx.connection.execute(select(Wakeup.changes).where(Wakeup.topic == "notifier").with_for_update())
            run_id = home.trigger("d")
            wait_until(lambda: is_stalled() and began.exists(), "an attempt that begins beside a stalled wake-up", 30)
        over.touch()
        assert home.wait("d", run_id) == "success"
    finally:
        home.close()
