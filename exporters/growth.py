"""How Prometheus is asked by how much a counter of an exporter grew: rules and boards ask alike."""

from __future__ import annotations


def growth(counter: str, window: str, *, up: str, has_begun: str) -> str:
    """PromQL for the growth of each series of `counter` in the window, its first sample included.

    ``increase()`` does not see a series begin, so the first failure of a task would pass unseen. A series that is there
    now and was not at the window's start counts with its value, where its target was scraped then (by `up`) or
    `has_begun` since. Else all would look new after a scrape was lost or Prometheus itself was away.
    """
    watched = f"{up} offset {window} == 1 or {has_begun}"
    return (
        f"({counter} unless {counter} offset {window}) and on (job, instance) ({watched}) "
        f"or increase({counter}[{window}])"
    )
