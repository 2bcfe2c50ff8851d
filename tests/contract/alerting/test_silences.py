"""Silences as they are stored: on every database."""

from __future__ import annotations

from sqlalchemy import Engine

from alerting import silences
from alerting.matchers import stored_matcher
from tests.contract.alerting.conftest import MINUTE, NOW


def test_a_silence_holds_on_though_this_version_knows_no_such_cause(engine: Engine) -> None:
    """An older release took it, and a newer one may know the cause."""
    matchers = [stored_matcher('dag="daily"'), stored_matcher('cause!="out_of_memory"')]
    with engine.begin() as connection:
        key = silences.add(
            connection, NOW, matchers, author="ann", comment="", starts_at=NOW, ends_at=NOW + 10 * MINUTE
        )
        assert [silence.id for silence in silences.active(connection, NOW + MINUTE)] == [key]
