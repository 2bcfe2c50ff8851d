"""The conformance table holds for prom/statsd_exporter 0.30 itself, so that it is no invention of ours."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from statsd_wire import Wire, get, statsd_exporter_serving, wait_for

from tests.statsd_conformance import GROUPS, counted, seen


@pytest.mark.parametrize("group", GROUPS, ids=[group["about"] for group in GROUPS])
def test_a_group_of_the_table_is_what_statsd_exporter_shows(
    statsd_exporter: Path, tmp_path: Path, group: dict[str, Any]
) -> None:
    mapping = tmp_path / "mapping.yml"
    mapping.write_text(group.get("mapping", ""), encoding="utf-8")
    flags = [f"--no-statsd.parse-{style}-tags" for style in group.get("styles", ())]
    cases = group["cases"]
    lines = [line for case in cases for line in case["send"]]
    with statsd_exporter_serving(statsd_exporter, mapping, tmp_path / "log", *flags) as (statsd, web):
        Wire(statsd).tcp("\n".join([*lines, "the.last.line:1|c\n"]).encode())
        wait_for(lambda: "\nthe_last_line 1\n" in get(web, "/metrics")[1], "the last line")
        page = get(web, "/metrics")[1]
    shown = [line for line in seen(page) if line != "the_last_line 1"]
    assert shown == sorted(line for case in cases for line in case.get("shows", ()))
    assert {f"# TYPE {line}" for case in cases for line in case.get("types", ())} <= set(page.splitlines())
    counts: Counter[str] = Counter()
    for case in cases:
        counts.update(case.get("counts", {}))
    assert counted(page) == dict(counts)
