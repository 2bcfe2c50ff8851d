"""The one place where an exception becomes what a person reads: a sentence, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

# Errors whose text is written for people. A class is only looked for where its module is loaded: an error of a module
# that was never imported cannot have been raised.
_WORDED = (
    ("engine.config.loading", "ConfigError"),
    ("engine.metastore.errors", "MetastoreError"),
    ("engine.logs.remote", "RemoteError"),
    ("engine.stack.control", "StackError"),
    ("engine.authoring.exceptions", "AuthoringError"),
    ("exporters.errors", "ExporterError"),
    ("alerting.errors", "AlertingError"),
    ("dashboards.grafana", "GrafanaError"),
)


class Failure(click.ClickException):
    """What the command was asked for did not happen. Exit status 1."""

    def show(self, file: object = None) -> None:  # noqa: ARG002  (click's signature)
        for line in self.message.splitlines():
            click.echo(f"windsock: {line}", err=True)


class Misuse(Failure):
    """The command line asks for something that cannot be. Exit status 2."""

    exit_code = 2


def failure_of(error: Exception) -> Failure:
    """The words for any error. One that nobody foresaw says so and points to ``--debug``."""
    if isinstance(error, Failure):
        return error
    if text := _foreseen(error):
        return Failure(text)
    what = " ".join(str(error).split()) or "no message"
    return Failure(f"unexpected {type(error).__name__}: {what}. Please report it with the output of the same command "
                   "after `windsock --debug`")  # fmt: skip


def is_foreseen(error: Exception) -> bool:
    """Whether there are words for the error, so that nobody needs its traceback."""
    return isinstance(error, Failure) or bool(_foreseen(error))


def _foreseen(error: Exception) -> str:
    if isinstance(error, tuple(_worded())):
        return str(error)
    return _os_error(error) if isinstance(error, OSError) else _database_error(error)


def _worded() -> Iterator[type[Exception]]:
    for module, name in _WORDED:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None:
            yield kind


def _os_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _database_error(error: Exception) -> str:
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    if sqlalchemy is None or not isinstance(error, sqlalchemy.DBAPIError):
        return ""
    return f"the database says: {' '.join(str(error.orig).split())}. See what is wrong with it: windsock db check"
