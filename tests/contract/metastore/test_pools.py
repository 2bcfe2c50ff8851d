"""Making, changing and deleting pools."""

from __future__ import annotations

import pytest

from engine.metastore import pools
from engine.metastore.errors import InUse, NotFound
from engine.metastore.pools import Pool
from tests.contract.metastore.stage import SUCCESS, Stage, bash


def listed(stage: Stage) -> list[Pool]:
    with stage.store.read() as connection:
        return pools.list_pools(connection)


def set_pool(stage: Stage, name: str, slots: int) -> bool:
    return stage.store.run(lambda tx: pools.set_pool(tx, name, slots))


def delete(stage: Stage, name: str) -> None:
    stage.store.run(lambda tx: pools.delete_pool(tx, name))


def test_a_pool_is_made_once_and_then_changed(stage: Stage) -> None:
    assert set_pool(stage, "small", 2)
    assert not set_pool(stage, "small", 3)
    assert not set_pool(stage, "small", 3)
    assert listed(stage) == [Pool("default_pool", 128, 0, 0), Pool("small", 3, 0, 0)]


def test_use_and_waiting_are_told_also_of_a_pool_that_nobody_made(stage: Stage) -> None:
    set_pool(stage, "small", 1)
    stage.dag("dag", bash("a", pool="small"), bash("b", pool="small"), bash("c", pool="nope"))
    stage.trigger("dag")
    assert len(stage.claim()) == 1
    assert listed(stage)[1:] == [Pool("nope", None, 0, 1), Pool("small", 1, 1, 1)]
    set_pool(stage, "nope", 1)
    assert [one.task_id for one in stage.claim()] == ["c"]


def test_only_a_pool_that_nothing_rests_on_is_deleted(stage: Stage) -> None:
    set_pool(stage, "small", 1)
    stage.dag("dag", bash("a", pool="small"))
    stage.trigger("dag")
    with pytest.raises(InUse, match="tasks wait for slots"):
        delete(stage, "small")
    tokens = stage.begin()
    with pytest.raises(InUse, match="are in use"):
        delete(stage, "small")
    stage.finish((tokens["a"], SUCCESS))
    delete(stage, "small")
    with pytest.raises(NotFound):
        delete(stage, "small")
    with pytest.raises(InUse, match="cannot be deleted"):
        delete(stage, "default_pool")
    assert listed(stage) == [Pool("default_pool", 128, 0, 0)]
