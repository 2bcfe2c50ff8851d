"""What tasks give for ``email=`` that no mail can reach. It is allowed, as in Airflow, and hardly meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.utils import parseaddr
from typing import Final

import msgspec

from alerting.addressees import is_address
from alerting.cleaning import one_line, shorten

_MOST_NAMED: Final = 3
_SHOWN: Final = 120


class _Task(msgspec.Struct, frozen=True):
    task_id: str
    email: tuple[str, ...] = ()


class _Tasks(msgspec.Struct, frozen=True):
    tasks: tuple[_Task, ...]


def unfit_of(data: bytes | str) -> list[str]:
    """The same of a stored DAG, of which all else is skipped unread."""
    return unfit((task.task_id, task.email) for task in _decoder.decode(data).tasks)


def unfit(tasks: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """A sentence, without its full stop, for each address that is none, with the tasks that name it."""
    wrong: dict[str, list[str]] = {}
    for task_id, addresses in tasks:
        for address in dict.fromkeys(addresses):
            if not is_address(address):
                wrong.setdefault(address, []).append(task_id)
    return [f"{_named(names)}: email has {_shown(address)}, {_why(address)}" for address, names in wrong.items()]


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    shown = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"task{'s' if len(names) > 1 else ''} {shown}"


def _shown(address: str) -> str:
    """Of what may be a URL, and so hold a secret, only the scheme."""
    scheme, separator, _ = one_line(address).partition("://")
    return repr(f"{shorten(scheme, _SHOWN)}://…" if separator else shorten(scheme, _SHOWN))


def _why(address: str) -> str:
    if "://" in address:
        return "which is no mail address: a URL belongs under channels in alerting.yml"
    alone = parseaddr(address)[1]
    if is_address(alone) and alone != address and alone in address:
        return f"which no mail reaches: write {alone} alone"
    return "which is no mail address: nobody is told there"


_decoder: Final = msgspec.json.Decoder(_Tasks)
