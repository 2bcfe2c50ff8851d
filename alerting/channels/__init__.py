"""What a channel is: one method that sends one message and says how it ended. When to retry is not its business."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from alerting.kinds import Severity

LINK_LIMIT: Final = 2_000


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
class Fact:
    """One line of the table: a label and its value, each on one line."""

    label: str
    value: str


@dataclass(frozen=True)
class Listing:
    """Names under a title: tasks that will not run now, tasks that missed their SLA. ``more`` are not named."""

    title: str
    names: tuple[str, ...]
    more: int = 0

    def __str__(self) -> str:
        return ", ".join(self.names) + (f" and {self.more} more" if self.more else "")


@dataclass(frozen=True)
class Section:
    """One run in a message about several events: its DAG and name, and a line per event."""

    title: str
    lines: tuple[str, ...]
    url: str = ""  # the page of what is told first; none where there are very many
    acknowledge: tuple[str, ...] = ()  # for each line the page where that is done, or nothing; as with url


def fitting(sections: Iterable[Section], lines: int) -> Iterator[Section]:
    """The first sections, with so many lines in all, titles included."""
    for section in sections:
        lines -= 1
        if lines < bool(section.lines):  # no title without one of its lines, where it has any
            return
        kept = section.lines[:lines]
        lines -= len(kept)
        yield Section(section.title, kept)


@dataclass(frozen=True)
class Link:
    """Somewhere to go on from the message; the URL is ours, never a task's."""

    label: str
    url: str

    @property
    def is_public(self) -> bool:
        """Whether a chat service takes it for a link: some refuse a whole message for a URL such as localhost's."""
        try:
            at = urlsplit(self.url)
            host = at.hostname or ""
        except ValueError:
            return False
        return at.scheme in ("http", "https") and len(self.url) <= LINK_LIMIT and ("." in host or _is_address(host))


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


@dataclass(frozen=True)
class Attachment:
    """A file that a mail carries. With ``alt`` it is a picture that the page shows by ``cid:`` and its name."""

    name: str
    type: str  # text/plain, image/png
    content: bytes = field(repr=False)
    alt: str = ""


@dataclass(frozen=True)
class Message:
    """One event, or several that are told together, rendered for every kind of channel.

    ``subject``, ``text``, ``html`` and ``chat`` are whole texts. What follows ``title`` are the same words in parts, on
    one line each but ``error``: redacted, without control characters, and *not* escaped, which each channel does as
    its markup demands.
    """

    key: str  # the event's dedup_key: the same for every attempt
    thread: str  # the same for all messages about one run
    occurred_at: datetime
    subject: str
    text: str
    html: str
    chat: str  # plain text, short; the subject is its title
    failed: bool  # a trouble, which may end; False for a retry, a notice or a test, whatever their severity
    recipients: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # event:task_failed, dag:daily, task:load: for receivers that file what they get
    url: str = ""  # the page that it is about
    full: str = ""  # plain text for receivers that take any length, where chat cannot name everything
    title: str = ""  # the subject without its date
    kind: str = ""  # of kinds.EventKind; empty where several events are told
    severity: Severity = "info"
    resolved: bool = False  # it ends what an earlier message told: green
    episode: str = ""  # the same for the trouble and for what ends it
    ended: tuple[str, ...] = ()  # the episodes that this message ends
    body: str = ""  # what a template of the operator's own says in place of all that follows but the links
    sentence: str = ""
    error: str = ""  # may have several lines
    facts: tuple[Fact, ...] = ()
    listings: tuple[Listing, ...] = ()
    sections: tuple[Section, ...] = ()  # where several events are told
    log: tuple[str, ...] = ()  # the last lines
    links: tuple[Link, ...] = ()
    reference: str = ""  # the command that shows all, where several events are told
    about: Mapping[str, str | int] = field(default_factory=dict)  # dag_id, run_id …, for programs
    attachments: tuple[Attachment, ...] = ()  # for mail

    @property
    def tone(self) -> str:
        """Its colour."""
        return tone(self.severity, resolved=self.resolved)

    @property
    def sort(self) -> str:
        """What apprise calls its type, and draws by."""
        return "success" if self.resolved else _SORTS[self.severity]


_RESOLVED: Final = "067647"
_TONES: Final[Mapping[Severity, str]] = {
    "critical": "912018",
    "error": "b42318",
    "warning": "b54708",
    "info": "175cd3",
}
_SORTS: Final[Mapping[Severity, str]] = {
    "critical": "failure",
    "error": "failure",
    "warning": "warning",
    "info": "info",
}
# What the title and the sentence say already, and what nobody asks for first.
_LESS_ASKED: Final = frozenset(
    {"DAG", "Task", "Attempt", "Started", "Run started", "Logical date", "Operator", "Pool", "Owner", "Tags"}
)


def tone(severity: Severity, *, resolved: bool) -> str:
    """RRGGBB: green where something is over, or else by the severity. White text on it is readable."""
    return _RESOLVED if resolved else _TONES[severity]


def brief_facts(facts: Iterable[Fact]) -> list[Fact]:
    """Those that stand in chat, where there is less room."""
    return [fact for fact in facts if fact.label not in _LESS_ASKED]


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
    """Not accepted now. ``channel_down``: the next message would fare no better, so do not try each.

    ``addressee``: it is these addresses that do not take it, and others may well be reached.
    """

    failure: Failure
    reason: str
    after_seconds: float | None = None  # what the receiver asked for, where it did
    channel_down: bool = False
    addressee: bool = False


@dataclass(frozen=True)
class Permanent:
    """Trying again will not help; the reason says what would. ``addressee``: others may well be reached."""

    failure: Failure
    reason: str
    addressee: bool = False


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
