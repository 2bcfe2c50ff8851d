"""The table in `tests/data/statsd_conformance.yml` holds for the bridge. Each case starts from nothing."""

from __future__ import annotations

from typing import Any

import pytest

from exporters.exposition import render, render_readings
from exporters.ingest import Ingest, IngestOptions
from exporters.line import Dialect
from exporters.mapping_rules import parse
from exporters.series import SeriesStore, StoreOptions
from exporters.telemetry import Telemetry, readings
from tests.statsd_conformance import CASES, counted, seen


@pytest.mark.parametrize(("group", "case"), CASES, ids=[f"{group['about']}: {case['case']}" for group, case in CASES])
def test_a_case_gives_what_the_table_says(group: dict[str, Any], case: dict[str, Any]) -> None:
    told = Telemetry()
    store = SeriesStore(lambda: 0.0, StoreOptions())
    options = IngestOptions(dialect=Dialect(**group.get("styles", {})))
    Ingest(parse(group.get("mapping", "")), store, told, options).feed("\n".join(case["send"]).encode())
    page = render(list(store.families.values()), 0.0)
    assert seen(page) == sorted(case.get("shows", ()))
    assert {f"# TYPE {line}" for line in case.get("types", ())} <= set(page.splitlines())
    assert counted(render_readings(readings(told, store))) == {
        name: rise for name, rise in case.get("counts", {}).items() if rise
    }
