"""How an attempt ended, as its supervisor saw it. Imported by slim processes: no SQLAlchemy here."""

from __future__ import annotations

import signal as signals
from enum import StrEnum

import msgspec


class Cause(StrEnum):
    """What ended the attempt. The detector names it; nobody guesses it later."""

    SUCCESS = "success"
    SKIP = "skip"  # the task raised SkipTask, or a Bash command exited with its skip code
    RESCHEDULE = "reschedule"  # nothing has ended: the attempt gives its slot back and goes on later
    EXCEPTION = "exception"  # Python code raised
    EXIT = "exit"  # the process exited with a code that means failure
    SIGNAL = "signal"  # something killed the process: `signal` says which
    STOPPED = "stopped"  # Windsock was shut down while it ran, and ended it
    TIMEOUT = "timeout"  # execution_timeout passed; the supervisor ended it
    IMPORT = "import"  # the DAG file could not be imported again
    START = "start"  # the process could not be started
    LOST = "lost"  # its supervisor died, so nobody saw the end
    QUEUED = "queued"  # it never started: scheduler.task_queued_timeout passed while it was ready
    ENDED = "ended"  # its run timed out, or somebody cleared or marked it while it ran: `error` says which


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of one attempt. `error` is one line; `xcom` maps keys to JSON texts to store on success.

    `skip` names the tasks that a branch decided against. `resume_seconds` is how long after its end a rescheduled
    attempt goes on. `timed_out`: a time limit of its own made it skip.
    """

    cause: Cause
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    may_retry: bool = True  # False where the task said that trying again is pointless
    xcom: dict[str, str] = {}
    skip: tuple[str, ...] = ()
    resume_seconds: float = 0.0
    timed_out: bool = False

    @property
    def sentence(self) -> str:
        """The end in words, for people."""
        if self.error:
            return self.error
        match self.cause:
            case Cause.SIGNAL:
                return f"killed by {signal_name(self.signal)}"
            case Cause.EXIT:
                return f"exited with code {self.exit_code}"
            case Cause.STOPPED:
                return "stopped because Windsock was shut down while it ran"
            case Cause.LOST:
                return "its supervisor died while it ran"
            case _:
                return str(self.cause)


def signal_name(number: int | None) -> str:
    """``SIGKILL`` for 9; the number where it has no name."""
    try:
        return signals.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
