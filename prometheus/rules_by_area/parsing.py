"""Alerts on the DAG processor's work."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import increased, mean, series
from prometheus.spec import Alert, Board, Group, Severity

_MINUTE: Final = timedelta(minutes=1)
# Up to five of them, where a metastore exporter knows their names.
_NAMES: Final = f"topk(5, max by (file_path) ({series('metastore.import_errors')}))"
_BROKEN_FILES: Final = (
    f'{{{{ range $i, $file := query "{_NAMES}" | sortByLabel "file_path" }}}}'
    "{{ if $i }}, {{ else }}: {{ end }}{{ $file.Labels.file_path }}{{ end }}"
)

ALERTS: Final = (
    Alert(
        name="WindsockImportErrors",
        expr=(
            f"count(max by (file_path) ({series('metastore.import_errors')})) > 0 "
            f"or max({series('dag_processing.import_errors')}) > 0"
        ),
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG_PROCESSING,
        summary="DAG files cannot be imported.",
        description=(
            f"{{{{ $value }}}} DAG file(s) fail to import{_BROKEN_FILES}; their DAGs run as last parsed, or not at all."
        ),
    ),
    Alert(
        name="WindsockParseTimeouts",
        expr=increased(series("dag_processing.processor_timeouts"), "10m", ("file_path",)),
        hold=_MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG_PROCESSING,
        summary="The import of a DAG file is stopped because it takes too long.",
        description="The import of {{ $labels.file_path }} took longer than core.dagbag_import_timeout.",
    ),
    Alert(
        name="WindsockParseSlow",
        expr=mean(series("dag_processing.last_duration"), "10m", ("file_name",)) + " > work(10s)",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG_PROCESSING,
        summary="A DAG file takes long to import.",
        description='The import of {{ $labels.file_name }} takes {{ printf "%.0f" $value }} s.',
    ),
    Alert(
        name="WindsockParseRoundSlow",
        expr=f"max({series('dag_processing.total_parse_time')}) > work(1m)",
        hold=10 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG_PROCESSING,
        summary="One round through all DAG files takes long.",
        description='A round takes {{ printf "%.0f" $value }} s: changed DAG files take effect late.',
    ),
    Alert(
        name="WindsockDagFileStale",
        # Where files are parsed seldom on purpose, one is stale after three of its turns.
        expr=(
            f"max by (file_name) ({series('dag_processing.last_run.seconds_ago')}) > on () group_left () "
            f"(max(3 * {series('dag_processing.min_file_process_interval')}) > seconds(30m) or vector(seconds(30m)))"
        ),
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG_PROCESSING,
        summary="A DAG file has not been parsed for long.",
        description="{{ $labels.file_name }} was last parsed {{ humanizeDuration $value }} ago.",
    ),
)

GROUPS: Final = (Group(name="windsock-parsing", rules=ALERTS),)
