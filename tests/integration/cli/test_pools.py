from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from engine.metastore.store import Store

Command = Callable[..., Result]


def test_pools_are_made_changed_listed_and_deleted(windsock: Command, store: Store) -> None:
    assert windsock("pools", "set", "small", "2").stdout == "Made small: 2 slots.\n"
    assert windsock("pools", "set", "small", "1").stdout == "Changed small: 1 slot.\n"
    rows = json.loads(windsock("pools", "list", "-o", "json").stdout)
    assert rows[1] == {"name": "small", "slots": 1, "used": 0, "waiting": 0}
    assert "small" in windsock("pools", "list").stdout
    assert windsock("pools", "delete", "small").stdout == "Deleted small.\n"


def test_what_cannot_be_is_refused_in_words(windsock: Command, store: Store) -> None:
    result = windsock("pools", "delete", "nope")
    assert (result.exit_code, result.stderr) == (1, "windsock: there is no pool 'nope'; see: windsock pools list\n")
    assert "cannot be deleted" in windsock("pools", "delete", "default_pool").stderr
    assert windsock("pools", "set", "small", "-- -1").exit_code == 2
    assert windsock("pools", "set", " ", "1").exit_code == 2
