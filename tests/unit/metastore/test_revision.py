"""The revision that every process compares with is the newest migration."""

from __future__ import annotations

from engine.metastore import revision, schema


def test_the_head_that_processes_ask_for_is_the_newest_migration() -> None:
    assert schema.head() == revision.HEAD
