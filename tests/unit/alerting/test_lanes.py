from __future__ import annotations

import threading
from datetime import UTC, datetime

from alerting.channels import Delivered, Message, Outcome
from alerting.lanes import Lane, Worker
from alerting.outbox import Lease

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Quiet:
    """A channel that takes everything."""

    name = "quiet"
    concurrency = 2

    def send(self, message: Message) -> Outcome:
        return Delivered()


class Desk:
    """Takes what the lane was offered; holds the lane's threads until it is opened."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.opened = threading.Event()
        self.lane = Lane(Quiet(), self._deliver_next, 60.0)

    def _deliver_next(self, lane: Lane, worker: Worker) -> bool:
        self.opened.wait(10)
        if (offered := lane.take_offered()) is not None:
            self.taken.append(offered.lease.id)
        return False


def lease(number: int) -> Lease:
    return Lease(number, "token", "quiet", (), 1, NOW, None)


def test_what_is_offered_is_sent_also_by_a_lane_that_closes() -> None:
    desk = Desk()
    desk.lane.start()
    for number in (1, 2):
        desk.lane.offer(lease(number), NOW)
    desk.opened.set()
    desk.lane.close(10)
    assert sorted(desk.taken) == [1, 2]


def test_a_lane_has_as_much_to_spare_as_it_has_idle_threads() -> None:
    desk = Desk()
    assert desk.lane.spare == 0
    desk.lane.start()
    assert desk.lane.spare == 2
    desk.lane.offer(lease(1), NOW)
    assert desk.lane.spare == 1
    desk.opened.set()
    desk.lane.close(10)
    assert desk.lane.spare == 0


def test_a_lane_whose_receiver_failed_has_nothing_to_spare() -> None:
    desk = Desk()
    desk.lane.start()
    desk.lane.failed(Worker(), None)
    assert desk.lane.spare == 0
    desk.opened.set()
    desk.lane.close(10)


def test_a_lane_that_is_put_off_is_no_better_than_it_was() -> None:
    lane = Desk().lane
    lane.put_off(Worker())
    assert lane.breaker.failures == 0
    lane.failed(Worker(), 60.0)
    lane.put_off(Worker())
    assert lane.breaker.is_open
    assert lane.down_for > 0
