"""What a channel is: one method that sends one message and says how it ended. When to retry is not its business."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias


class Failure(StrEnum):
    """Why an attempt failed; the value is a metric's label."""

    UNREACHABLE = "unreachable"  # no connection, or it broke
    TIMEOUT = "timeout"
    AUTH = "auth"  # credentials, TLS: wrong for every message until somebody corrects the settings
    BUSY = "busy"  # the receiver asks to come back later
    REJECTED = "rejected"  # the receiver will never take this message
    CONFIG = "config"  # not set up here
    INTERNAL = "internal"  # our own fault


@dataclass(frozen=True)
class Message:
    """One event, or several that are told together, rendered for every kind of channel."""

    key: str  # the event's dedup_key: the same for every attempt
    thread: str  # the same for all messages about one run
    occurred_at: datetime
    subject: str
    text: str
    html: str
    chat: str  # plain text, short; the subject is its title
    failed: bool  # False for a retry or a test
    recipients: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # event:task_failed, dag:daily, task:load: for receivers that file what they get
    url: str = ""  # the page that it is about
    full: str = ""  # plain text for receivers that take any length, where chat cannot name everything


@dataclass(frozen=True)
class Refusal:
    """Mail addresses that did not take a message which others took."""

    addresses: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Delivered:
    """Accepted; by mail addresses perhaps not by all of them."""

    later: tuple[Refusal, ...] = ()
    never: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Retry:
    """Not accepted now. ``channel_down``: the next message would fare no better, so do not try each."""

    failure: Failure
    reason: str
    after_seconds: float | None = None  # what the receiver asked for, where it did
    channel_down: bool = False


@dataclass(frozen=True)
class Permanent:
    """Trying again will not help; the reason says what would."""

    failure: Failure
    reason: str


Outcome: TypeAlias = Delivered | Retry | Permanent


class Channel(Protocol):
    """A receiver. ``send`` may be called from several threads at once and raises nothing that is expected."""

    @property
    def name(self) -> str:
        """Shown in lists, logs and metrics; never a URL."""

    @property
    def concurrency(self) -> int:
        """How many messages may be under way at once."""

    def send(self, message: Message) -> Outcome: ...
