"""Waiting for an instant to a tenth of a millisecond."""

from __future__ import annotations

import select
import time


def poll_until(poller: select.poll, instant: float) -> set[int]:
    """The file descriptors that are ready; none once `instant` (time.monotonic) has come.

    poll() counts whole milliseconds and rounds up, by which a deadline would be told late.
    """
    left = max(0.0, instant - time.monotonic())
    if ready := poller.poll(int(left * 1000)):
        return {fd for fd, _ in ready}
    time.sleep(max(0.0, instant - time.monotonic()))  # less than a millisecond
    return set()
