"""What a task may raise to say how it ended, and what an author is told when a DAG cannot be understood."""

from __future__ import annotations


class AirflowException(Exception):
    """Base of what user code raises on purpose; as good as any other exception: the attempt failed, retries follow."""


class AirflowSkipException(AirflowException):
    """The task has nothing to do: its state becomes skipped."""


class AirflowFailException(AirflowException):
    """The task failed, and trying again would not help: no retry."""


SkipTask = AirflowSkipException


class AuthoringError(Exception):
    """A DAG says something that Windsock cannot do. `remedy` is one sentence: what to write instead."""

    def __init__(self, message: str, remedy: str = "", *, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.line = line

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class TemplateError(AuthoringError):
    """A template cannot be rendered; the message names task and field."""
