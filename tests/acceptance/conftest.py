"""Fixtures for tests of whole systems."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def goes_first() -> Iterator[None]:
    """What is started meanwhile gets the processors before others do, where we may say so.

    In hurried time an alert on lateness fires after seconds. A stack that other tests keep from working for so long is
    late indeed, and that is not the fault which is made.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    yield
    os.setpriority(os.PRIO_PROCESS, 0, before)
