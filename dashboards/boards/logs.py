"""Logs: what failed and where its log is, how far shipping is behind, and the lines themselves where Loki has them.

Windsock ships the logs of attempts as files. It sends no lines to Loki; another program may, with the labels ``job``
and ``instance``. The queries on Loki are plain selectors and counts: the same text is LogQL and PromQL, so every rule
of the linter can read it, whichever data source it takes for the board's own.
"""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import TO_DAG, Uid, board, page, runbook
from dashboards.panels import AMBER, GREEN, NONE_IS_GOOD, RED, Ask, Column, Kit, Source, Words, note
from dashboards.promql import RANGE, failed_attempts, grown, level, or_zero, total

_PROMETHEUS: Final = Source("prometheus", "prometheus_datasource")
_LOKI: Final = Source("loki", "loki_datasource")
_KIT: Final = Kit(_PROMETHEUS)
_LINES: Final = Kit(_LOKI)
_STREAMS: Final = '{job=~"$job",instance=~"$instance"}'

_FAILED: Final = Row(
    "What failed, and where its log is",
    [
        _KIT.number(
            "Failed attempts",
            Words(
                "Attempts that failed in the time shown, also those that were retried.",
                "0.",
                "the table beside leads to the DAG, its page to the attempt's log.",
            ),
            grown("ti_failures", "", window=RANGE),
            links=[board(Uid.OVERVIEW), runbook("WindsockTaskFailures")],
            steps=NONE_IS_GOOD,
            empty="none",
            span=6,
            decimals=0,
        ),
        _KIT.number(
            "Broken DAG files",
            Words(
                "DAG files that cannot be imported; each has a traceback on the page of import errors.",
                "0.",
                "open that page; `logs/scheduler/<date>/<file>.log` has every parse.",
            ),
            or_zero(f"count({level('metastore.import_errors', 'file_path')})"),
            links=[page("Import errors", "/import-errors"), runbook("WindsockImportErrors")],
            steps=NONE_IS_GOOD,
            empty="metastore exporter is away",
            span=6,
        ),
        _KIT.number(
            "Callbacks that raised",
            Words(
                "DAG-level callbacks that raised in the time shown.",
                "0.",
                "the traceback is in the notifier's log: `logs/notifier`.",
            ),
            grown("dag.callback_exceptions", "", window=RANGE),
            links=[board(Uid.ALERTS)],
            steps=NONE_IS_GOOD,
            empty="none",
            span=6,
            decimals=0,
        ),
        _KIT.number(
            "Deliveries given up",
            Words(
                "Alerts that no receiver accepted; the reason is kept with each.",
                "0.",
                "`windsock alerts list --state dead`.",
            ),
            or_zero(total("metastore.deliveries", where='outcome="dead"')),
            links=[board(Uid.ALERTS), runbook("WindsockAlertsDead")],
            steps=NONE_IS_GOOD,
            empty="metastore exporter is away",
            span=6,
        ),
        _KIT.rows(
            "Failed attempts by task",
            Words(
                "Attempts that failed in the time shown.",
                "an empty table.",
                "open the DAG's page and choose the attempt: facts, reason and log are on one page.",
            ),
            Ask(f"{failed_attempts('dag_id, task_id', window=RANGE)} > 0"),
            columns=(
                Column("dag_id", "DAG", link=TO_DAG),
                Column("task_id", "Task", link="${web}/dags/${__data.fields.DAG}"),
                Column("Value", "Failed attempts", steps=((None, GREEN), (1, RED))),
            ),
            links=[page("DAGs", "/dags"), board(Uid.DAG)],
            empty="no attempt failed in this time",
            span=14,
            sort="Failed attempts",
        ),
        note(
            "Where logs are",
            "* **An attempt**: its page in [the web pages](${web}/dags), or `windsock tasks logs DAG RUN TASK`; the "
            "file is `logs/dag_id=…/run_id=…/task_id=…/attempt=N.log`.\n"
            "* **A DAG file's parses**: `logs/scheduler/<date>/<dag file>.log`.\n"
            "* **A component**: `logs/<component>/<component>.log`.\n\n"
            "With `logging.remote_logging` the logs of attempts are shipped to a share or a bucket, and found there. "
            "Where another program sends lines to Loki, with the labels `job` and `instance`, they are shown below.",
            links=[page("DAGs", "/dags")],
            span=10,
            height=8,
        ),
    ],
)

_LATE: Final = ((None, GREEN), (60, AMBER), (300, RED))
_SHIPPING: Final = Row(
    "Logs on their way to the remote folder",
    [
        _KIT.number(
            "Lag",
            Words(
                "Age of the oldest log that waits to be shipped.",
                "a few seconds; 0 where logs are not shipped.",
                "`windsock tasks unshipped` tells which, and why.",
            ),
            level("metastore.log_shipping_oldest_seconds"),
            links=[runbook("WindsockLogShippingDelayed")],
            unit="s",
            steps=_LATE,
            empty="metastore exporter is away",
            span=6,
        ),
        _KIT.number(
            "Waiting logs",
            Words(
                "Logs of ended attempts that are not in the remote folder yet.",
                "follows the work, and falls to 0.",
                "growing: the log shipper is not at work, or the folder is slow.",
            ),
            level("metastore.log_shipping_backlog"),
            links=[runbook("WindsockLogShipperHeartbeatMissing")],
            empty="metastore exporter is away",
            span=6,
        ),
        _KIT.number(
            "Logs whose last try failed",
            Words(
                "Logs that wait since a try to ship them failed.",
                "0.",
                "the panel below tells the reason; `windsock tasks unshipped` has the sentence.",
            ),
            or_zero(total("metastore.log_shipping_failing")),
            links=[runbook("WindsockLogShippingFails")],
            steps=NONE_IS_GOOD,
            empty="metastore exporter is away",
            span=6,
        ),
        _KIT.number(
            "Shipped logs",
            Words(
                "Logs that arrived in the time shown.", "one for each attempt.", "0 while attempts end: see the lag."
            ),
            grown("logs.shipped", "", window=RANGE),
            links=[board(Uid.SCHEDULER)],
            empty="none",
            span=6,
            decimals=0,
        ),
        _KIT.lines(
            "Lag over time",
            Words(
                "Age of the oldest log that waits.",
                "seconds.",
                "a straight rise: nothing is shipped any more. Steps of a minute: the log of a lost attempt, for which "
                "the shipper waits until it is quiet.",
            ),
            Ask(level("metastore.log_shipping_oldest_seconds"), "oldest"),
            links=[runbook("WindsockLogShippingDelayed")],
            unit="s",
            steps=_LATE,
            empty="metastore exporter is away",
            span=12,
        ),
        _KIT.lines(
            "Tries that failed, by reason",
            Words(
                "Tries to ship a log that failed.",
                "none.",
                "unreachable, refused, full: the remote folder. missing: the attempt wrote no log, or somebody removed "
                "it. unsettled: a log that still grew; tried again by itself.",
            ),
            Ask(grown("logs.ship_failures", "reason"), "{{reason}}"),
            links=[runbook("WindsockLogShippingFails")],
            empty="none failed",
            span=12,
            bars=True,
        ),
    ],
)

_LINES_IN_LOKI: Final = Row(
    "Lines in Loki",
    [
        _LINES.counted_lines(
            "Lines that came",
            Words(
                "Lines that Loki got, by job and instance.",
                "follows the work.",
                "a gap while work goes on: the log shipper stands still. Nothing at all: logs are not shipped here.",
            ),
            f"sum by (job, instance) (count_over_time({_STREAMS}[$__auto]))",
            "{{job}} {{instance}}",
            links=[board(Uid.OVERVIEW)],
        ),
        _LINES.logs(
            "Lines",
            Words(
                "Lines of the chosen jobs and instances, newest first.",
                "quiet.",
                "choose an instance above, or search in Explore. Empty: logs are not shipped to this Loki.",
            ),
            _STREAMS,
            links=[page("Logs by attempt", "/dags")],
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.LOGS,
    description="What failed and where its log is, how far shipping is behind, and the lines where Loki has them.",
    rows=[_FAILED, _SHIPPING, _LINES_IN_LOKI],
    source=_PROMETHEUS,
    more_sources=[_LOKI],
)
