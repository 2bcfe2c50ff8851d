"""What a task raises may come from another process: a pool hands it over as bytes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from engine.authoring import exceptions
from engine.authoring.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AuthoringError,
    CommandFailed,
    TemplateError,
    TimeLimitSkip,
)

RAISED = (
    AirflowException("broken"),
    AirflowSkipException("nothing to do"),
    TimeLimitSkip("waited"),
    AirflowFailException("for good"),
    AirflowSensorTimeout("waited"),
    CommandFailed(3, "last words"),
    CommandFailed(-9),
    AirflowRescheduleException(datetime(2026, 1, 1, tzinfo=UTC)),
    AuthoringError("It cannot be.", "Write this.", line=7),
    TemplateError("It cannot be.", ""),
)


def test_every_exception_is_tried_here() -> None:
    there = {one for one in vars(exceptions).values() if isinstance(one, type) and issubclass(one, Exception)}
    assert there == {type(error) for error in RAISED}


@pytest.mark.parametrize("way", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_exception_is_the_same_on_the_other_side(error: Exception, way: Callable[[Exception], Exception]) -> None:
    found = way(error)
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_what_people_read_of_a_command_says_how_it_ended() -> None:
    assert [str(CommandFailed(3)), str(CommandFailed(-9))] == [
        "The command exited with 3.",
        "The command got signal 9.",
    ]
