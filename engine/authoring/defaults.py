"""The settings that a DAG falls back to where its author says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from engine.authoring.serialized import AfterFailure, SlaRuns

if TYPE_CHECKING:
    from engine.config import Settings


class Defaults(msgspec.Struct, frozen=True):
    """A plain record, so that it can be sent to the processes that import DAG files."""

    timezone: str = "UTC"
    retries: int = 0
    max_active_runs: int = 16
    max_active_tasks: int = 16
    catchup: bool = False
    email_on_failure: bool = True
    email_on_retry: bool = True
    sla_runs: SlaRuns = "scheduled"
    sla_after_failure: AfterFailure = "wait"

    @classmethod
    def from_settings(cls, settings: Settings) -> Defaults:
        core, email = settings.core, settings.email
        return cls(
            timezone=core.default_timezone,
            retries=core.default_task_retries,
            max_active_runs=core.max_active_runs_per_dag,
            max_active_tasks=core.max_active_tasks_per_dag,
            catchup=settings.scheduler.catchup_by_default,
            email_on_failure=email.default_email_on_failure,
            email_on_retry=email.default_email_on_retry,
            sla_runs=core.sla_runs,
            sla_after_failure=core.sla_after_failure,
        )


_active = Defaults()


def active() -> Defaults:
    """What holds while the present DAG file is imported."""
    return _active


@contextmanager
def using(defaults: Defaults) -> Iterator[None]:
    """Let `defaults` hold for the DAGs made inside."""
    global _active
    before, _active = _active, defaults
    try:
        yield
    finally:
        _active = before
