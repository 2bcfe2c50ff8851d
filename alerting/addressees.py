"""What a trouble with deliveries is about: a channel, or one address that a channel does not reach.

The name of a channel has no spaces, so the subject of the event tells the two apart.
"""

from __future__ import annotations

from typing import Final

from alerting.cleaning import one_line, shorten

ADDRESS_LIMIT: Final = 180  # the key of a trouble is to hold it whole
_TO: Final = " to "


def subject_of(channel: str, address: str) -> str:
    """``email to ops@example.org``. What a DAG file gives for an address may be any text."""
    return f"{channel}{_TO}{shorten(one_line(address), ADDRESS_LIMIT)}"


def parts(subject: str) -> tuple[str, str | None]:
    """The channel, and the address where it is about one."""
    channel, to, address = subject.partition(_TO)
    return channel, address if to else None
