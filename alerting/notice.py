"""``alerting.notify``: a callback for DAG files, here and in Airflow, that tells one receiver what happened.

Who decides what is told? The callback makes one event of the context that it is called with. In a callback's process
of Windsock it hands the event over (:func:`handing_over`), and the notifier writes it into the outbox together with the
callback's outcome. Anywhere else, as in Airflow, it is delivered from here (:mod:`alerting.standalone`).

Imported wherever DAG files are read: templates, SQLAlchemy and apprise come in only when something is to be told.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.kinds import SEVERITIES, EventKind, Severity

Take = Callable[[AlertEvent], None]

CONFIG_VARIABLE: Final = "WINDSOCK__ALERTING__CONFIG_FILE"
OUTBOX_VARIABLE: Final = "WINDSOCK__ALERTING__OUTBOX"
TEXT_LIMIT: Final = 20_000  # characters
# What a template may say, besides the fields of the same names in the event.
_MORE_NAMES: Final = ("reason", "state")
_FIELDS: Final = (
    *("dag_id", "run_id", "task_id", "map_index", "try_number", "max_tries", "operator", "owner", "tags"),
    *("logical_date", "started_at", "ended_at", "hostname", "error", "url"),
)
TEMPLATE_NAMES: Final = (*_FIELDS, *_MORE_NAMES)

log = logging.getLogger(__name__)

_takers: list[Take] = []
_made: list[list[Notify]] = []  # inside noticing_uncalled()
_masks: list[Callable[[str], str]] = []


class Notify:
    """A callback. Called with the context of a task or a run, it tells `receiver` of it."""

    def __init__(
        self,
        receiver: str | None,
        template: str | None,
        severity: Severity | None,
        config_file: str | Path | None,
        outbox: str | None,
    ) -> None:
        self.receiver = receiver
        self.template = template
        self.severity = severity
        self.config_file = config_file
        self.outbox = outbox
        self._is_called = False
        if _made:
            _made[-1].append(self)
        # Airflow and Windsock name a callback by this; a URL's secrets do not belong in it.
        self.__name__ = f"notify({_without_secrets(receiver) if receiver else ''})"

    def __call__(self, context: Any) -> None:
        """Tell. Raises AlertingError where nobody could be told, so that the callback counts as failed."""
        self._is_called = True
        event = self._event(context)
        if self.receiver is not None and "://" in self.receiver:
            from alerting.standalone import send_to_url

            send_to_url(self.receiver, event)
        elif _takers:
            _takers[-1](event)
        else:
            from alerting.standalone import deliver

            deliver(event, _path(self.config_file), self.outbox or os.environ.get(OUTBOX_VARIABLE) or None)

    def warn_if_uncalled(self) -> None:
        """In the log of the callback that made it: nobody else would notice that nobody was told."""
        if not self._is_called:
            log.warning("%r was made and not called, so it told nobody; call what it returns with the context", self)

    def __repr__(self) -> str:
        return self.__name__

    def _event(self, context: Any) -> AlertEvent:
        known = facts(context)
        event = AlertEvent(
            kind=EventKind.NOTIFIED,
            occurred_at=datetime.now(UTC),
            receiver=None if self.receiver is None or "://" in self.receiver else self.receiver,
            severity=self.severity or ("error" if known["failed"] else None),
            summary=_sentence(known),
            episode=self._episode(known),
            **{name: known[name] for name in _FIELDS},
        )
        if self.template is None:
            return event
        return _with_text(event, render(self.template, known))

    def _episode(self, known: dict[str, Any]) -> str:
        """The same for each call of this callback about one end of one attempt: told once, where an outbox knows.

        A task that begins anew has another attempt; a run has only another time.
        """
        life = () if known["task_id"] else (known["started_at"], known["ended_at"])
        said = (self.receiver, self.template, known["state"], known["reason"], *life)
        return hashlib.sha256("\x1f".join(map(str, said)).encode()).hexdigest()[:16]


def notify(
    name: str | None = None,
    /,
    *,
    receiver: str | None = None,
    template: str | None = None,
    severity: Severity | None = None,
    config_file: str | Path | None = None,
    outbox: str | None = None,
) -> Notify:
    """A callback that tells `receiver`: a receiver of alerting.yml, or an apprise URL; without one, by its routes.

    The receiver may be given without its keyword, too: ``notify("ops")``. Nothing is told before what this returns is
    called; in a callback of your own that is ``notify("ops", template="…")(context)``.

    `template` is the text of the message: Jinja2, sandboxed, with the names of :data:`TEMPLATE_NAMES`. Without it the
    message says what happened in one sentence. ValueError says what is wrong, when the DAG file is read.

    `config_file` and `outbox` are for Airflow: where alerting.yml is, and a database that keeps what could not be
    delivered yet; without one, an alert that cannot be delivered fails the callback. The environment may say both for
    all: ``WINDSOCK__ALERTING__CONFIG_FILE`` and ``WINDSOCK__ALERTING__OUTBOX``. In Windsock the settings do.
    """
    if name is not None and receiver is not None:
        raise TypeError(
            f"notify() has two receivers, {_without_secrets(name)!r} and {_without_secrets(receiver)!r}; "
            f"the text of the message is template=: notify({_without_secrets(receiver)!r}, template=…)"
        )
    receiver = receiver if name is None else name
    if severity is not None and severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {', '.join(SEVERITIES)}, not {severity!r}")
    if receiver is not None and not receiver.strip():
        raise ValueError("the receiver is empty; name one of alerting.yml, give an apprise URL, or leave it out")
    if template is not None:
        check_template(template)
    return Notify(receiver, template, severity, config_file, outbox)


@contextmanager
def handing_over(take: Take) -> Iterator[None]:
    """Inside, what callbacks tell is given to `take` and not delivered from here."""
    _takers.append(take)
    try:
        yield
    finally:
        _takers.remove(take)


@contextmanager
def noticing_uncalled() -> Iterator[None]:
    """Around a callback: what :func:`notify` returns in it and nobody calls is logged, since it tells nobody."""
    made: list[Notify] = []
    _made.append(made)
    try:
        yield
    finally:
        _made.pop()
        for one in made:
            one.warn_if_uncalled()


@contextmanager
def masking(mask: Callable[[str], str]) -> Iterator[None]:
    """Inside, what goes to an apprise URL from here is masked by `mask`."""
    _masks.append(mask)
    try:
        yield
    finally:
        _masks.remove(mask)


def current_mask() -> Callable[[str], str] | None:
    """What :func:`masking` set, where anybody did."""
    return _masks[-1] if _masks else None


def facts(context: Any) -> dict[str, Any]:
    """What a context says, Windsock's or that of any Airflow from 2.10 on; what it lacks is None.

    Of a run Airflow says no more than a reason such as ``task_failure``; Windsock's ``run_error`` names what failed.
    """
    ti = _first(context, "ti", "task_instance")
    dag, task = _first(context, "dag"), _first(context, "task") or getattr(ti, "task", None)
    run, exception = _first(context, "dag_run"), _first(context, "exception")
    told = ti if ti is not None and _is_about_task(context, ti) else None
    reason = _first(context, "reason")
    error = _error(exception) or _text(_first(context, "run_error"))
    return {
        "dag_id": _text(getattr(dag, "dag_id", None) or getattr(ti, "dag_id", None)),
        "run_id": _text(_first(context, "run_id") or getattr(run, "run_id", None) or getattr(ti, "run_id", None)),
        "task_id": _text(getattr(told, "task_id", None)),
        "map_index": _number(getattr(told, "map_index", None), -1),
        "try_number": _number(getattr(told, "try_number", None)),
        "max_tries": _tries(told, task),
        "operator": _text(getattr(told, "operator", None) or (type(task).__name__ if told and task else None)),
        "owner": _text(getattr(task, "owner", None) if told else getattr(dag, "owner", None)),
        "tags": tuple(sorted(map(str, getattr(dag, "tags", None) or ()))),
        "logical_date": _moment(_first(context, "logical_date") or getattr(run, "logical_date", None)),
        "started_at": _moment(getattr(told or run, "start_date", None)),
        "ended_at": _moment(getattr(told or run, "end_date", None)),
        "hostname": _text(getattr(told, "hostname", None)),
        "error": error,
        "failed": error is not None or reason not in (None, "success"),
        "url": _text(getattr(told, "log_url", None)),
        "reason": _text(reason),
        "state": _text(getattr(told or run, "state", None)),
    }


def check_template(text: str) -> None:
    """Raises ValueError for a template that cannot be read, or that asks for what there is not."""
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    try:
        asked = meta.find_undeclared_variables(environment.parse(text))
    except TemplateSyntaxError as error:
        raise ValueError(f"the template of notify() is wrong in line {error.lineno}: {error.message}") from None
    for name in sorted(asked - set(TEMPLATE_NAMES)):
        close = difflib.get_close_matches(name, TEMPLATE_NAMES, n=1)
        meant = f"did you mean {close[0]}?" if close else f"there are: {', '.join(TEMPLATE_NAMES)}"
        raise ValueError(f"the template of notify() asks for {name!r}; {meant}")


def render(template: str, values: dict[str, Any]) -> str:
    """The text. Raises AlertingError where the template fails."""
    from jinja2 import TemplateError

    try:
        text: str = _environment().from_string(template).render({name: values.get(name) for name in TEMPLATE_NAMES})
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise AlertingError(f"the template of notify() fails: {type(error).__name__}: {error}") from error
    if len(text) > TEXT_LIMIT:
        raise AlertingError(f"the text of notify() has {len(text):,} characters; the most is {TEXT_LIMIT:,}")
    return text


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _with_text(event: AlertEvent, text: str) -> AlertEvent:
    import msgspec

    return msgspec.structs.replace(event, text=text.strip() or None)


def _sentence(known: dict[str, Any]) -> str:
    what = _what(known)
    state = known["state"]
    if known["failed"] and state not in ("up_for_retry", "success", "skipped"):
        return f"{what} failed."
    match state:
        case "up_for_retry":
            return f"{what} failed; another will follow."
        case "success":
            return f"{what} succeeded."
        case "skipped":
            return f"{what} was skipped."
        case "running" | "queued":
            return f"{what} has something to tell."
        case None:  # Airflow's DAG processor calls the callbacks of a task that was lost, and does not know more
            return f"{what} ended."
        case _:
            return f"{what}: {state}."


def _what(known: dict[str, Any]) -> str:
    if not known["task_id"]:
        return "The run"
    if known["try_number"] is None or known["max_tries"] is None:
        return f"Task {known['task_id']}"
    return f"Attempt {known['try_number']} of {known['max_tries']} of task {known['task_id']}"


def _is_about_task(context: Any, ti: Any) -> bool:
    """Airflow gives a run's callback a task instance too: the last one of the run, and a reason beside it."""
    return _first(context, "reason") is None and getattr(ti, "task_id", None) is not None


def _first(context: Any, *names: str) -> Any:
    for name in names:
        try:
            value = context[name] if name in context else None  # noqa: SIM401 - Airflow's context computes some in get()
        except (KeyError, TypeError, AttributeError):
            value = None
        if value is not None:
            return value
    return None


def _error(exception: Any) -> str | None:
    if exception is None:
        return None
    if isinstance(exception, BaseException):
        told = str(exception).strip()
        # Windsock and Airflow wrap what they only know as a sentence.
        return (
            told if type(exception).__name__ == "AirflowException" and told else f"{type(exception).__name__}: {told}"
        )
    return str(exception)


def _tries(ti: Any, task: Any) -> int | None:
    """Attempts allowed in all. Airflow's max_tries counts the retries only."""
    most: int | None = _number(getattr(ti, "max_tries", None))
    retries: int | None = _number(getattr(task, "retries", None))
    if ti is None or most is None:
        return None
    return retries + 1 if retries is not None and most in (retries, retries + 1) else most


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return str(getattr(value, "value", value))  # Airflow's states and reasons are enums


def _number(value: Any, otherwise: int | None = None) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _moment(value: Any) -> datetime | None:
    """A plain datetime in UTC: pendulum's do not travel."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    there = value.astimezone(UTC)
    return datetime(
        there.year, there.month, there.day, there.hour, there.minute, there.second, there.microsecond, tzinfo=UTC
    )


def _path(config_file: str | Path | None) -> Path | None:
    found = config_file or os.environ.get(CONFIG_VARIABLE)
    return Path(found) if found else None


def _without_secrets(receiver: str) -> str:
    scheme, separator, _ = receiver.partition("://")
    return f"{scheme}://…" if separator else receiver
