"""Tracebacks as a task's author wants them: from their own code on, without the frames of the machinery around it."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Final

from engine.authoring.error_names import public
from engine.authoring.exceptions import AirflowException, AuthoringError

_MACHINERY: Final = tuple(str(Path(__file__).parent.parent / room) + os.sep for room in ("running", "authoring"))


def print_trace(error: BaseException) -> None:
    """Write to stderr. What an author got wrong in a way that we know is one sentence; all else is a traceback."""
    if isinstance(error, AuthoringError) or _is_said_by_us(error):
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return
    told = traceback.TracebackException.from_exception(error)
    _trim(told)
    sys.stderr.write("".join(map(public, told.format())))


def _is_said_by_us(error: BaseException) -> bool:
    """Whether an operator of ours says why its task failed: our frames would tell its author nothing."""
    if not isinstance(error, AirflowException) or error.__cause__ or error.__context__:
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and all(frame.filename.startswith(_MACHINERY) for frame in frames)


def _trim(told: traceback.TracebackException | None) -> None:
    while told is not None:
        own = [frame for frame in told.stack if not frame.filename.startswith(_MACHINERY)]
        if own:
            told.stack = traceback.StackSummary.from_list(own)
        told = told.__cause__ or told.__context__
