"""Cases of the alerts on the DAG processor's work."""

from __future__ import annotations

from typing import Final

from prometheus.case import Case, Firing, Kind, exported, four, grown

_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'
_IMPORT_ERRORS: Final = exported("airflow_dag_processing_import_errors")
_SUM: Final = exported("airflow_dag_processing_last_duration_sum", 'file_name="etl"')
_COUNT: Final = exported("airflow_dag_processing_last_duration_count", 'file_name="etl"')
_ROUND: Final = exported("airflow_dag_processing_total_parse_time")
_INTERVAL: Final = exported("airflow_dag_processing_min_file_process_interval")
_AGO: Final = exported("airflow_dag_processing_last_run_seconds_ago", 'file_name="etl"')


def _broken(file_path: str) -> str:
    return f'airflow_metastore_import_errors{{{_METASTORE},file_path="{file_path}"}}'


CASES: Final = (
    *four(
        "WindsockImportErrors",
        bad={_IMPORT_ERRORS: "0x6 2x60"},
        good={_IMPORT_ERRORS: "0x60"},
        early="2m30s",
        late="5m",
        told="2 DAG file(s) fail to import; their DAGs run as last parsed, or not at all.",
    ),
    Case(
        "WindsockImportErrors",
        Kind.FIRING,
        "the metastore names the files",
        {_broken("a.py"): "1x60", _broken("b.py"): "1x60", _broken("c.py"): "1x60"},
        "5m",
        (Firing("3 DAG file(s) fail to import: a.py, b.py, c.py; their DAGs run as last parsed, or not at all."),),
    ),
    Case(
        "WindsockImportErrors",
        Kind.FIRING,
        "two exporters read one metastore",
        {_broken("a.py"): "1x60", _broken("a.py").replace("x:9103", "y:9103"): "1x60"},
        "5m",
        (Firing("1 DAG file(s) fail to import: a.py; their DAGs run as last parsed, or not at all."),),
    ),
    *grown(
        "WindsockParseTimeouts",
        exported("airflow_dag_processing_processor_timeouts", 'file_path="etl.py"'),
        told="The import of etl.py took longer than core.dagbag_import_timeout.",
        labels={"file_path": "etl.py"},
        early="15m40s",
    ),
    *four(
        "WindsockParseSlow",
        bad={_SUM: "0+12x90", _COUNT: "0+1x90"},
        good={_SUM: "0+2x90", _COUNT: "0+1x90"},
        early="4m",
        late="8m",
        told="The import of etl takes 12 s.",
        labels={"file_name": "etl"},
    ),
    *four(
        "WindsockParseRoundSlow",
        bad={_ROUND: "90x90"},
        good={_ROUND: "30x90"},
        early="9m",
        late="12m",
        told="A round takes 90 s: changed DAG files take effect late.",
    ),
    *four(
        "WindsockDagFileStale",
        bad={_AGO: "0+10x300"},
        good={_AGO: "30x300"},
        early="34m",
        late="38m",
        told="etl was last parsed 38m 0s ago.",
        labels={"file_name": "etl"},
    ),
    Case(
        "WindsockDagFileStale",
        Kind.SILENT,
        "files are parsed every half an hour on purpose",
        {_AGO: "0+10x600", _INTERVAL: "1800x600"},
        "90m",
    ),
    Case(
        "WindsockDagFileStale",
        Kind.FIRING,
        "a file has missed three turns of half an hour",
        {_AGO: "0+10x600", _INTERVAL: "1800x600"},
        "96m",
        (Firing("etl was last parsed 1h 36m 0s ago.", {"file_name": "etl"}),),
    ),
)
