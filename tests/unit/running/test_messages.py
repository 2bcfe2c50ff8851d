from __future__ import annotations

import time
from datetime import timedelta

from engine.metastore.outcome import Cause, Outcome
from engine.running import messages
from engine.running.messages import Ended


def test_how_long_ago_an_attempt_ended_survives_the_way_to_another_process() -> None:
    end = Ended("token", Outcome(Cause.SUCCESS), time.monotonic() - 20)
    arrived = messages.from_supervisor.decode(messages.encode(end))
    assert isinstance(arrived, Ended)
    assert timedelta(seconds=20) <= arrived.ago() < timedelta(seconds=60)
    assert arrived.ago().microseconds % 100_000 == 0
    assert Ended("token", Outcome(Cause.SUCCESS), time.monotonic() + 60).ago() == timedelta(0)
