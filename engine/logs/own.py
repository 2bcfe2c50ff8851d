"""The log of Windsock's own processes, one form for all."""

from __future__ import annotations

import logging
import time


def start(level: str) -> None:
    """To stderr, which `windsock up` writes to the component's log file. Times are UTC."""
    handler = logging.StreamHandler()
    form = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("alembic", "httpx", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
