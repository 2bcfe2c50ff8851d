"""Files of which a component's configuration is made: seen to change while the stack runs. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.stack.component import Watched

LOOK_SECONDS: Final = 2.0  # as the notifier looks at alerting.yml


def stamp(path: str | Path) -> str:
    """What changes when the file does; empty where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"


class Watcher:
    """Knows each file as it was when the configuration was last made of it."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = watched
        self._seen = {each.path: each.seen for each in watched}

    def changed(self) -> list[Watched]:
        """Those that changed since the last look."""
        now = {each.path: stamp(each.path) for each in self._watched}
        before, self._seen = self._seen, now
        return [each for each in self._watched if now[each.path] != before[each.path]]
