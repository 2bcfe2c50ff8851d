"""What the scheduler makes of an end that the metastore does not take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from engine import config
from engine.metastore.errors import Damaged
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.store import Store
from engine.running.messages import Ended
from engine.scheduling.scheduler import Scheduler

END = Ended("token", Outcome(Cause.SUCCESS))


class Failing(Store):
    """A metastore that answers every write with the next of these errors."""

    def __init__(self, url: str, *errors: Exception) -> None:
        super().__init__(url)
        self.errors = list(errors)
        self.asked = 0

    def run(self, work: Callable[..., Any]) -> Any:
        self.asked += 1
        raise self.errors.pop(0)


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    return config.load({"WINDSOCK_HOME": str(tmp_path), "WINDSOCK__METRICS__STATSD_ON": "false"})


def test_a_metastore_in_trouble_makes_no_failure_of_a_success(settings: config.Settings) -> None:
    busy = OperationalError("UPDATE", {}, Exception("database is locked"))
    store = Failing("sqlite://", busy, AssertionError("it must not be written as a failure"))
    assert not Scheduler(settings, store)._write_alone(END)
    assert store.asked == 1


def test_a_result_that_is_refused_for_good_is_written_as_a_failure_next(settings: config.Settings) -> None:
    refused = [DataError("INSERT", {}, Exception("we do not take this")) for _ in range(2)]
    store = Failing("sqlite://", *refused)
    assert not Scheduler(settings, store)._write_alone(END)
    assert store.asked == 2


def test_a_report_that_meets_a_damaged_page_is_tried_without_its_result(settings: config.Settings) -> None:
    store = Failing("sqlite://", *(Damaged("the SQLite database is damaged") for _ in range(2)))
    assert not Scheduler(settings, store)._write_alone(END)
    assert store.asked == 2
