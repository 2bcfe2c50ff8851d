"""What Airflow's own database counts, and the series that must say the same."""

from __future__ import annotations

from dataclasses import dataclass

_TRIES = """
    (SELECT count(*) FROM task_instance WHERE try_number > 0 AND state <> 'upstream_failed')
    + (SELECT count(*) FROM task_instance_history)
"""
_SKIPPED = "(SELECT count(*) FROM task_instance WHERE state = 'skipped')"
_WAITED = """
    coalesce((SELECT sum(extract(epoch FROM start_date - queued_dttm)) FROM task_instance WHERE try_number > 0
              AND state <> 'upstream_failed'), 0)
    + coalesce((SELECT sum(extract(epoch FROM start_date - queued_dttm)) FROM task_instance_history), 0)
"""
_WORKED = """
    (SELECT sum(duration) FROM task_instance) + coalesce((SELECT sum(duration) FROM task_instance_history), 0)
"""


@dataclass(frozen=True)
class Truth:
    """A number of the database beside the sum of a series.

    ``low`` and ``high`` are the share of the database's number that the series may have: both 1 for counts. Times are
    measured at other points than those that the database keeps (a try without what its process takes to start); a
    wrong unit is off by a thousand.
    """

    name: str
    series: str
    sql: str
    labels: tuple[tuple[str, str], ...] = ()
    low: float = 1.0
    high: float = 1.0
    majors: str = "23"  # of Airflow, that have a signal for it

    question: str = ""  # PromQL, where it is not the sum of the series

    def holds(self, told: float, counted: float) -> bool:
        """Whether what the series tells agrees with what the database counted."""
        return counted * self.low - 1e-9 <= told <= counted * self.high + 1e-9

    @property
    def promql(self) -> str:
        if self.question:
            return self.question
        labels = ",".join(f'{key}="{value}"' for key, value in self.labels)
        return f"sum({self.series}{{{labels}}})"


def _in_state(state: str, sql: str) -> Truth:
    return Truth(f"tries that ended {state}", "airflow_ti_finish", sql, (("state", state),))


def _runs(state: str) -> str:
    return f"SELECT count(*) FROM dag_run WHERE state = '{state}'"


def _run_seconds(state: str) -> str:
    return f"SELECT sum(extract(epoch FROM end_date - start_date)) FROM dag_run WHERE state = '{state}'"


TRUTHS = (
    Truth("tries that succeeded", "airflow_ti_successes", "SELECT count(*) FROM task_instance WHERE state = 'success'"),
    Truth(
        "tries that succeeded, by operator",
        "airflow_operator_successes",
        "SELECT count(*) FROM task_instance WHERE state = 'success'",
    ),
    Truth(
        "tries that failed",
        "airflow_ti_failures",
        "SELECT (SELECT count(*) FROM task_instance WHERE state = 'failed')"
        " + (SELECT count(*) FROM task_instance_history WHERE state = 'failed')",
    ),
    Truth("tries that began", "airflow_ti_start", f"SELECT {_TRIES}"),
    _in_state("success", "SELECT count(*) FROM task_instance WHERE state = 'success'"),
    _in_state("skipped", "SELECT count(*) FROM task_instance WHERE state = 'skipped'"),
    _in_state("failed", "SELECT count(*) FROM task_instance WHERE state = 'failed'"),
    _in_state("up_for_retry", "SELECT count(*) FROM task_instance_history WHERE state = 'failed'"),
    Truth("task instances made", "airflow_task_instance_created", "SELECT count(*) FROM task_instance"),
    Truth("timed tries", "airflow_task_duration_count", f"SELECT {_TRIES}", majors="2"),
    Truth("timed tries that did not skip", "airflow_task_duration_count", f"SELECT {_TRIES} - {_SKIPPED}", majors="3"),
    Truth("seconds of tries", "airflow_task_duration_sum", f"SELECT {_WORKED}", low=0.05, high=1.1),
    # None is sent for a second try.
    Truth("queued tries", "airflow_task_queued_duration_count", f"SELECT {_TRIES}", majors="2", low=0.9),
    Truth("seconds queued", "airflow_task_queued_duration_sum", f"SELECT {_WAITED}", majors="2", low=0.3, high=1.5),
    Truth("successful runs", "airflow_dagrun_duration_success_count", _runs("success")),
    Truth("failed runs", "airflow_dagrun_duration_failed_count", _runs("failed")),
    Truth(
        "seconds of successful runs",
        "airflow_dagrun_duration_success_sum",
        _run_seconds("success"),
        low=0.99,
        high=1.01,
    ),
    Truth(
        "runs on a schedule, delay",
        "airflow_dagrun_schedule_delay_count",
        "SELECT count(*) FROM dag_run WHERE dag_id = 'e2e_success'",
    ),
    Truth(
        "runs on a schedule, first task",
        "airflow_dagrun_first_task_scheduling_delay_count",
        "SELECT count(*) FROM dag_run WHERE dag_id = 'e2e_success'",
    ),
    Truth("import errors", "airflow_dag_processing_import_errors", "SELECT count(*) FROM import_error"),
    Truth("DAGs", "airflow_dagbag_size", "SELECT count(*) FROM dag"),
    *(
        Truth(
            f"free slots of {pool}",
            "airflow_pool_open_slots",
            f"SELECT slots FROM slot_pool WHERE pool = '{pool}'",
            (("pool_name", pool),),
        )
        for pool in ("default_pool", "e2e_pool")
    ),
    Truth("free slots of all pools", "airflow_pool_open_slots", "SELECT sum(slots) FROM slot_pool"),
)
"""Once every run is over, so that no slot is taken. What StatsD says."""


def _metastore(name: str, question: str, sql: str, low: float = 1.0, high: float = 1.0) -> Truth:
    return Truth(name, "", sql, question=question, low=low, high=high)


METASTORE_TRUTHS = (
    _metastore("the database is read", "airflow_metastore_up", "SELECT 1"),
    _metastore(
        "DAGs that have succeeded",
        "count(airflow_metastore_last_success_timestamp_seconds)",
        "SELECT count(DISTINCT dag_id) FROM dag_run WHERE state = 'success'",
    ),
    _metastore(
        "DAGs whose last run failed",
        "sum(airflow_metastore_last_run_failed)",
        "SELECT count(*) FROM (SELECT DISTINCT ON (dag_id) state FROM dag_run ORDER BY dag_id, end_date DESC) AS last"
        " WHERE state = 'failed'",
    ),
    _metastore(
        "newest success",
        "max(airflow_metastore_last_success_timestamp_seconds)",
        "SELECT extract(epoch FROM max(end_date)) FROM dag_run WHERE state = 'success'",
        low=0.9999999,
        high=1.0000001,
    ),
    _metastore(
        "seconds of the failed run",
        'sum(airflow_metastore_last_run_duration_seconds{dag_id="e2e_fail"})',
        "SELECT extract(epoch FROM end_date - start_date) FROM dag_run WHERE dag_id = 'e2e_fail'",
        low=0.999,
        high=1.001,
    ),
    _metastore("files with errors", "count(airflow_metastore_import_errors)", "SELECT count(*) FROM import_error"),
    _metastore("slots of all pools", "sum(airflow_metastore_pool_slots)", "SELECT sum(slots) FROM slot_pool"),
    _metastore(
        "processes that live",
        "count(airflow_metastore_heartbeat_timestamp_seconds)",
        "SELECT count(*) FROM job WHERE state = 'running' AND job_type <> 'LocalTaskJob'",
    ),
    _metastore("paused DAGs", "sum(airflow_metastore_dag_paused)", "SELECT count(*) FROM dag WHERE is_paused"),
)
"""What the metastore exporter says of the same database."""
PARALLELISM = 3
"""Slots of the executor; with nothing running `airflow_executor_open_slots` must say it once."""


def truths(*, major: str) -> list[Truth]:
    """Those that an Airflow of this major version has signals for."""
    return [each for each in TRUTHS if major in each.majors]
