"""One attempt in flight as its supervisor sees it, and what its end means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from engine.metastore.outcome import Cause, Outcome, signal_name
from engine.running import messages
from engine.running.attempt import RETURN_VALUE
from engine.running.messages import LONGEST_ERROR, AnyAsk, Ask, AttemptOrder, RunsAsk, TriggerAsk
from engine.running.output import LONGEST_LINE, AttemptLog
from engine.running.wire import Stream
from engine.running.xcom_limits import LARGEST_SUM, LONGEST_KEY, check_received
from engine.running.zygote import Exited, ZygoteClient

LONGEST_MESSAGE: Final = 2 * LARGEST_SUM  # from an attempt
_MOST_ASKED: Final = 10_000
LONGEST_PAUSE: Final = 366 * 86_400.0  # seconds for which an attempt may give its slot back
_WELL: Final = (Cause.SUCCESS, Cause.SKIP, Cause.RESCHEDULE)
_TELLABLE: Final = (*_WELL, Cause.EXCEPTION, Cause.START, Cause.IMPORT)


@dataclass(slots=True)
class Attempt:
    """One attempt in flight."""

    order: AttemptOrder
    log: AttemptLog
    channel: Stream | None  # None once it has hung up, and for a plain command
    zygote: ZygoteClient | None = None  # None while its DAG file is being imported
    job_id: int = 0
    pid: int | None = None
    scratch: str = ""  # the folder that it was lent
    started: float = field(default_factory=time.monotonic)
    deadline: float | None = None
    kill_at: float | None = None
    ending: Outcome | None = None  # why we are ending it
    result: Outcome | None = None  # what its code reported
    asked: dict[int, AnyAsk] = field(default_factory=dict)  # not yet answered
    open_log: bool = True
    untouchable: bool = False  # it has become another user
    left_alone: bool = False  # it has ended, and with it all that it had started
    finished: bool = False  # a handler of the same round may still hold it


def believable(told: Outcome) -> Outcome:
    """What an attempt reports, reduced to what its code can know: that code may have written to the channel itself."""
    error = told.error[:LONGEST_ERROR] if told.error else None
    try:
        check_received(told.xcom)
    except ValueError as reason:
        return Outcome(Cause.EXCEPTION, error=f"its result could not be stored: {reason}")
    cause = told.cause if told.cause in _TELLABLE else Cause.EXCEPTION
    pause = told.resume_seconds if 0 <= told.resume_seconds <= LONGEST_PAUSE else LONGEST_PAUSE
    return Outcome(
        cause,
        error=error,
        may_retry=told.may_retry,
        xcom=told.xcom,
        skip=told.skip,
        resume_seconds=pause,
        timed_out=told.timed_out,
    )


def sensible(ask: AnyAsk) -> bool:
    """Whether a database can be asked this."""
    match ask:
        case Ask():
            ids = [ask.dag_id, ask.run_id, ask.key, *ask.task_ids]
        case RunsAsk():
            ids = [ask.dag_id, *ask.task_ids]
            if len(ask.logical_dates) > _MOST_ASKED or any(date.tzinfo is None for date in ask.logical_dates):
                return False
        case TriggerAsk():
            ids = [ask.dag_id, ask.run_id, ask.origin]
            if ask.logical_date and ask.logical_date.tzinfo is None:
                return False
    return len(ids) <= _MOST_ASKED and all(len(text) <= LONGEST_KEY and text.isprintable() for text in ids)


def end_of(attempt: Attempt, event: Exited) -> Outcome:
    """How an attempt ended: what we did to it, then its exit status, then what its code reported."""
    return attempt.ending or end_told(attempt.order, attempt.result, event)


def end_told(order: AttemptOrder, result: Outcome | None, event: Exited) -> Outcome:
    """How an attempt that nobody ended did end: its exit status has the last word over what its code reported."""
    if event.signal is not None:
        return Outcome(Cause.SIGNAL, signal=event.signal, error=f"killed by {signal_name(event.signal)}")
    if result and (event.exit_code == 0 or result.cause not in _WELL):
        return result
    spec = order.bash
    if order.kind == "bash" and spec and not order.needs_file:
        return _bash_outcome(event.exit_code or 0, spec.skip_on_exit_code)
    return Outcome(Cause.EXIT, exit_code=event.exit_code, error=f"exited with code {event.exit_code} without a result")


def out_of_memory(killed: Outcome) -> Outcome:
    """The same end, where the kernel was killing for want of memory when it came."""
    told = f"{killed.sentence}, probably by the kernel for want of memory (OOM)"
    return Outcome(Cause.SIGNAL, signal=killed.signal, error=told)


def _bash_outcome(code: int, skip_codes: tuple[int, ...]) -> Outcome:
    if code == 0:
        return Outcome(Cause.SUCCESS, exit_code=0)
    if code in skip_codes:
        return Outcome(Cause.SKIP, exit_code=code, error=f"exited with code {code}, which means skip")
    return Outcome(Cause.EXIT, exit_code=code, error=f"exited with code {code}")


def with_output(attempt: Attempt, outcome: Outcome) -> Outcome:
    """A Bash attempt's last line is its XCom value or, when it failed, the best reason we have."""
    last = attempt.log.last_line.strip()
    if attempt.order.kind != "bash" or attempt.order.needs_file or not last:
        return outcome
    if outcome.cause == Cause.EXIT:
        shown = attempt.log.last_printed_line.strip()  # before it is shortened: half a secret is not recognised
        return Outcome(Cause.EXIT, exit_code=outcome.exit_code, error=f"{outcome.error}: {shown[:500]}")
    if outcome.cause != Cause.SUCCESS or not attempt.order.do_xcom_push:
        return outcome
    if not attempt.log.last_line_is_whole:
        attempt.log.remark(f"its last line is longer than {LONGEST_LINE:,} bytes and is not kept as its XCom")
        return outcome
    return Outcome(Cause.SUCCESS, exit_code=0, xcom={RETURN_VALUE: messages.to_json(last)})


def status_of(end: Exited | Outcome) -> str:
    if isinstance(end, Outcome):
        return end.sentence
    return signal_name(end.signal) if end.signal else f"exit code {end.exit_code}"


def last_remark(outcome: Outcome) -> str:
    match outcome.cause:
        case Cause.SUCCESS:
            return "succeeded"
        case Cause.SKIP:
            return f"skipped: {outcome.sentence}"
        case Cause.RESCHEDULE:
            return f"gives its slot back and goes on in {outcome.resume_seconds:g} s"
        case _:
            return f"failed: {outcome.sentence}"
