"""What a callback's process says to the notifier while it works: one JSON document a line, through a pipe."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from alerting.events import AlertEvent
from engine.running.messages import LONGEST_ERROR

_LONGEST: Final = 1_000_000  # bytes in all; a DAG file's code may write to the pipe itself


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """The author's list, by name. Those whose places were ordered are called now, in this order."""

    names: list[str]


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """The callback at this place of the list came back."""

    place: int


class Raised(msgspec.Struct, frozen=True, tag="raised"):
    """It raised; `place` is None where none could be called. `error` is one line."""

    place: int | None
    error: str


class Told(msgspec.Struct, frozen=True, tag="told"):
    """The callback at this place has something to tell: ``alerting.notify``."""

    place: int
    event: AlertEvent


Word: TypeAlias = Planned | Returned | Raised | Told
_decoder: Final = msgspec.json.Decoder(Word)


def say(fd: int, word: Word) -> None:
    """Write one word, waiting for room in the pipe."""
    data = memoryview(msgspec.json.encode(word) + b"\n")
    while data:
        data = data[os.write(fd, data) :]


@dataclass(slots=True)
class Words:
    """The notifier's end of the pipe, which it owns, and what has come through it."""

    fd: int
    is_open: bool = True
    names: list[str] = field(default_factory=list)
    returned: set[int] = field(default_factory=set)
    errors: dict[int | None, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    _rest: bytes = b""
    _room: int = _LONGEST

    def __post_init__(self) -> None:
        os.set_blocking(self.fd, False)

    def pump(self) -> None:
        """Take in what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 65_536):
                self._take(data)
            self.is_open = False

    def _take(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):  # the callback's own code has written to the pipe
                self._note(_decoder.decode(line))

    def _note(self, word: Word) -> None:
        match word:
            case Planned(names):
                self.names = names
            case Returned(place):
                self.returned.add(place)
            case Raised(place, error):
                self.errors[place] = error[:LONGEST_ERROR]
            case Told():
                self.told.append(word)

    def unfinished(self, ordered: list[int] | None) -> list[int] | None:
        """The places still to be called, of those that were ordered; None for all."""
        places = range(len(self.names)) if ordered is None else ordered
        return [place for place in places if place not in self.returned] if self.names else ordered

    def under_way(self, ordered: list[int] | None) -> str | None:
        """The name of the callback that was being called when its process ended."""
        left = [place for place in self.unfinished(ordered) or () if place not in self.errors]
        return self.names[left[0]] if left and left[0] < len(self.names) else None

    def close(self) -> None:
        os.close(self.fd)
