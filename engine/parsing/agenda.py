"""Which DAG file is parsed next: what changed comes first, then whatever is due again, the longest waiting first."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass, field

from engine.parsing.folder import Listing, SourceFile, Stamp

Mark = str | Stamp
"""What a file is known by: the hash of its content, so that a checkout which only touches it costs nothing. Where it
could not be read, its time and size."""


@dataclass(slots=True)
class FileState:
    """What is remembered of one DAG file. Times are monotonic; `seen` is what was parsed, imports included."""

    file: SourceFile
    seen: tuple[Mark | None, ...] | None = None
    sources: tuple[str, ...] = ()
    finished_at: float | None = None
    seconds: float | None = None
    dag_count: int = 0
    error: str | None = None
    hangs: bool = False  # its last import was stopped by the time limit


@dataclass(slots=True)
class Agenda:
    """All DAG files and their turn. A file that is parsed at present keeps its place until that has ended."""

    min_interval: float
    states: dict[str, FileState] = field(default_factory=dict)
    _changed: dict[str, None] = field(default_factory=dict)  # an ordered set
    _again: list[tuple[float, str]] = field(default_factory=list)  # heap of times and paths; may hold stale entries
    _marks: dict[str, Mark] = field(default_factory=dict)

    def update(self, listing: Listing) -> list[str]:
        """Take in a look at the folder; returns the paths of files that are gone."""
        self._marks = {path: _mark(file) for path, file in listing.files.items()}
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
                state.hangs = False
        return gone

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
        state.seen = self._fingerprint(state)
        return state

    def _fall_due(self, now: float) -> None:
        while self._again and self._again[0][0] <= now:
            due, path = heapq.heappop(self._again)
            state = self.states.get(path)
            if state and state.finished_at is not None and state.finished_at + self.min_interval == due:
                self._changed[path] = None

    def finished(self, path: str, now: float, sources: Collection[str] = ()) -> FileState | None:
        """Note that a file was parsed; None where it has gone meanwhile."""
        if state := self.states.get(path):
            own = state.seen[:1] if state.seen else (None,)
            state.sources = tuple(sources)
            state.seen = (*own, *(self._marks.get(source) for source in sources))
            state.finished_at = now
            heapq.heappush(self._again, (now + self.min_interval, path))
        return state

    def _fingerprint(self, state: FileState) -> tuple[Mark | None, ...]:
        return (_mark(state.file), *(self._marks.get(source) for source in state.sources))


def _mark(file: SourceFile) -> Mark:
    return file.content_hash or file.stamp
