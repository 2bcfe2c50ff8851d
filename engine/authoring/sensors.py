"""Sensors: tasks that wait until something is so.

``mode="poke"`` keeps the process and its slot and sleeps between two looks. ``mode="reschedule"`` gives both back: the
attempt ends with AirflowRescheduleException, and the scheduler starts it again, under the same number, when the next
look is due. Either way `timeout` counts from the first look of the attempt; when it is over the task fails without a
retry, or is skipped with `soft_fail`.
"""

from __future__ import annotations

import hashlib
import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from engine.authoring import arguments
from engine.authoring.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AuthoringError,
    TimeLimitSkip,
)
from engine.authoring.operator import BaseOperator
from engine.authoring.suggest import did_you_mean

if TYPE_CHECKING:
    from engine.authoring.context import Context

MODES: Final = ("poke", "reschedule")
_WEEK: Final = timedelta(days=7)


class PokeReturnValue:
    """What :meth:`BaseSensorOperator.poke` may return instead of a truth value, to leave an XCom value too."""

    def __init__(self, is_done: bool, xcom_value: Any = None) -> None:
        self.is_done = is_done
        self.xcom_value = xcom_value

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Calls :meth:`poke` every `poke_interval` seconds until it returns something true.

    Durations are seconds or timedeltas. With `exponential_backoff` the interval doubles with each look, up to
    `max_wait`. An exception in :meth:`poke` fails the task; with `silent_fail` it is printed and counts as "not yet",
    with `never_fail` the task is skipped. With `soft_fail` a timeout and AirflowFailException skip the task.
    """

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float = _WEEK,
        soft_fail: bool = False,
        mode: str = "poke",
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        silent_fail: bool = False,
        never_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.poke_interval = _seconds("poke_interval", poke_interval)
        self.timeout = _seconds("timeout", timeout)
        self.mode = _mode(mode)
        self.exponential_backoff = bool(exponential_backoff)
        self.max_wait = None if max_wait is None else _seconds("max_wait", max_wait)
        self.soft_fail = bool(soft_fail)
        self.silent_fail = bool(silent_fail)
        self.never_fail = bool(never_fail)
        if soft_fail and never_fail:
            raise AuthoringError(f"{self.task_id}: soft_fail and never_fail exclude one another.", "Keep one of them.")

    @property
    def reschedule(self) -> bool:
        return self.mode == "reschedule"

    def poke(self, context: Context) -> bool | PokeReturnValue:  # noqa: ARG002
        """Look once: true when the waiting is over."""
        raise AuthoringError(f"{self.task_type} has no poke(self, context) method.", "Define one.")

    def execute(self, context: Context) -> Any:
        """Look, and look again, until it is so or the timeout is over."""
        began = time.monotonic() - _waited_before(context)
        looks = self._looks_before(time.monotonic() - began)
        while not (found := self._look(context)):
            looks += 1
            waited = time.monotonic() - began
            if waited > self.timeout:
                self._give_up(waited)
            pause = self.next_pause(context, waited, looks)
            if self.reschedule:
                raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=pause))
            time.sleep(pause)
        return found.xcom_value if isinstance(found, PokeReturnValue) else None

    def _look(self, context: Context) -> bool | PokeReturnValue:
        try:
            return self.poke(context)
        except AirflowSkipException:
            raise
        except (AirflowSensorTimeout, AirflowFailException) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"{type(error).__name__}: {error}") from error
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException(f"{type(error).__name__}: {error}") from error
            if not self.silent_fail:
                raise
            print(f"not yet: {type(error).__name__}: {error}")  # noqa: T201 - standard output is the attempt's log
            return False

    def _give_up(self, waited: float) -> None:
        sentence = f"The sensor has waited for {waited:.1f} s, longer than its timeout of {self.timeout:g} s."
        raise TimeLimitSkip(sentence) if self.soft_fail else AirflowSensorTimeout(sentence)

    def _looks_before(self, waited: float) -> int:
        """How many looks a rescheduled attempt has had: with back-off the pauses add up to powers of two."""
        if not (self.exponential_backoff and waited and self.poke_interval):
            return 0
        return math.ceil(math.log2(waited / self.poke_interval + 1))

    def next_pause(self, context: Context, waited: float, looks: int) -> float:
        """Seconds until the next look, after `looks` of them.

        With back-off Airflow's formula: interval times 2^(looks-2), plus less than as much again, drawn from a hash of
        the attempt; never beyond the timeout, nor above `max_wait`.
        """
        if not self.exponential_backoff:
            return self.poke_interval
        least = max(int(self.poke_interval * 2.0 ** min(looks - 2, 64)), 1)
        drawn = hashlib.sha1(
            f"{context.record.dag_id}#{self.task_id}#{context.record.sensing_since}#{looks}".encode(),
            usedforsecurity=False,
        )
        pause = min(least + int(drawn.hexdigest(), 16) % least, max(self.timeout - int(waited), 0))
        return float(min(pause, math.inf if self.max_wait is None else self.max_wait))


def _waited_before(context: Context) -> float:
    """Seconds since the attempt's first start, by the metastore's clock: only differences of one clock count."""
    since, start = context.record.sensing_since, context.record.start_date
    return (start - since).total_seconds() if since and start else 0.0


def _seconds(name: str, value: object) -> float:
    duration = arguments.duration(name, value, numbers=True)
    return 0.0 if duration is None else duration.total_seconds()


def _mode(mode: object) -> str:
    if mode in MODES:
        return str(mode)
    hint = did_you_mean(str(mode), MODES).strip() or "Use 'poke' or 'reschedule'."
    raise AuthoringError(f"mode={mode!r} does not exist.", hint)
