"""User callbacks through a real scheduler and notifier."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select

from engine.metastore.tables import CallbackRequest
from tests.integration.scheduling.engine_home import Home
from tests.servers.processes import wait_until

_TELLING = """
def cb(context):
    with open({told!r}, 'a') as file:
        file.write('began\\n')
    time.sleep({seconds})
    with open({told!r}, 'a') as file:
        file.write('ended\\n')
"""
# A notifier whose database fails once, just when it reads what the first callback is about.
_STUMBLING = """
from sqlalchemy.exc import OperationalError
from engine.config import load
from engine.running import notifier
from engine.running.callback_requests import CallbackRunner
order, failures = CallbackRunner._order, [OperationalError('SELECT', {}, Exception('away'))]
def stumble(*args):
    if failures:
        raise failures.pop()
    return order(*args)
CallbackRunner._order = stumble
notifier.run(load())
"""

# A notifier that looks often, on a machine that has no process left for the first seven times.
_CROWDED = """
from datetime import timedelta
from engine.config import load
from engine.running import callback_outcomes, callback_requests, notifier
from engine.running.zygote import Refused, ZygoteClient
callback_outcomes._SHORTEST_WAIT, callback_requests._POLL_SECONDS = timedelta(seconds=0.1), 0.1
fork, read_events, refused, times = ZygoteClient.fork, ZygoteClient.read_events, [], 7
def refuse(self, job_id, *args):
    global times
    if times:
        times -= 1
        refused.append(Refused(job_id, 'no process left'))
    else:
        fork(self, job_id, *args)
def read(self):
    events, refused[:] = [*refused, *read_events(self)], []
    return events
ZygoteClient.fork, ZygoteClient.read_events = refuse, read
notifier.run(load())
"""

# A notifier that has so many files left for a callback, and at last enough. It writes down why it waits, and how many
# pipes and logs are open then.
_OUT_OF_FILES = """
import os, resource, sys
from datetime import timedelta
from sqlalchemy import select
from engine.config import load
from engine.running import callback_outcomes, callback_requests, notifier
from engine.running.callback_requests import CallbackRunner
resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
callback_outcomes._SHORTEST_WAIT, callback_requests._POLL_SECONDS = timedelta(seconds=0.1), 0.1
order, put_off, spare, taken = CallbackRunner._order, callback_requests.put_off, [6, 5, 4, 2, 0], []
def take_files(self, *args):
    found = order(self, *args)
    if spare:
        try:
            while True:
                taken.append(os.open('/dev/null', os.O_RDONLY))
        except OSError:
            for _ in range(spare.pop()):
                os.close(taken.pop())
    return found
def is_ours(number):
    try:
        name = os.readlink(f'/proc/self/fd/{number}')
    except OSError:  # the folder's own
        return False
    return name.startswith('pipe:') or '/attempt=' in name
def free_files(tx, *args):
    while taken:
        os.close(taken.pop())
    done = put_off(tx, *args)
    error = tx.connection.execute(select(callback_outcomes.REQUEST.c.error)).scalar()
    with open(sys.argv[1], 'a') as file:
        file.write(f"{sum(map(is_ours, os.listdir('/proc/self/fd')))} {error}\\n")
    return done
CallbackRunner._order, callback_requests.put_off = take_files, free_files
notifier.run(load())
"""

# The same, and it is the zygote itself that cannot be started for the first three times.
_CROWDED_OUT = """
import errno, os
from datetime import timedelta
from engine.config import load
from engine.running import callback_outcomes, callback_requests, notifier
from engine.running.zygote import ZygoteClient
callback_outcomes._SHORTEST_WAIT, callback_requests._POLL_SECONDS = timedelta(seconds=0.1), 0.1
start, times = ZygoteClient.start, 3
def fail(entry):
    global times
    if times:
        times -= 1
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return start(entry)
ZygoteClient.start = fail
notifier.run(load())
"""


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    yield made
    made.close()


def add(home: Home, dag_id: str, seconds: float) -> Path:
    """A DAG that fails and whose callback takes so long; returns the file that the callback writes to."""
    told = home.folder / f"told-{dag_id}"
    preamble = _TELLING.format(told=str(told), seconds=seconds)
    home.add(dag_id, "BashOperator(task_id='t', bash_command='false', on_failure_callback=cb)", preamble=preamble)
    return told


def lines(told: Path) -> list[str]:
    return told.read_text().split() if told.exists() else []


def requests(home: Home) -> list[Row[Any]]:
    with home.store.read() as connection:
        return list(connection.execute(select(CallbackRequest.__table__)).all())


def test_a_callback_that_runs_when_the_notifier_is_stopped_may_end(home: Home) -> None:
    told = add(home, "d", 1)
    home.scheduler()
    notifier = home.start("notifier")
    home.finish("d")
    wait_until(lambda: lines(told), "the callback", 30)  # by the time we look it may have ended, which is as well
    assert home.stop(notifier) == 0
    assert lines(told) == ["began", "ended"]
    assert [request.state for request in requests(home)] == ["done"]


def test_a_callback_that_does_not_end_in_time_is_given_to_the_next_notifier_at_once(home: Home) -> None:
    told = add(home, "d", 600)
    home.scheduler()
    notifier = home.start("notifier")
    home.finish("d")
    wait_until(lambda: lines(told) == ["began"], "the callback", 30)
    assert home.stop(notifier, timeout=60) == 0
    assert lines(told) == ["began"]
    (request,) = requests(home)
    assert (request.state, request.attempts, request.lease_until) == ("pending", 0, None)
    home.start("notifier")
    wait_until(lambda: lines(told) == ["began", "began"], "the second try", 30)


def test_a_database_that_fails_for_a_moment_leaves_no_leased_callback_behind(home: Home) -> None:
    told = [add(home, dag_id, 0) for dag_id in "abc"]
    home.scheduler()
    for dag_id in "abc":
        home.finish(dag_id)
    home.run([sys.executable, "-c", _STUMBLING], "stumbling")
    wait_until(lambda: [lines(path) for path in told] == [["began", "ended"]] * 3, "the callbacks", 30)
    wait_until(lambda: [request.state for request in requests(home)] == ["done"] * 3, "their ends")


@pytest.mark.parametrize("program", [_CROWDED, _CROWDED_OUT], ids=["the callback's", "the zygote's"])
def test_a_callback_for_which_no_process_can_be_made_waits_until_one_can(home: Home, program: str) -> None:
    told = add(home, "d", 0)
    home.scheduler()
    home.finish("d")
    home.run([sys.executable, "-c", program], "crowded")
    wait_until(lambda: lines(told) == ["began", "ended"], "the callback", 60)
    wait_until(lambda: [request.state for request in requests(home)] == ["done"], "its end")
    (request,) = requests(home)
    assert (request.attempts, request.failures, request.unstarted_since) == (1, 0, None)


def test_a_callback_waits_while_the_notifier_has_no_file_left_for_it(home: Home) -> None:
    told, waits = add(home, "d", 0), home.folder / "waits"
    home.scheduler()
    home.finish("d")
    home.run([sys.executable, "-c", _OUT_OF_FILES, str(waits)], "out-of-files")
    wait_until(lambda: lines(told) == ["began", "ended"], "the callback", 60)
    wait_until(lambda: [request.state for request in requests(home)] == ["done"], "its end")
    (request,) = requests(home)
    assert (request.attempts, request.failures, request.unstarted_since, request.error) == (1, 0, None, None)
    counts, reasons = zip(*(line.split(" ", 1) for line in waits.read_text().splitlines()), strict=True)
    assert reasons == ("no process could be made: Too many open files",) * 5
    assert len(set(counts)) == 1  # none was left open
