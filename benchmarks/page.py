"""Figures within a page of docs/: what stands between two marks is replaced, the rest is people's."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown, tables

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def write_figures(results: Mapping[str, Any]) -> Path:
    """Put the tables into docs/benchmarks.md."""
    machine = results["machine"]
    opening = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine['cores']} cores, Python {platform.python_version()}: "
        f"{machine['fork_wait_per_second']:.0f} fork+wait/s of a Python process of {machine['resident_mib']:.0f} MiB "
        f"({machine['bare_fork_wait_per_second']:.0f} of a bare one of {machine['bare_resident_mib']:.0f}), "
        f"{machine['bash_per_second']:.0f} `bash -c true`/s.\n"
    )
    return replace(DOCS / "benchmarks.md", "\n".join([opening, *(markdown(table) for table in tables(results))]))


def replace(page: Path, figures: str) -> Path:
    """Put `figures` between the marks of a page. Raises ValueError where it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no line {BEGIN} … {END} to put the figures into")
    page.write_text(f"{before}{BEGIN}\n\n{figures.strip()}\n\n{END}{after}", encoding="utf-8")
    return page
