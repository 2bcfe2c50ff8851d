"""Signals of the DAG processor."""

from __future__ import annotations

from exporters.signal import Label, LegacyForm, Signal, Unit
from exporters.signals.rows import (
    AIRFLOW,
    AIRFLOW_2,
    AIRFLOW_3,
    AIRFLOW_3_0,
    AIRFLOW_3_1,
    AIRFLOW_3_2,
    AIRFLOW_3_3,
    WINDSOCK,
    counter,
    gauge,
    timer,
)

SIGNALS: tuple[Signal, ...] = (
    counter("dag_processor_heartbeat", "Standalone dag processor heartbeat", WINDSOCK | AIRFLOW_3),
    counter(
        "dag_processing.processes",
        "Parse processes, by what happened to them",
        WINDSOCK | AIRFLOW,
        labels=(Label.FILE_PATH, Label.ACTION),
        note="Airflow's decrements are refused as negative counters, and 3.x sends no finish",
    ),
    counter(
        "dag_processing.processor_timeouts",
        "File parse killed for exceeding the timeout",
        WINDSOCK | AIRFLOW,
        labels=(Label.FILE_PATH,),
    ),
    counter("dag_file_processor_timeouts", "Old duplicate of dag_processing.processor_timeouts", AIRFLOW_2),
    counter("dag_processing.manager_stalls", "Dag processor manager stopped heartbeating", AIRFLOW_2),
    counter("dag_processing.sla_callback_count", "SLA callbacks handed to the dag processor", AIRFLOW_2),
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
    ),
    counter(
        "dag_processing.file_path_queue_update_count",
        "Rescans of the dag folder that requeue all files",
        WINDSOCK | AIRFLOW,
    ),
    counter("dag_file_refresh_error", "Dag file failed to load", AIRFLOW_2, labels=(Label.FILE_PATH,)),
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
        legacy=(LegacyForm("dag_processing.last_run.seconds_ago.{file_name}", alone=True),),
        note="tagged form only from 3.3",
    ),
    gauge(
        "dag_processing.last_num_of_db_queries",
        "DB queries made while parsing a file",
        AIRFLOW_2,
        labels=(Label.FILE_NAME,),
        legacy=(LegacyForm("dag_processing.last_num_of_db_queries.{file_name}"),),
        tagged=False,
    ),
    timer(
        "dag_processing.last_duration",
        "Parse time of a file",
        WINDSOCK | AIRFLOW_2 | AIRFLOW_3_2 | AIRFLOW_3_3,
        labels=(Label.BUNDLE_NAME, Label.FILE_NAME),
        engine_labels=(Label.FILE_NAME,),
        legacy=(
            LegacyForm("dag_processing.last_duration.{file_name}"),
            LegacyForm("dag_processing.last_duration.{bundle_name}.{file_name}"),
        ),
    ),
    timer("collect_db_dags", "Load of all serialized dags", AIRFLOW_2 | AIRFLOW_3_0),
)
