"""However a task ends, people hear of it exactly once by each way that they asked for, and in the right words."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from alerting.tables import alert_delivery, alert_event
from engine.metastore import budgets
from engine.metastore.store import Tx
from engine.metastore.tables import Budget, CallbackRequest
from tests.integration.scheduling.engine_home import Home, store_dag
from tests.servers import endings
from tests.servers.endings import BY_NAME, WAYS, Way
from tests.servers.mail import Mail, MailServer
from tests.servers.processes import wait_until
from tests.servers.shown_machine import little_memory
from tests.servers.webhook import Request, WebhookServer

PATIENCE_SECONDS = 60.0
CASES = [(way.name, retries) for way in WAYS for retries in (0, 1)]


class World:
    """A scheduler and a notifier; every way to end has happened, in both variants, and all of it is told."""

    def __init__(self, memory_group: Path | None) -> None:
        self.post, self.hook = MailServer(), WebhookServer()
        self.post.start()
        self.hook.start()
        self.home = Home(**endings.settings(self.post.port))
        self.folder = self.home.folder / "died"
        self.folder.mkdir()
        (self.home.folder / "alerting.yml").write_text(endings.routes(self.hook.port))
        self.home.store.run(self._make_pool)
        self.has_oom = memory_group is not None
        file = self.home.settings.core.dags_folder / "endings.py"
        file.write_text(endings.source(self.folder, memory_group or self.folder))
        self.home.store.run(lambda tx: store_dag(tx, file, file.parent))
        self.home.scheduler()
        self.home.start("notifier")
        wait_until(lambda: "delivering alerts" in self.home.output("notifier"), "the notifier", 30)
        self.runs: dict[str, str] = {}
        self._end_all()

    def _make_pool(self, tx: Tx) -> None:
        tx.connection.execute(insert(Budget).values(kind=budgets.POOL, name=endings.POOL, slots=1, used=0))

    def _end_all(self) -> None:
        """All at once; then the supervisor is killed, under the two that wait for it."""
        chosen = [(BY_NAME[name], retries) for name, retries in CASES if name != "oom" or self.has_oom]
        for way, retries in chosen:
            dag_id = endings.dag_id(way, retries)
            self.runs[dag_id] = self.home.trigger(dag_id)
        lost = [endings.dag_id(BY_NAME["lost"], retries) for retries in (0, 1)]
        wait_until(lambda: self._ended() >= len(chosen) - len(lost), "the others' ends", PATIENCE_SECONDS)
        wait_until(lambda: all(self.home.running(dag_id) for dag_id in lost), "those that are to be lost")
        os.kill(self.home.supervisor, signal.SIGKILL)
        wait_until(lambda: self._ended() == len(chosen), "every end", PATIENCE_SECONDS)
        wait_until(lambda: self._untold() == 0, "everything to be told", PATIENCE_SECONDS)

    def _ended(self) -> int:
        """How many of the DAGs have something to tell."""
        told = alert_event.c.kind.in_(("task_failed", "task_retry")) | (
            (alert_event.c.kind == "run_failed") & alert_event.c.payload.contains("timed_out")
        )
        return self._count(select(func.count(alert_event.c.dag_id.distinct())).where(told))

    def _untold(self) -> int:
        unrouted = select(func.count()).where(alert_event.c.routed_at.is_(None))
        unsent = select(func.count()).where(alert_delivery.c.state.in_(("pending", "sending")))
        uncalled = select(func.count()).where(CallbackRequest.state == "pending")
        return sum(map(self._count, (unrouted, unsent, uncalled)))

    def _count(self, statement: Any) -> int:
        with self.home.store.read() as connection:
            return int(connection.execute(statement).scalar_one())

    # -- what people have got about a DAG

    def mails(self, dag_id: str) -> list[Mail]:
        return [mail for mail in self.post.mails if f": {dag_id}" in mail.message["Subject"]]

    def requests(self, dag_id: str) -> list[Request]:
        return [request for request in self.hook.requests if f": {dag_id}" in request.json()["title"]]

    def calls(self, dag_id: str) -> list[dict[str, Any]]:
        lines = (self.folder / "told").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call["dag_id"] == dag_id]

    def close(self) -> None:
        self.home.close()
        self.post.stop()
        self.hook.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack:
        group: Path | None = None
        with suppress(OSError):  # no control group can be made here
            group = stack.enter_context(little_memory())
        made = World(group)
        stack.callback(made.close)
        yield made


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{'a retry follows' if case[1] else 'the last attempt'}")
def case(request: pytest.FixtureRequest, world: World) -> tuple[Way, str, bool]:
    """A way to end, its DAG, and whether a retry follows."""
    name, retries = request.param
    way = BY_NAME[name]
    if name == "oom" and not world.has_oom:
        pytest.skip("no control group can be made here")
    return way, endings.dag_id(way, retries), bool(retries) and not way.of_run


def verdict(way: Way, *, again: bool) -> str:
    if way.of_run:
        return "Run failed"
    return "Will retry" if again else "Failed"


def says(text: str, way: Way) -> None:
    """The sentence, and the exit code or the signal, or else the cause."""
    assert way.sentence in text
    if way.exit_code is not None:
        assert f"exit code {way.exit_code}" in text
    elif way.signal is not None:
        assert f"signal {way.signal}" in text
    else:
        assert way.cause.replace("_", " ") in text


def test_one_mail_says_how_it_ended(world: World, case: tuple[Way, str, bool]) -> None:
    way, dag_id, again = case
    (mail,) = world.mails(dag_id)
    assert mail.message["Subject"].startswith(f"{verdict(way, again=again)}: {dag_id}")
    for kind in ("plain", "html"):
        part = mail.message.get_body((kind,))
        assert part is not None
        says(part.get_content().replace("&#39;", "'"), way)


def test_one_webhook_request_says_how_it_ended(world: World, case: tuple[Way, str, bool]) -> None:
    way, dag_id, again = case
    (request,) = world.requests(dag_id)
    assert request.json()["title"].startswith(f"{verdict(way, again=again)}: {dag_id}")
    says(request.json()["message"], way)


def test_one_callback_is_told_how_it_ended(world: World, case: tuple[Way, str, bool]) -> None:
    way, dag_id, _ = case
    (call,) = world.calls(dag_id)
    assert call["run_id"] == world.runs[dag_id]
    if way.of_run:
        assert call["reason"] == "timed_out"
    else:
        assert call["exception"].startswith(way.sentence)


def test_each_was_told_once_and_nothing_else_was(world: World) -> None:
    ways: tuple[Callable[[str], list[Any]], ...] = (world.mails, world.requests, world.calls)
    assert [{dag_id: len(way(dag_id)) for dag_id in world.runs} for way in ways] == [dict.fromkeys(world.runs, 1)] * 3
    keys = Counter(str(mail.message["Message-ID"]) for mail in world.post.mails)
    assert set(keys.values()) == {1}
    assert (len(world.post.mails), len(world.hook.requests)) == (len(world.runs), len(world.runs))
