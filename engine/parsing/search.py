"""Which file defines a DAG, for a person who names one: files are read as the DAG processor reads them.

Each is imported by a process of its own with the same time limit, so that one that hangs, or ends its process, costs
nobody but itself, and is told in the sentences of ``windsock dags errors``.
"""

from __future__ import annotations

import re
import selectors
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.authoring.defaults import Defaults
from engine.authoring.faults import Fault
from engine.parsing.folder import Folder
from engine.parsing.orders import ParseReport
from engine.parsing.pool import Finished, ParsePool
from engine.parsing.processor import roots

if TYPE_CHECKING:
    from engine.config import Settings

_LONGEST_WAIT: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may define the DAG, and the folder that it imports its neighbours from.

    `fault` says why it is not read.
    """

    path: str
    root: str
    fault: Fault | None = None


def candidates(settings: Settings, dag_id: str) -> list[Candidate]:
    """The DAG files of the DAG folder, the likeliest first: those that name the DAG, then those that mention it."""
    listing = Folder(roots(settings), settings.core.max_file_bytes).look()
    files = sorted(listing.dag_files.values(), key=lambda file: _distance(file.path, dag_id))
    return [Candidate(file.path, file.root, file.fault) for file in files]


def _distance(path: str, dag_id: str) -> int:
    content = b""
    with suppress(OSError, ValueError):
        content = Path(path).read_bytes()
    name = re.escape(dag_id.encode())
    if re.search(rb"""(["'])%b\1|\bdef\s+%b\s*\(""" % (name, name), content):
        return 0
    return 1 if dag_id.encode() in content else 2


def read_in_order(files: Sequence[Candidate], settings: Settings) -> Generator[tuple[Candidate, Finished], None, None]:
    """What came of each file, in the order given; several are read at once. What is not asked for is broken off."""
    with selectors.DefaultSelector() as selector:
        size, limit = settings.scheduler.parsing_processes, settings.core.dagbag_import_timeout
        pool = ParsePool(size, limit, Defaults.from_settings(settings), selector)
        try:
            waiting = deque(file for file in files if file.fault is None)
            done = {file.path: _unread(file) for file in files if file.fault}
            for file in files:
                while file.path not in done:
                    _turn(pool, selector, waiting, done)
                yield file, done.pop(file.path)
        finally:
            pool.close()


def _unread(file: Candidate) -> Finished:
    return Finished(file.path, ParseReport([], [file.fault] if file.fault else [], 0.0), "")


def _turn(
    pool: ParsePool, selector: selectors.BaseSelector, waiting: deque[Candidate], done: dict[str, Finished]
) -> None:
    while waiting and pool.has_room:
        file = waiting.popleft()
        pool.start(file.path, file.root)
    finished = pool.collect()
    done.update({each.path: each for each in finished})
    if finished:
        return
    deadline = pool.next_deadline  # None where each has been killed, and its end is still to come
    until = _LONGEST_WAIT if deadline is None else deadline - time.monotonic()
    for key, _ in selector.select(min(_LONGEST_WAIT, max(0.0, until))):
        if key.data:
            key.data()
