from __future__ import annotations

import json
from collections.abc import Callable

import pytest
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
    assert windsock("pools", "set", " ", "1").exit_code == 2


@pytest.mark.parametrize("slots", ["-3", "abc", "1.5", "2147483648", "", "--slots=3"])
def test_what_is_no_number_of_slots_is_refused_with_what_is_one(windsock: Command, store: Store, slots: str) -> None:
    result = windsock("pools", "set", "gpu", slots)
    assert result.exit_code == 2
    assert result.stderr == f"windsock: {slots} is no number of slots; write a whole number from 0 to 2147483647\n"


def test_a_default_pool_without_slots_is_made_and_remarked(windsock: Command, store: Store) -> None:
    slots = json.loads(windsock("pools", "list", "-o", "json").stdout)[0]["slots"]
    result = windsock("pools", "set", "default_pool", "0")
    assert result.stdout == "Changed default_pool: 0 slots.\n"
    assert "nearly everything waits" in result.stderr
    assert result.stderr.endswith(f"windsock pools set default_pool {slots}\n")
    assert windsock("pools", "set", "gpu", "0").stderr == ""
