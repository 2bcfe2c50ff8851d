"""Staying in the foreground with a stack: ``python -I -S stay.py PID``, in place of the command that started it.

That command has loaded all that it takes to say that everything is well. Hours of waiting need none of it, so it
becomes this: the same process, and still the supervisor's parent. The pipe to the supervisor stays open with it.
Without site-packages and typing, it takes 3.5 MB instead of 5.
"""

from __future__ import annotations

import os
import signal
import sys

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Ctrl-C, TERM or a closed terminal."""


def stay(supervisor: int) -> int:
    """Wait for the supervisor's end, told to stop or not; returns the exit status."""
    for number in _STOPS:
        signal.signal(number, _interrupt)
    try:
        _, status = os.waitpid(supervisor, 0)
    except Interrupted:
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        _say("\nStopping...", sys.stderr.fileno())
        os.kill(supervisor, signal.SIGTERM)
        os.waitpid(supervisor, 0)
        status = 0
    if code := os.waitstatus_to_exitcode(status):
        _say(f"windsock: the supervisor died (status {code}), and all components with it", sys.stderr.fileno())
        return 1
    _say("Windsock is stopped.", sys.stdout.fileno())
    return 0


def _interrupt(*_: object) -> None:
    raise Interrupted


def _say(sentence: str, where: int) -> None:
    try:
        os.write(where, f"{sentence}\n".encode())
    except OSError:
        return  # the terminal is gone


if __name__ == "__main__":
    sys.exit(stay(int(sys.argv[1])))
