"""What a task may raise to say how it ended, and what an author is told when a DAG cannot be understood.

Each hands its own arguments to ``Exception``: a pool of processes makes it again from them on its way to the parent.
"""

from __future__ import annotations

from datetime import datetime


class AirflowException(Exception):
    """Base of what user code raises on purpose; as good as any other exception: the attempt failed, retries follow."""


class AirflowSkipException(AirflowException):
    """The task has nothing to do: its state becomes skipped."""


class TimeLimitSkip(AirflowSkipException):
    """A soft-failing sensor has waited for longer than its timeout."""


class AirflowFailException(AirflowException):
    """The task failed, and trying again would not help: no retry."""


class CommandFailed(AirflowException):
    """A Bash command ended with `status`: its exit code, or less than zero, the number of the signal that killed it.

    `last_line` is what it printed last.
    """

    def __init__(self, status: int, last_line: str = "") -> None:
        super().__init__(status, last_line)
        self.status = status
        self.last_line = last_line

    def __str__(self) -> str:
        return (
            f"The command exited with {self.status}." if self.status > 0 else f"The command got signal {-self.status}."
        )


class AirflowSensorTimeout(AirflowException):
    """A sensor has waited for longer than its timeout: no retry."""


class AirflowRescheduleException(AirflowException):
    """The attempt gives its slot back and goes on, from the beginning, at `reschedule_date`; no new attempt begins."""

    def __init__(self, reschedule_date: datetime) -> None:
        super().__init__(reschedule_date)
        self.reschedule_date = reschedule_date

    def __str__(self) -> str:
        return f"goes on at {self.reschedule_date.isoformat()}"

    def seconds_from_now(self) -> float:
        """By this machine's clock, since the metastore's may differ."""
        date = self.reschedule_date
        return max(0.0, (date - datetime.now(date.tzinfo)).total_seconds())


SkipTask = AirflowSkipException


class AuthoringError(Exception):
    """A DAG says something that Windsock cannot do. `remedy` is one sentence: what to write instead.

    It is empty where user code raised something in a template, of which nothing is known.
    """

    def __init__(self, message: str, remedy: str, *, line: int | None = None) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy
        self.line = line

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class TemplateError(AuthoringError):
    """A template cannot be rendered; the message names task and field."""
