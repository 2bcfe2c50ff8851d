"""Signals of the DAG processor."""

from __future__ import annotations

from exporters.signal import Instead, Label, LegacyForm, Signal, Unit
from exporters.signals.rows import (
    AIRFLOW,
    AIRFLOW_2,
    AIRFLOW_3,
    AIRFLOW_3_0,
    AIRFLOW_3_1,
    AIRFLOW_3_2,
    AIRFLOW_3_3,
    GONE_IN_3,
    NEW_IN_3_1,
    WINDSOCK,
    counter,
    gauge,
    timer,
)

SIGNALS: tuple[Signal, ...] = (
    counter(
        "dag_processor_heartbeat",
        "Standalone dag processor heartbeat",
        WINDSOCK | AIRFLOW_3,
        instead=(Instead(AIRFLOW_2, "dag_processing.total_parse_time", "sent after each parse round"),),
    ),
    counter(
        "dag_processing.processes",
        "Parse processes, by what happened to them",
        WINDSOCK | AIRFLOW,
        labels=(Label.FILE_PATH, Label.ACTION),
        decremented=AIRFLOW_2,
        note="2.x takes each start back at its end, so its mappings leave the signal out (parses are counted by "
        "dag_processing.last_duration); 3.x counts starts only, and its rare decrements (stop, timeout, terminate) are "
        "refused and counted as illegal_negative_counter",
    ),
    gauge(
        "dag_processing.min_file_process_interval",
        "Seconds after which an unchanged DAG file is parsed again at the latest: scheduler.max_file_process_interval, "
        "or min_file_process_interval where that is longer",
        WINDSOCK,
        unit=Unit.SECONDS,
        instead=(Instead(AIRFLOW, "", "not sent; a file is taken for stale after half an hour"),),
    ),
    counter(
        "dag_processing.processor_timeouts",
        "File parse killed for exceeding the timeout",
        WINDSOCK | AIRFLOW,
        labels=(Label.FILE_PATH,),
    ),
    counter(
        "dag_file_processor_timeouts",
        "Old duplicate of dag_processing.processor_timeouts",
        AIRFLOW_2,
        listed=AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(Instead(AIRFLOW_3, "dag_processing.processor_timeouts", "the same, per file"),),
    ),
    counter(
        "dag_processing.manager_stalls",
        "Dag processor manager stopped heartbeating",
        AIRFLOW_2,
        listed=AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(Instead(AIRFLOW_3, "dag_processor_heartbeat", "a heartbeat that stands still"),),
    ),
    counter(
        "dag_processing.sla_callback_count",
        "SLA callbacks handed to the dag processor",
        AIRFLOW_2,
        instead=(
            Instead(AIRFLOW_3_0 | AIRFLOW_3_1, "", "SLAs are gone in 3.0"),
            Instead(AIRFLOW_3_2 | AIRFLOW_3_3, "deadline_alerts.deadline_missed", "deadlines came for SLAs"),
        ),
    ),
    counter(
        "dag_processing.other_callback_count",
        "Non-SLA callbacks handed to the dag processor",
        AIRFLOW,
        labels=(Label.TEAM_NAME,),
    ),
    counter(
        "dag_processing.callback_only_count",
        "File process that ran callbacks without a parse",
        AIRFLOW_3_1 | AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.TEAM_NAME,),
        instead=(NEW_IN_3_1,),
    ),
    counter(
        "dag_processing.file_path_queue_update_count",
        "Rescans of the dag folder that requeue all files",
        WINDSOCK | AIRFLOW,
    ),
    counter(
        "dag_file_refresh_error",
        "Dag file failed to load",
        AIRFLOW_2,
        labels=(Label.FILE_PATH,),
        listed=AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(Instead(AIRFLOW_3, "dag_processing.import_errors", "how many files, not which"),),
    ),
    gauge("dagbag_size", "Dags found at the last scan", WINDSOCK | AIRFLOW),
    gauge("dag_processing.import_errors", "Files that failed to import", WINDSOCK | AIRFLOW),
    gauge(
        "dag_processing.total_parse_time",
        "Length of one full parse round, in SECONDS (the only duration that is a gauge)",
        WINDSOCK | AIRFLOW,
        unit=Unit.SECONDS,
    ),
    gauge("dag_processing.file_path_queue_size", "Files waiting to be parsed", WINDSOCK | AIRFLOW),
    gauge(
        "dag_processing.last_run.seconds_ago",
        "Age of the last parse of a file, seconds",
        WINDSOCK | AIRFLOW,
        labels=(Label.FILE_PATH, Label.BUNDLE_NAME, Label.FILE_NAME),
        engine_labels=(Label.FILE_NAME,),
        unit=Unit.SECONDS,
        legacy=(
            LegacyForm(
                "dag_processing.last_run.seconds_ago.{file_name}",
                alone=AIRFLOW_2 | AIRFLOW_3_0 | AIRFLOW_3_1 | AIRFLOW_3_2,
            ),
        ),
        note="tagged form only from 3.3",
    ),
    gauge(
        "dag_processing.last_num_of_db_queries",
        "DB queries made while parsing a file",
        AIRFLOW_2,
        labels=(Label.FILE_NAME,),
        legacy=(LegacyForm("dag_processing.last_num_of_db_queries.{file_name}", alone=AIRFLOW_2),),
        tagged=False,
        listed=AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(GONE_IN_3,),
    ),
    timer(
        "dag_processing.last_duration",
        "Parse time of a file",
        WINDSOCK | AIRFLOW_2 | AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.BUNDLE_NAME, Label.FILE_NAME),
        engine_labels=(Label.FILE_NAME,),
        legacy=(
            LegacyForm("dag_processing.last_duration.{file_name}", emitters=WINDSOCK | AIRFLOW_2),
            LegacyForm("dag_processing.last_duration.{bundle_name}.{file_name}", emitters=AIRFLOW_3_2 | AIRFLOW_3_3),
        ),
        seconds_as_ms=AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(Instead(AIRFLOW_3_0 | AIRFLOW_3_1, "dag_processing.total_parse_time", "the whole round"),),
    ),
    timer(
        "collect_db_dags",
        "Load of all serialized dags",
        AIRFLOW_2 | AIRFLOW_3_0,
        listed=AIRFLOW_3_2 | AIRFLOW_3_3,
        stopwatch=AIRFLOW_2 | AIRFLOW_3_0,
        instead=(Instead(AIRFLOW_3_1 | AIRFLOW_3_2 | AIRFLOW_3_3, "", "gone in 3.1"),),
    ),
)
