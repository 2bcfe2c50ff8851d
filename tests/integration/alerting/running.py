"""A deliverer that runs in a thread of the test, and what a test asks of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from alerting import outbox
from alerting.channels import Channel
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.render import Renderer
from alerting.routes import EMAIL, Plan
from tests.servers.processes import wait_until


@dataclass
class Meter:
    """Keeps what it is told."""

    counts: Counter[str] = field(default_factory=Counter)
    timings: dict[str, list[float]] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)

    def incr(self, name: str, n: int = 1, /, **tags: str) -> None:
        self.counts[_series(name, tags)] += n

    def timing(self, name: str, seconds: float, /, **tags: str) -> None:
        self.timings.setdefault(_series(name, tags), []).append(seconds)

    def gauge(self, name: str, value: float, /, **tags: str) -> None:
        self.gauges[_series(name, tags)] = value


def _series(name: str, tags: dict[str, str]) -> str:
    return ",".join([name, *(f"{key}={value}" for key, value in sorted(tags.items()))])


@dataclass
class Running:
    """`record` writes events as the engine does, and wakes the deliverer."""

    engine: Engine
    meter: Meter
    woken: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def record(self, *events: AlertEvent) -> None:
        record(self.engine, *events)
        self.woken.set()

    def wait(self, seconds: float) -> bool:
        woken = self.woken.wait(seconds)
        self.woken.clear()
        return woken

    def until(self, timeout: float = 60.0, **states: int) -> None:
        """Waits until so many deliveries are in these states."""
        wanted = Counter(states)
        wait_until(lambda: Counter(states_of(self.engine)) == wanted, f"deliveries {states}", timeout)


def record(engine: Engine, *events: AlertEvent) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)


def history(engine: Engine) -> list[outbox.Entry]:
    with engine.begin() as connection:
        return outbox.listing(connection, limit=1000)


def states_of(engine: Engine) -> list[str]:
    return [entry.state for entry in history(engine)]


def deliverer(engine: Engine, channels: Sequence[Channel], meter: Meter | None = None, **options: Any) -> Deliverer:
    receivers = tuple(channel.name for channel in channels if channel.name != EMAIL)
    give_up_after = options.pop("give_up_after", timedelta(days=1))
    plan = Plan(receivers, give_up_after) if EMAIL in {channel.name for channel in channels} else None
    if plan is None:
        channels = [*channels, NoMail()]
        plan = Plan(receivers, give_up_after)
    return Deliverer(engine, channels, Renderer(lambda *_: ["log line"], str), plan, meter=meter, **options)


class NoMail:
    """Stands where a test does not look at mail."""

    name = EMAIL
    concurrency = 1

    def send(self, message: object) -> Any:
        raise AssertionError("this test sends no mail")


@contextmanager
def running(engine: Engine, *channels: Channel, **options: Any) -> Iterator[Running]:
    """A deliverer at work; it has ended when the block is left."""
    world = Running(engine, Meter())
    with at_work(deliverer(engine, channels, world.meter, **options), world):
        yield world


@contextmanager
def at_work(subject: Deliverer, world: Running | None = None) -> Iterator[None]:
    """The deliverer runs in a thread, which has ended when the block is left."""
    world = world or Running(subject._means.engine, Meter())
    thread = threading.Thread(target=subject.run, args=(world.wait, world.stop))
    thread.start()
    try:
        yield
    finally:
        world.stop.set()
        world.woken.set()
        thread.join(60)
        assert not thread.is_alive()
