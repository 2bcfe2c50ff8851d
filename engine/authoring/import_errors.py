"""What an ImportError tells. A DAG file may raise one itself, with anything for a name and a message."""

from __future__ import annotations

import re
from typing import Final

_QUOTED: Final = re.compile(r"'(\w+)'")


def module_of(error: ImportError) -> str:
    """The module that was missing, or that lacked a name; empty where none is told."""
    name: object = error.name
    return name if isinstance(name, str) else ""


def missing_from_it(error: ImportError) -> str:
    """The name that the module lacked, which Python 3.11 tells in the message only; empty where none is told."""
    message: object = error.msg
    quoted = _QUOTED.search(message) if isinstance(message, str) else None
    return quoted[1] if quoted else ""
