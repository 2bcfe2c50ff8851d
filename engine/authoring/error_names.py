"""Exceptions as people know them: ``AirflowException: no rows``, without the room of Windsock that it comes from."""

from __future__ import annotations

import re
import traceback
from typing import Final

_ROOM: Final = re.compile(r"^(?:engine|alerting)\.(?:\w+\.)*(?=[A-Z])")


def exception_only(error: BaseException) -> str:
    """What :func:`traceback.format_exception_only` says, in one text. Others' exceptions keep their module."""
    return "".join(map(public, traceback.format_exception_only(error)))


def public(text: str) -> str:
    """A piece of a traceback, which may begin with an exception's full name."""
    return _ROOM.sub("", text)
