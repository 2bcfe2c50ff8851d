"""The states of an alert as people read them: one table for the terminal, the pages and the manual.

What is stored (``outbox.DeliveryState``) does not say why nobody is told: a suppressed row with a channel is one that
was held back there, and without a channel nobody was to be told at all. People have a word for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Shown(StrEnum):
    """One state; the value is what a filter is called, in the terminal and in addresses."""

    DEAD = "dead"
    PENDING = "pending"
    SENDING = "sending"
    WAITING = "waiting"
    RECORDED = "recorded"
    NOT_TOLD = "not-told"
    SUPPRESSED = "suppressed"
    DELIVERED = "delivered"

    @property
    def words(self) -> str:
        """As it stands in lists and on pages."""
        return self.value.replace("-", " ")

    @property
    def meaning(self) -> str:
        """One sentence without its full stop, as in docs/alerting.md."""
        return MEANINGS[self]


# In the order in which they ask for somebody.
MEANINGS: Final[Mapping[Shown, str]] = {
    Shown.DEAD: "given up: refused for good, or too old; windsock alerts replay sends it again",
    Shown.PENDING: "is to be sent, or waits for its next try",
    Shown.SENDING: "a notifier is sending it now",
    Shown.WAITING: "waits for the message of its group",
    Shown.RECORDED: "no notifier has looked at it yet",
    Shown.NOT_TOLD: "nobody is to be told: no route, setting or DAG file leads it to anybody",
    Shown.SUPPRESSED: "somebody was to be told, and a silence, a mute window or the like holds it back",
    Shown.DELIVERED: "the receiver has accepted it",
}


def shown(state: str, channel: str | None) -> Shown:
    """What people call a stored state; ``channel`` is empty where nobody was to be told."""
    if state == Shown.SUPPRESSED and not channel:
        return Shown.NOT_TOLD
    return Shown(state)
