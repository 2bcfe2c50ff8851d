"""How soon each way to end is told: from the end of the process to the mail, the webhook and the callback.

One ending at a time, not grouped, through the real processes and a durable outbox: told by one of the three alone, and
by all three at the same moment.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from benchmarks.engine_run import Home, engine, queue, start, store_dags
from engine.metastore import budgets
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Budget, Process, TaskInstance
from tests.servers import endings
from tests.servers.endings import CHANNELS, WAYS, Way
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.shown_machine import little_memory
from tests.servers.webhook import WebhookServer

ROUNDS = 20
SLOW_ROUNDS = 11  # of those that wait for their time to be up, or for another supervisor
SLOW = ("lost", "queued", "overdue")
TIME_SECONDS = 1.0  # after which a ready task has waited for too long, and a run is over its time
P50_SECONDS, P95_SECONDS = 0.025, 0.100
SETTINGS = (*((channel,) for channel in CHANNELS), CHANNELS)
PATIENCE_SECONDS = 60.0

Delays = dict[tuple[str, str, bool], list[float]]


def measure() -> list[dict[str, Any]]:
    """A row for each way to end, each channel, and whether the others are told at the same moment."""
    delays: Delays = defaultdict(list)
    for told_by in SETTINGS:
        with _watched(told_by) as world:
            _measure(world, delays)
    return [
        {"way": way, "channel": channel, "alone": alone, **_summary(found)}
        for (way, channel, alone), found in delays.items()
    ]


def _measure(world: World, delays: Delays) -> None:
    world.end(WAYS[1])  # the first pays for imports and connections
    for way in WAYS:
        if way.name == "oom" and world.memory_group is None:
            continue
        for _ in range(SLOW_ROUNDS if way.name in SLOW else ROUNDS):
            for channel, seconds in world.end(way).items():
                delays[way.name, channel, len(world.told_by) == 1].append(seconds)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"\n{'process ends → accepted':<24}{'by':<24}{'times':>6}{'p50 ms':>9}{'p95 ms':>9}{'longest ms':>12}")
    for row in rows:
        numbers = "".join(
            f"{row[name] * 1000:>{width}.1f}" for name, width in (("p50", 9), ("p95", 9), ("longest", 12))
        )
        print(f"{row['way']:<24}{_by(row):<24}{row['times']:>6}{numbers}")
    if missing := sorted({way.name for way in WAYS} - {row["way"] for row in rows}):
        print(f"not measured, since no control group can be made here: {', '.join(missing)}")


def slow_words(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for each that is told too late."""
    return [
        f"{row['way']} is told by {_by(row)} after p50 {row['p50'] * 1000:.0f} ms, "
        f"p95 {row['p95'] * 1000:.0f} ms; the bounds are {P50_SECONDS * 1000:.0f} and {P95_SECONDS * 1000:.0f} ms"
        for row in rows
        if row["p50"] > P50_SECONDS or row["p95"] > P95_SECONDS
    ]


def _by(row: dict[str, Any]) -> str:
    return str(row["channel"]) if row["alone"] else f"{row['channel']}, with the others"


class World:
    """An engine with the DAGs of :mod:`tests.servers.endings`, and those who are told: `told_by` says which."""

    def __init__(
        self, home: Home, post: MailServer, hook: WebhookServer, memory_group: Path | None, told_by: Sequence[str]
    ) -> None:
        self.home, self.post, self.hook, self.memory_group, self.told_by = home, post, hook, memory_group, told_by
        self.folder = home.settings.home / "died"
        self.folder.mkdir()
        (self.folder / "told").touch()
        file = home.settings.core.dags_folder / "endings.py"
        file.write_text(endings.source(self.folder, memory_group or self.folder, told_by, TIME_SECONDS))
        pool = insert(Budget).values(kind=budgets.POOL, name=endings.POOL, slots=1, used=0)
        home.store.run(lambda tx: tx.connection.execute(pool))
        home.store.run(lambda tx: store_dags(tx, file))

    def end(self, way: Way) -> dict[str, float]:
        """Let a task end so; the seconds until each channel has accepted it."""
        self.post.mails.clear()
        self.hook.requests.clear()
        (self.folder / "told").write_text("")
        _, run_id = queue(self.home.store, endings.dag_id(way, 0))
        killed = self._kill_supervisor(run_id) if way.name == "lost" else None
        told = {channel: self._told_at(channel) for channel in self.told_by}
        end = killed or endings.ended_at(self.home.store, self.folder, way, run_id, TIME_SECONDS)
        return {channel: at - end for channel, at in told.items()}

    def _told_at(self, channel: str) -> float:
        """Seconds since 1970 at which it was accepted."""
        match channel:
            case endings.MAIL:
                return self.post.wait_for(1, PATIENCE_SECONDS)[0].received_at.timestamp()
            case endings.WEBHOOK:
                return self.hook.wait_for(1, PATIENCE_SECONDS)[0].received_at.timestamp()
            case _:
                told = self.folder / "told"
                wait_until(lambda: told.read_text().endswith("\n"), "the callback", PATIENCE_SECONDS)
                return float(json.loads(told.read_text())["at"])

    def _kill_supervisor(self, run_id: str) -> float:
        begun = select(func.count()).where(TaskInstance.run_id == run_id, TaskInstance.state == "running")
        newest = select(Process.pid).where(Process.kind == ProcessKind.SUPERVISOR, Process.ended_at.is_(None))
        wait_until(lambda: self._scalar(begun), "the task", PATIENCE_SECONDS)
        pid = self._scalar(newest.order_by(Process.started_at.desc()).limit(1))
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        return at

    def _scalar(self, statement: Any) -> Any:
        with self.home.store.read() as connection:
            return connection.execute(statement).scalar()


@contextmanager
def _watched(told_by: Sequence[str]) -> Iterator[World]:
    """A scheduler and a notifier that tells by mail, webhook or callback."""
    post, hook = MailServer(), WebhookServer()
    with ExitStack() as stack:
        for server in (post, hook):
            server.start()
            stack.callback(server.stop)
        group: Path | None = None
        with suppress(OSError):  # no control group can be made here
            group = stack.enter_context(little_memory())
        home = stack.enter_context(engine(settings=endings.settings(post.port, TIME_SECONDS)))
        if endings.WEBHOOK in told_by:
            (home.settings.home / "alerting.yml").write_text(endings.routes(hook.port))
        world = World(home, post, hook, group, told_by)
        start(stack, home.environment, "notifier")
        yield world


def _summary(delays: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(delays, n=20, method="inclusive")
    return {"times": len(delays), "p50": statistics.median(delays), "p95": cuts[-1], "longest": max(delays)}
