"""Which DAG file is parsed next: what changed comes first, then whatever is due again, the longest waiting first.

A file that has not changed is due again after `min_interval`. Each time that it gives what it gave before, having asked
nobody but files, it waits twice as long, up to `max_interval`. That ends at once when it changes, or what it imports;
and when something else changes that it has read, it is due as soon as `min_interval` allows.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.parsing.folder import Listing, SourceFile
from engine.parsing.reads import Stamp, stamp

_NO_READS: Final[Mapping[str, Stamp]] = {}

Mark = str | Stamp
"""What a file is known by: the hash of its content, so that a checkout which only touches it costs nothing. Where it
could not be read, its time and size."""


@dataclass(slots=True)
class FileState:
    """What is remembered of one DAG file. Times are monotonic; `seen` is what was parsed, imports included."""

    file: SourceFile
    seen: tuple[Mark | None, ...] | None = None
    sources: tuple[str, ...] = ()
    reads: Mapping[str, Stamp] = field(default_factory=dict)  # as they were when it was parsed
    gave: Hashable = None  # None where it may give something else the next time
    interval: float = 0.0
    due_at: float | None = None  # None while it waits for its turn, or is parsed
    finished_at: float | None = None
    seconds: float | None = None
    dag_count: int = 0
    error: str | None = None
    hangs: bool = False  # its last import was stopped by the time limit


@dataclass(slots=True)
class Agenda:
    """All DAG files and their turn. A file that is parsed at present keeps its place until that has ended."""

    min_interval: float
    max_interval: float = 0.0  # none, where it is less than min_interval
    states: dict[str, FileState] = field(default_factory=dict)
    _changed: dict[str, None] = field(default_factory=dict)  # an ordered set
    _again: list[tuple[float, str]] = field(default_factory=list)  # heap of times and paths; may hold stale entries
    _marks: dict[str, Mark] = field(default_factory=dict)
    _unlisted: dict[str, Mark] = field(default_factory=dict)  # missing, or left out by an ignore file

    @property
    def longest_interval(self) -> float:
        """Seconds after which each file is due again at the latest."""
        return max(self.min_interval, self.max_interval)

    @property
    def reads(self) -> set[str]:
        """What DAG files have read besides modules of the folder: to be looked at like the folder."""
        return {path for state in self.states.values() for path in state.reads}

    def update(self, listing: Listing, reads: Mapping[str, Stamp] = _NO_READS) -> list[str]:
        """Take in a look at the folder, and at what is read besides; returns the paths of files that are gone."""
        self._marks = {path: _mark(file) for path, file in listing.files.items()}
        self._unlisted.clear()
        files = listing.dag_files
        gone = [path for path in self.states if path not in files]
        for path in gone:
            del self.states[path]
            self._changed.pop(path, None)
        for path, file in files.items():
            state = self.states.setdefault(path, FileState(file))
            state.file = file
            if self._fingerprint(state) != state.seen:
                self._changed[path] = None
                state.hangs, state.gave = False, None
            elif any(reads.get(name, was) != was for name, was in state.reads.items()):
                self._hurry(state)
        return gone

    def _hurry(self, state: FileState) -> None:
        """What it reads has changed. It may change that itself, so that it must not be parsed at every look."""
        state.gave = None
        if state.due_at is not None and state.finished_at is not None:
            self._set_due(state, state.finished_at + self.min_interval)

    def _set_due(self, state: FileState, due_at: float) -> None:
        if state.due_at != due_at:
            state.due_at = due_at
            heapq.heappush(self._again, (due_at, state.file.path))

    def again(self, path: str) -> None:
        """Have a file parsed as soon as possible."""
        if path in self.states:
            self._changed[path] = None

    @property
    def waiting(self) -> int:
        """How many files wait for their turn."""
        return len(self._changed)

    @property
    def next_time(self) -> float | None:
        """When the next file falls due that has not changed."""
        return self._again[0][0] if self._again else None

    def has_due(self, now: float) -> bool:
        self._fall_due(now)
        return bool(self._changed)

    def take(self, now: float, running: Collection[str] = (), *, last_place: bool = False) -> FileState | None:
        """The file to parse now; None where there is none. What is told later of it counts as new.

        Files that hang come after all others, and never into the `last_place` among several: the others need it.
        """
        self._fall_due(now)
        free = [path for path in self._changed if path not in running]
        quick = (path for path in free if not self.states[path].hangs)
        path = next(quick, None if last_place else next(iter(free), None))
        if path is None:
            return None
        del self._changed[path]
        state = self.states[path]
        state.seen, state.due_at = self._fingerprint(state), None
        return state

    def _fall_due(self, now: float) -> None:
        while self._again and self._again[0][0] <= now:
            due, path = heapq.heappop(self._again)
            state = self.states.get(path)
            if state and state.due_at == due:
                state.due_at = None
                self._changed[path] = None

    def finished(
        self,
        path: str,
        now: float,
        sources: Collection[str] = (),
        *,
        reads: Mapping[str, Stamp] = _NO_READS,
        gave: Hashable = None,
    ) -> FileState | None:
        """Note that a file was parsed; None where it has gone meanwhile.

        `gave` is what came of it; None where it may give something else though nothing has changed.
        """
        if state := self.states.get(path):
            own = state.seen[:1] if state.seen else (None,)
            state.sources = tuple(sources)
            state.seen = (*own, *map(self._mark_of, sources))
            state.finished_at = now
            again = gave is not None and gave == state.gave
            state.interval = self._longer(state.interval) if again else self.min_interval
            state.gave, state.reads = gave, reads
            self._set_due(state, now + state.interval)
        return state

    def _longer(self, interval: float) -> float:
        return min(2 * interval, self.longest_interval)

    def _fingerprint(self, state: FileState) -> tuple[Mark | None, ...]:
        return (_mark(state.file), *map(self._mark_of, state.sources))

    def _mark_of(self, source: str) -> Mark:
        if source in self._marks:
            return self._marks[source]
        if source not in self._unlisted:
            self._unlisted[source] = stamp(source)
        return self._unlisted[source]


def _mark(file: SourceFile) -> Mark:
    return file.content_hash or file.stamp
