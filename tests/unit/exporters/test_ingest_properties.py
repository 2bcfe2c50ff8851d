"""The short way and the whole way of a line end in the same place."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.exposition import render, render_readings
from exporters.ingest import Ingest
from exporters.mapping_rules import parse
from exporters.series import SeriesStore, StoreOptions
from exporters.telemetry import Telemetry, readings

MAPPING = """
defaults: {observer_type: histogram, histogram_options: {buckets: [0.01, 1, 100]}}
mappings:
- {match: a.*, name: mapped, labels: {rest: $1}}
- {match: b.*, name: scaled, scale: -0.5}
- {match: c.*, name: dropped, action: drop}
- {match: d.*, name: $2}
- {match: e.*, name: summed, observer_type: summary}
"""

NAMES = st.sampled_from(["a.x", "b.x", "c.x", "d.x", "e.x", "mapped", "plain", "a.x[t=1]", "a x", "ä", ""])
TAGS = st.sampled_from(["", ",t=1", ",t=1,u=2", "#t=2", ",t=", ",,t=1", ",rest=tag"])
NUMBERS = st.sampled_from(["0", "1", "2.5", "-1", "+3", "1e2", "NaN", "Inf", "1_0", " 1", "", "9" * 40, "0.1:2"])
KINDS = st.sampled_from(["c", "g", "ms", "h", "d", "s", "", "cc"])
EXTRAS = st.sampled_from(["", "|@0.5", "|@0", "|@2", "|@x", "|#t:1", "|#t", "|@0.1|#t:3,u:4", "|", "|c:pod", "|T1"])
LINES = st.builds("{}{}:{}|{}{}".format, NAMES, TAGS, NUMBERS, KINDS, EXTRAS)


class WholeWay(Ingest):
    """Learns nothing."""

    def _take_regular(self, head: bytes, number: bytes, suffix: bytes, now: float) -> None:
        self._take(b"%b:%b|%b" % (head, number, suffix), now)


def outcome(kind: type[Ingest], lines: list[str]) -> tuple[str, str]:
    told = Telemetry()
    store = SeriesStore(lambda: 1.0, StoreOptions(max_series=20))
    ingest = kind(parse(MAPPING), store, told)
    ingest.feed("\n".join(lines).encode())
    own = render_readings(reading for reading in readings(told, store) if "_cache_" not in reading.name)
    return render(list(store.families.values()), 1.0), own


@settings(max_examples=60)
@given(st.lists(st.one_of(LINES, st.text(max_size=12)), max_size=30))
def test_what_was_learnt_changes_no_outcome(lines: list[str]) -> None:
    assert outcome(Ingest, lines * 2) == outcome(WholeWay, lines * 2)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_ingest(data: bytes) -> None:
    told = Telemetry()
    store = SeriesStore(lambda: 1.0, StoreOptions(max_series=20))
    Ingest(parse(MAPPING), store, told).feed(data)
    assert told.lines == len(data.removesuffix(b"\n").split(b"\n")) if data else told.lines == 0
