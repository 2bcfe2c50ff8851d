"""What windsock status says of alerts and silences besides its table."""

from __future__ import annotations

from datetime import timedelta

from alerting import silences
from alerting.matchers import parse_matcher
from engine.cli.standing import standing
from engine.metastore.store import Store, Tx


def silence(store: Store, length: timedelta, starts_in: timedelta = timedelta(0)) -> str:
    """Returns when it ends, as people read it."""

    def work(tx: Tx) -> str:
        begin = tx.now + starts_in
        matchers = [parse_matcher("dag=daily")]
        ends = begin + length
        silences.add(
            tx.connection, tx.now, matchers, author="alice", comment="", starts_at=begin, ends_at=begin + length
        )
        return f"{ends:%Y-%m-%d %H:%M} UTC"

    return store.run(work)


def lines(store: Store) -> list[str]:
    with store.read() as connection:
        return list(standing(connection, prompt=timedelta(seconds=30), with_logs=False))


def test_silences_in_force_are_counted_with_the_end_of_the_last(store: Store) -> None:
    assert lines(store) == []
    silence(store, timedelta(hours=9), starts_in=timedelta(hours=1))
    assert lines(store) == []
    until = silence(store, timedelta(hours=3))
    assert lines(store) == [f"1 silence in force until {until}: windsock alerts silence list"]
    silence(store, timedelta(hours=1))
    assert lines(store) == [f"2 silences in force, the last until {until}: windsock alerts silence list"]
