"""The page of all alerts, ``docs/alerts.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus.faults import FAULTS, NOT_MADE
from prometheus.inhibitions import INHIBITIONS
from prometheus.rules_by_area import AREAS, TITLES
from prometheus.rules_by_area.slo import MIN_EVENTS, OBJECTIVES, PAGE, TICKET
from prometheus.spec import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus.inhibitions import Inhibition
    from prometheus.rules_by_area.slo import Windows
    from prometheus.spec import Alert

_HEAD: Final = """\
# Alerts

Every alert of Windsock, by what it watches. This page is generated; the rules are `prometheus/rules_by_area/`.

* **critical**: act now. Work stands still, or alerts are lost. No critical alert hangs on StatsD alone, because UDP
  may lose samples: it asks the metastore, or whether a target answers.
* **warning**: act today.
* **info**: nothing to do.

Each alert links to its runbook and to the board that shows it. Nothing is said of an exporter that is not deployed: an
alert on PostgreSQL is silent where there is no `postgres` job.
"""

_WINDOWS: Final = """
Windows and factors are those of the Google SRE workbook, chapter 5, as Sloth ships them for 30 days. An alert fires
when the share of errors in both windows is above factor times 1 %:
"""
_CONFIRMED: Final = f"""
A ratio of fewer than {MIN_EVENTS} events in the long window says nothing, and is not told. These ratios travel by UDP.
So the critical alert also wants the metastore to agree: the last run of a DAG failed; or a run is overdue by a
minute, or queued. Where it does not agree, the same burn is a warning.
"""

_MADE: Final = """
## Faults that are made, and when their alerts fire

Tests break these things on a running system, in groups. The alerts of the group fire, no other does, and all resolve
after the repair. Time is hurried: thirtyfold, and three hundredfold for budgets. So a hold of ten minutes lasts twenty
seconds, while an import that takes eleven seconds still does. Where work is made slow, the rules allow it a tenth: a
scheduler's turn 0.5 s instead of 5 s, a read of the metastore 0.2 s instead of 2 s, a round of parsing 6 s instead of
a minute, the import of one file 1 s instead of 10 s. The seconds are those of single runs on two busy cores.

File systems, killed processes and the kernel's clock are the test machine's own. Its memory and its processors are not
used up: the node exporter is shown other numbers there, as the table says.

```sh
.venv/bin/python -m pytest tests/acceptance -k fire_their_alerts -o log_cli=true --log-cli-level=INFO
```
"""
_LEFT: Final = """\
No test makes the fault of these; the cases of `prometheus/tests/` test their rules.
"""


def alerts_page() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        *(_area(area, title) for area, title in TITLES.items()),
        _budgets(),
        _muted(),
        _faults(),
        _not_made(),
    ]
    return "\n".join(parts)


def _area(area: str, title: str) -> str:
    alerts = [alert for group in AREAS[area] for alert in group.alerts]
    return "\n".join([f"## {title}\n", *_table(("alert", "severity", "after", "what"), map(_row, alerts)), ""])


def _row(alert: Alert) -> tuple[str, ...]:
    after = duration(alert.hold) if alert.hold else "at once"
    return f"[{alert.name}](runbooks/{alert.name}.md)", alert.severity, after, alert.summary


def _budgets() -> str:
    """The objectives and the windows, with their source."""
    windows = [*((pair, "BurnsFast, critical") for pair in PAGE), *((pair, "Burns, warning") for pair in TICKET)]
    return "\n".join(
        [
            "## How fast a budget may burn\n",
            "Two objectives of 99 %, over all DAGs and 30 days:\n",
            *(f"* `{each.slo}`: {each.promise}." for each in OBJECTIVES),
            "",
            _WINDOWS,
            *_table(("alert", "long", "short", "factor", "budget used"), (_window(*each) for each in windows)),
            _CONFIRMED,
        ]
    )


def _window(pair: Windows, alert: str) -> tuple[str, ...]:
    return alert, pair.long, pair.short, f"{pair.factor:g}", f"{pair.budget:.0%}"


def _muted() -> str:
    return "\n".join(
        [
            "## What mutes what\n",
            "While a cause fires, Alertmanager tells nobody of what only follows from it.\n",
            *_table(("cause", "muted", "with the same"), map(_inhibition, INHIBITIONS)),
            "",
        ]
    )


def _inhibition(inhibition: Inhibition) -> tuple[str, ...]:
    return ", ".join(inhibition.causes), ", ".join(inhibition.consequences), ", ".join(inhibition.equal)


def _faults() -> str:
    rows = [
        (fault.what, alert, f"{seconds:g}", fault.repair)
        for faults in FAULTS.values()
        for fault in faults
        for alert, seconds in fault.seconds.items()
    ]
    return "\n".join([_MADE, *_table(("fault", "alert", "seconds", "repair"), rows), ""])


def _not_made() -> str:
    return "\n".join([_LEFT, *_table(("alert", "it would take"), NOT_MADE.items()), ""])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
