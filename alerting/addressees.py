"""Mail addresses, and what a trouble with deliveries is about: a channel, or one address that it does not reach.

The name of a channel has no spaces, so the subject of the event tells the two apart. Three names are of no
channel: they say what fails before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from alerting.cleaning import one_line, shorten

ROUTING: Final = "routing"  # what could not be routed is dead under this name
TOGETHER: Final = "groups and follow-ups"
UNREADABLE: Final = "unreadable messages"
ADDRESS_LIMIT: Final = 180  # the key of a trouble is to hold it whole
_TO: Final = " to "
# No quoted local parts and no comments: they are how a second recipient or a header would be smuggled in.
_ADDRESS: Final = re.compile(r"""[^\s@<>(),;:\\"\[\]]+@[^\s@<>(),;:\\"\[\]]+""")


def is_address(address: str) -> bool:
    """Whether this is one plain mail address: nothing that could smuggle in a header or a second recipient."""
    return _ADDRESS.fullmatch(address) is not None and address.isprintable()


def encoded(addresses: Sequence[str]) -> str:
    """As they are stored with a delivery; empty where the channel itself knows where to send."""
    return msgspec.json.encode(addresses).decode() if addresses else ""


def decoded(stored: str | None) -> tuple[str, ...]:
    """What :func:`encoded` made; raises msgspec.DecodeError where something else wrote it."""
    return msgspec.json.decode(stored or "[]", type=tuple[str, ...])


def known(stored: str | None) -> tuple[str, ...]:
    """The same, and none where they cannot be read: one bad row must not keep anybody from the others.

    Whoever is to send it must not take that for the channel's own room.
    """
    try:
        return decoded(stored)
    except msgspec.DecodeError:
        return ()


def subject_of(channel: str, address: str) -> str:
    """``email to ops@example.org``. What a DAG file gives for an address may be any text."""
    return f"{channel}{_TO}{shorten(one_line(address), ADDRESS_LIMIT)}"


def parts(subject: str) -> tuple[str, str | None]:
    """The channel, and the address where it is about one."""
    channel, to, address = subject.partition(_TO)
    return channel, address if to else None
