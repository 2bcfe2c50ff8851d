"""How a search for the file of a DAG waits for the processes that read files."""

from __future__ import annotations

import selectors
from collections import deque
from pathlib import Path

from engine.authoring.defaults import Defaults
from engine.parsing.pool import Finished, ParsePool
from engine.parsing.search import _turn


class Watched(selectors.DefaultSelector):
    """Remembers how long each wait might have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.waits.append(timeout)
        return super().select(timeout)


def test_the_end_of_what_was_killed_is_waited_for_and_not_spun_for(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text("import time\ntime.sleep(0.5)\n")
    done: dict[str, Finished] = {}
    with Watched() as selector:
        pool = ParsePool(1, 30.0, Defaults(), selector)
        pool.start(str(file), str(tmp_path))
        pool.running[str(file)].killed = True  # as it stands once it was, until its end is told
        while not done:
            _turn(pool, selector, deque(), done)
        pool.close()
    assert set(selector.waits) == {2.0}
