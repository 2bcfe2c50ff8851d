"""DAG processing: are the files found, parsed in time, and free of errors."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import TO_IMPORT_ERRORS, Uid, board, page, runbook
from dashboards.panels import AMBER, GREEN, NONE_IS_GOOD, RED, Ask, Column, Kit, Words
from dashboards.promql import RANGE, age, grown, level, mean, observations, per_second, quantile

_KIT: Final = Kit()

_NOW: Final = Row(
    "Now",
    [
        _KIT.number(
            "Last heartbeat",
            Words(
                "Age of the newest heartbeat of any DAG processor, by the metastore.",
                "a few seconds.",
                "changed files do not take effect while it grows: `windsock status`.",
            ),
            age("metastore.heartbeat_timestamp_seconds", where='component="dag_processor"'),
            links=[runbook("WindsockDagProcessorHeartbeatMissing")],
            unit="s",
            steps=((None, GREEN), (30, AMBER), (60, RED)),
            empty="no DAG processor",
            decimals=0,
        ),
        _KIT.number(
            "DAGs",
            Words(
                "DAGs found by the last scan.",
                "the number that you deployed.",
                "fewer: a file is missing, ignored or broken; see the errors.",
            ),
            level("dagbag_size"),
            links=[page("DAGs", "/dags")],
            empty="no scan yet",
        ),
        _KIT.number(
            "Import errors",
            Words(
                "Files that failed to import at the last scan, as the DAG processor counts.",
                "0.",
                "the page of import errors names file, line and remedy.",
            ),
            level("dag_processing.import_errors"),
            links=[page("Import errors", "/import-errors"), runbook("WindsockImportErrors")],
            steps=NONE_IS_GOOD,
            empty="no scan yet",
        ),
        _KIT.number(
            "Files that wait",
            Words(
                "Files in the queue of the DAG processor.",
                "0 most of the time.",
                "it does not keep up: more scheduler.parsing_processes, or quicker files (below).",
            ),
            level("dag_processing.file_path_queue_size"),
            links=[board(Uid.INFRASTRUCTURE)],
            steps=((None, GREEN), (50, AMBER)),
            empty="no scan yet",
        ),
        _KIT.number(
            "Last whole round",
            Words(
                "How long the last round over all files took.",
                "seconds.",
                "see which files are slow, below.",
            ),
            level("dag_processing.total_parse_time"),
            links=[runbook("WindsockParseRoundSlow")],
            unit="s",
            steps=((None, GREEN), (60, AMBER), (300, RED)),
            empty="no round yet",
        ),
        _KIT.number(
            "Longest without a parse",
            Words(
                "Age of the oldest last parse of any file.",
                "below a few times scheduler.max_file_process_interval, and of min_file_process_interval.",
                "the DAG processor stands still or does not keep up.",
            ),
            level("dag_processing.last_run.seconds_ago"),
            links=[runbook("WindsockDagFileStale")],
            unit="s",
            steps=((None, GREEN), (600, AMBER)),
            empty="no parse yet",
        ),
    ],
)

_BROKEN: Final = Row(
    "What is broken or slow",
    [
        _KIT.rows(
            "DAG files that cannot be imported",
            Words(
                "Each broken file, by its path below the DAG folder, as the metastore holds it.",
                "an empty table.",
                "`windsock dags errors`. The DAGs of the file run as last parsed.",
            ),
            Ask(level("metastore.import_errors", "file_path")),
            columns=(Column("file_path", "File", link=TO_IMPORT_ERRORS), Column("Value", "Broken")),
            links=[page("Import errors", "/import-errors"), runbook("WindsockImportErrors")],
            empty="every file is imported",
        ),
        _KIT.rows(
            "Files by parse time",
            Words(
                "Each file's parses in the time shown, their mean time, and the age of the last one.",
                "well below a second; the age below a few parse intervals.",
                "move work out of the file's top level: it runs at every parse.",
            ),
            Ask(observations("dag_processing.last_duration", "file_name", window=RANGE)),
            Ask(mean("dag_processing.last_duration", "file_name")),
            Ask(level("dag_processing.last_run.seconds_ago", "file_name")),
            columns=(
                Column("file_name", "File"),
                Column("Value #A", "Parses"),
                Column("Value #B", "Mean", unit="s", steps=((None, GREEN), (1, AMBER), (10, RED))),
                Column("Value #C", "Last parse", unit="s"),
            ),
            links=[page("DAGs", "/dags")],
            empty="no file was parsed in this time",
            sort="Mean",
        ),
    ],
)

_TIME: Final = Row(
    "Over time",
    [
        _KIT.lines(
            "DAGs and broken files",
            Words(
                "DAGs found, and files that failed to import.",
                "level; it moves when you deploy.",
                "a drop of DAGs with a rise of errors is a bad deployment.",
            ),
            Ask(level("dagbag_size"), "DAGs"),
            Ask(level("dag_processing.import_errors"), "broken files"),
            links=[page("Import errors", "/import-errors")],
        ),
        _KIT.lines(
            "Parse time of a file",
            Words(
                "How long one file takes.",
                "well below a second.",
                "the table above names the slow ones.",
            ),
            Ask(quantile(0.5, "dag_processing.last_duration"), "p50"),
            Ask(quantile(0.95, "dag_processing.last_duration"), "p95"),
            links=[runbook("WindsockParseSlow")],
            unit="s",
            empty="no file was parsed",
        ),
        _KIT.lines(
            "Length of a whole round",
            Words(
                "From the first to the last file of a round.",
                "seconds.",
                "more parse processes, or quicker files.",
            ),
            Ask(level("dag_processing.total_parse_time"), "round"),
            links=[runbook("WindsockParseRoundSlow")],
            unit="s",
        ),
        _KIT.lines(
            "Queue of files",
            Words("Files that wait to be parsed.", "0 most of the time.", "the DAG processor does not keep up."),
            Ask(level("dag_processing.file_path_queue_size"), "waiting"),
            links=[board(Uid.INFRASTRUCTURE)],
        ),
        _KIT.lines(
            "Scans and heartbeats per second",
            Words(
                "Scans of the DAG folder, and signs of life of the DAG processor.",
                "steady.",
                "a gap is a DAG processor that was away.",
            ),
            Ask(per_second("dag_processing.file_path_queue_update_count"), "scans"),
            Ask(per_second("dag_processor_heartbeat"), "heartbeats"),
            links=[runbook("WindsockDagProcessorHeartbeatMissing")],
            unit="cps",
        ),
        _KIT.lines(
            "Parse processes",
            Words(
                "What happened to parse processes, and those killed for taking too long.",
                "as many starts as parses; no time-out.",
                "a file hangs at import: core.dagbag_import_timeout ended it. Airflow 3 never says finish.",
            ),
            Ask(per_second("dag_processing.processes", "action"), "{{action}}"),
            Ask(grown("dag_processing.processor_timeouts", "file_path"), "time-out {{file_path}}"),
            links=[page("Import errors", "/import-errors"), runbook("WindsockParseTimeouts")],
            empty="no file was parsed",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.DAG_PROCESSING,
    description="Whether DAG files are found, parsed in time and free of errors.",
    rows=[_NOW, _BROKEN, _TIME],
)
