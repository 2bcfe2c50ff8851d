"""``deadline=`` of a DAG, with Airflow 3's names, and what an author may say about ``sla=``.

A reference is a moment of a run; so long after it the run is to have succeeded, or else the callback is called.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from engine.authoring import arguments
from engine.authoring.defaults import active
from engine.authoring.exceptions import AuthoringError
from engine.authoring.serialized import AfterFailure, ReferenceName, SerializedDeadline, SlaRuns
from engine.authoring.suggest import did_you_mean
from engine.authoring.zones import aware, zone_named


@dataclass(frozen=True)
class Reference:
    """What a deadline counts from. Made by :class:`DeadlineReference`."""

    name: ReferenceName
    at: datetime | None = None
    max_runs: int = 10
    min_runs: int = 10


class DeadlineReference:
    """The references there are: two moments of the run, a fixed moment, and what runs took on the average."""

    DAGRUN_LOGICAL_DATE: Final = Reference("logical_date")
    DAGRUN_QUEUED_AT: Final = Reference("queued_at")

    @staticmethod
    def FIXED_DATETIME(moment: datetime) -> Reference:  # noqa: N802 - Airflow's name
        """The same moment for every run."""
        if not isinstance(moment, datetime):
            raise AuthoringError(
                f"FIXED_DATETIME takes a datetime, not {moment!r}.", "Write FIXED_DATETIME(datetime(2026, 1, 1))."
            )
        return Reference("fixed", aware(moment, zone_named(active().timezone)).astimezone(UTC))

    @staticmethod
    def AVERAGE_RUNTIME(max_runs: int = 10, min_runs: int | None = None) -> Reference:  # noqa: N802 - Airflow's name
        """What the last `max_runs` successes took on the average, from the queueing on; none before `min_runs`."""
        most = arguments.whole_number("max_runs", max_runs, 1)
        least = most if min_runs is None else arguments.whole_number("min_runs", min_runs, 1)
        if least > most:
            raise AuthoringError(f"min_runs is {least}, more than max_runs ({most}).", "Give a smaller min_runs.")
        return Reference("average_runtime", max_runs=most, min_runs=least)


class Callback:
    """A function, or where to import it from, and what it is called with."""

    def __init__(self, callback_callable: Callable[..., Any] | str, kwargs: dict[str, Any] | None = None) -> None:
        if not callable(callback_callable) and not _is_path(callback_callable):
            raise AuthoringError(
                f"The callback of a deadline must be a function, not {callback_callable!r}.",
                "Pass the function itself, without calling it, or its path: 'package.module.function'.",
            )
        self.callback_callable = callback_callable
        self.kwargs = dict(kwargs or {})


class AsyncCallback(Callback):
    """One that is written as ``async def``."""


class SyncCallback(Callback):
    """One that is not. ``executor`` is accepted for Airflow's sake: the notifier runs callbacks."""

    def __init__(
        self,
        callback_callable: Callable[..., Any] | str,
        kwargs: dict[str, Any] | None = None,
        executor: str | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__(callback_callable, kwargs)


class DeadlineAlert:
    """A run is to have succeeded `interval` after `reference`."""

    def __init__(
        self, reference: Reference, interval: timedelta, callback: Callback | Callable[..., Any] | None = None
    ) -> None:
        if not isinstance(reference, Reference):
            raise AuthoringError(
                f"reference must be one of DeadlineReference's, not {reference!r}.",
                "Write reference=DeadlineReference.DAGRUN_QUEUED_AT. Custom references are not supported.",
            )
        if not isinstance(interval, timedelta):
            raise AuthoringError(
                f"interval must be a timedelta, not {interval!r}.",
                "Write interval=timedelta(hours=1), from datetime import timedelta.",
            )
        if callback is not None and not isinstance(callback, Callback):
            callback = Callback(callback)
        self.reference = reference
        self.interval = interval
        self.callback = callback

    def serialized(self) -> SerializedDeadline:
        """What is stored of it."""
        return SerializedDeadline(
            reference=self.reference.name,
            interval_seconds=self.interval.total_seconds(),
            at=self.reference.at,
            max_runs=self.reference.max_runs,
            min_runs=self.reference.min_runs,
            has_callback=self.callback is not None,
        )


def deadlines(value: object) -> list[DeadlineAlert]:
    """One DeadlineAlert or a list of them."""
    found: list[Any] = [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
    for item in found:
        if not isinstance(item, DeadlineAlert):
            raise AuthoringError(
                f"deadline must be a DeadlineAlert or a list of them, not {item!r}.",
                "Write deadline=DeadlineAlert(reference=…, interval=…, callback=…).",
            )
    return found


def sla_runs(value: str | None) -> SlaRuns:
    """In which runs an ``sla=`` counts."""
    return cast("SlaRuns", _choice("sla_runs", value, typing.get_args(SlaRuns), active().sla_runs))


def after_failure(value: str | None) -> AfterFailure:
    """What becomes of the open deadlines of a run that fails."""
    choices = typing.get_args(AfterFailure)
    return cast("AfterFailure", _choice("sla_after_failure", value, choices, active().sla_after_failure))


def _choice(name: str, value: str | None, choices: tuple[str, ...], default: str) -> str:
    if value is None:
        return default
    if value not in choices:
        hint = did_you_mean(str(value), choices).strip() or f"Write one of {', '.join(choices)}."
        raise AuthoringError(f"{name} has no choice {value!r}.", hint)
    return value


def _is_path(value: object) -> bool:
    return isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))
