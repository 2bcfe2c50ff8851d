"""The boards' questions, with their variables filled in as Grafana would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exporters.catalogue import CATALOGUE, METASTORE, Mode, Signal, SignalType
from tests.servers.binaries import ROOT

BOARDS = ("windsock-overview", "windsock-scheduler", "windsock-dag-processing", "windsock-dag", "windsock-pools")
_VALUES = {
    "__rate_interval": "2m",
    "__range": "30m",
    "__range_s": "1800",
    "__interval": "15s",
    "job": ".+",
    "instance": ".+",
}
_FAMILY = re.compile(r"\bairflow_\w+")
_BY_FAMILY = {
    row.series_name() + suffix: row
    for row in (*CATALOGUE.values(), *METASTORE.values())
    for suffix in (("_bucket", "_sum", "_count") if row.type is SignalType.TIMER else ("",))
}


@dataclass(frozen=True)
class Question:
    """One query of one panel."""

    board: str
    panel: str
    promql: str

    @property
    def families(self) -> set[str]:
        return set(_FAMILY.findall(self.promql))

    @property
    def signals(self) -> list[Signal] | None:
        """What it reads; None where that is something else too, as recordings and other exporters."""
        rows = [_BY_FAMILY.get(family) for family in self.families]
        found = [row for row in rows if row is not None]
        return found if found and len(found) == len(rows) else None

    @property
    def shows_only_what_is_wrong(self) -> bool:
        """Whether it compares, so that a good answer is an empty one."""
        return bool(re.search(r"[<>]|[=!]=", re.sub(r"\{[^}]*\}", "", self.promql)))

    def asks_for_lost_labels(self, mode: Mode) -> bool:
        """Whether it asks by a label that a plain Airflow's dotted names do not hold."""
        asked = set(re.findall(r"\b(?:dag_id|task_id|file_path)\b", self.promql))
        return mode is Mode.PLAIN and any(
            asked & set(row.labels) - {name for form in row.legacy for name in form.variables if not form.twice}
            for row in self.signals or ()
            if row.name in CATALOGUE
        )


def questions() -> list[Question]:
    """Every query of the boards that a plain Airflow has signals for; empty where no board has been generated."""
    found = []
    for uid in BOARDS:
        path = ROOT / "dashboards" / "generated" / f"{uid}.json"
        if path.exists():
            panels = _panels(json.loads(path.read_text(encoding="utf-8"))["panels"])
            for panel in panels:
                exprs = [target["expr"] for target in panel.get("targets", ()) if target.get("expr")]
                found += [Question(uid, panel["title"], _filled(expr)) for expr in exprs]
    return found


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", []))


def _filled(expr: str) -> str:
    """A variable that is not known here stands for anything, also where the board asks for one value."""
    expr = re.sub(r'="\$(?!__)\w+"', '=~".+"', expr)
    return re.sub(r"\$\{?(\w+)(?::\w+)?\}?", lambda variable: _VALUES.get(variable[1], ".+"), expr)
