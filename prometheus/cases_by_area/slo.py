"""Cases of the burn-rate alerts. A sample comes every minute here, since windows are long."""

from __future__ import annotations

from typing import Final

from prometheus.case import Case, Firing, Kind, exported

_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'
_MINUTE: Final = "1m"
_SCRAPED: Final = {exported("up"): "1x2000", exported("process_start_time_seconds"): "-864000x2000"}
_TASK: Final = 'dag_id="etl",task_id="load"'
_FAILURES: Final = exported("airflow_ti_failures", _TASK)
_SUCCESSES: Final = exported("airflow_ti_successes", _TASK)
_BEGUN: Final = exported("airflow_dagrun_schedule_delay_count", 'dag_id="etl"')
_IN_TIME: Final = exported("airflow_dagrun_schedule_delay_bucket", 'dag_id="etl",le="60.0"')


def _of_etl(name: str) -> str:
    return f'airflow_metastore_{name}{{{_METASTORE},dag_id="etl"}}'


_RUN_FAILED: Final = {_of_etl("last_run_failed"): "1x2000", _of_etl("last_run_timestamp_seconds"): "0+60x2000"}
_RUN_FAILED_LONG_AGO: Final = _RUN_FAILED | {_of_etl("last_run_timestamp_seconds"): "-90000x2000"}
_RUN_SUCCEEDED: Final = _RUN_FAILED | {_of_etl("last_run_failed"): "0x2000"}
_PAUSED: Final = {_of_etl("dag_paused"): "1x2000"}
_QUEUED_RUNS: Final = {f'airflow_metastore_dag_runs{{{_METASTORE},dag_id="etl",state="queued"}}': "3x2000"}
_TASKS: Final = {"slo": "task-success"}
_DELAYS: Final = {"slo": "schedule-delay"}


def _fired(what: str, share: str, labels: dict[str, str]) -> tuple[Firing, ...]:
    return (Firing(f"Too many {what}: of them {share}, and 1 % are allowed.", labels),)


def _case(alert: str, kind: Kind, title: str, series: dict[str, str], at: str, firing: tuple[Firing, ...] = ()) -> Case:
    return Case(alert, kind, title, _SCRAPED | series, at, firing, interval=_MINUTE)


# Of each five attempts of a minute one fails: 20 %.
_BAD_TASKS: Final = {_FAILURES: "0+1x2000", _SUCCESSES: "0+4x2000"}
# After six good hours, which is 360 minutes of ten attempts.
_TURNED_BAD: Final = {_FAILURES: "0x360 0+2x400", _SUCCESSES: "0+10x360 3600+8x400"}
# Of fifty attempts of a minute one fails: 2 %.
_SLOWLY_BAD_TASKS: Final = {_FAILURES: "0+1x2000", _SUCCESSES: "0+49x2000"}
_GOOD_TASKS: Final = {_FAILURES: "5x2000", _SUCCESSES: "0+10x2000"}
_FEW_TASKS: Final = {_FAILURES: "0+1x3 3x100", _SUCCESSES: "0+1x3 3x100"}

_BAD_DELAYS: Final = {_BEGUN: "0+5x2000", _IN_TIME: "0+4x2000"}
_TURNED_LATE: Final = {_BEGUN: "0+10x760", _IN_TIME: "0+10x360 3600+8x400"}
_SLOWLY_LATE: Final = {_BEGUN: "0+50x2000", _IN_TIME: "0+49x2000"}
_GOOD_DELAYS: Final = {_BEGUN: "0+10x2000", _IN_TIME: "0+10x2000"}

_FAIL: Final = "task attempts fail"
_LATE: Final = "runs begin more than a minute late"

CASES: Final = (
    _case(
        "WindsockTaskSuccessBurnsFast",
        Kind.FIRING,
        "every fifth attempt fails",
        _BAD_TASKS | _RUN_FAILED,
        "70m",
        _fired(_FAIL, "20%", _TASKS),
    ),
    _case(
        "WindsockTaskSuccessBurnsFast",
        Kind.NOT_YET,
        "for half an hour, after six good hours",
        _TURNED_BAD | _RUN_FAILED,
        "390m",
    ),
    _case(
        "WindsockTaskSuccessBurnsFast",
        Kind.SILENT,
        "attempts fail, and their retries save every run",
        _BAD_TASKS | _RUN_SUCCEEDED,
        "70m",
    ),
    _case(
        "WindsockTaskSuccessBurnsFast",
        Kind.SILENT,
        "the only DAG whose last run failed is paused",
        _BAD_TASKS | _RUN_FAILED | _PAUSED,
        "70m",
    ),
    _case(
        "WindsockTaskSuccessBurnsFast",
        Kind.SILENT,
        "the only run that failed did so yesterday",
        _BAD_TASKS | _RUN_FAILED_LONG_AGO,
        "70m",
    ),
    _case("WindsockTaskSuccessBurnsFast", Kind.SILENT, "three of six fail", _FEW_TASKS | _RUN_FAILED, "30m"),
    _case("WindsockTaskSuccessBurnsFast", Kind.SILENT, "it is over", _GOOD_TASKS | _RUN_FAILED, "70m"),
    _case("WindsockTaskSuccessBurnsFast", Kind.MISSING, "nothing runs", {}, "70m"),
    _case(
        "WindsockTaskSuccessBurns",
        Kind.FIRING,
        "every fiftieth attempt fails",
        _SLOWLY_BAD_TASKS,
        "7h",
        _fired(_FAIL, "2%", _TASKS),
    ),
    _case(
        "WindsockTaskSuccessBurns",
        Kind.FIRING,
        "every fifth fails, and no run does",
        _BAD_TASKS | _RUN_SUCCEEDED,
        "70m",
        _fired(_FAIL, "20%", _TASKS),
    ),
    _case("WindsockTaskSuccessBurns", Kind.NOT_YET, "for five minutes", _TURNED_BAD, "365m"),
    _case("WindsockTaskSuccessBurns", Kind.SILENT, "attempts succeed", _GOOD_TASKS, "7h"),
    _case("WindsockTaskSuccessBurns", Kind.MISSING, "nothing runs", {}, "7h"),
    _case(
        "WindsockScheduleDelayBurnsFast",
        Kind.FIRING,
        "every fifth run is late, and runs wait",
        _BAD_DELAYS | _QUEUED_RUNS,
        "70m",
        _fired(_LATE, "20%", _DELAYS),
    ),
    _case(
        "WindsockScheduleDelayBurnsFast",
        Kind.NOT_YET,
        "for half an hour, after six good hours",
        _TURNED_LATE | _QUEUED_RUNS,
        "390m",
    ),
    _case("WindsockScheduleDelayBurnsFast", Kind.SILENT, "nothing waits now", _BAD_DELAYS, "70m"),
    _case("WindsockScheduleDelayBurnsFast", Kind.SILENT, "runs begin in time", _GOOD_DELAYS | _QUEUED_RUNS, "70m"),
    _case("WindsockScheduleDelayBurnsFast", Kind.MISSING, "nothing runs", {}, "70m"),
    _case(
        "WindsockScheduleDelayBurns",
        Kind.FIRING,
        "every fiftieth run is late",
        _SLOWLY_LATE,
        "7h",
        _fired(_LATE, "2%", _DELAYS),
    ),
    _case("WindsockScheduleDelayBurns", Kind.NOT_YET, "for five minutes", _TURNED_LATE, "365m"),
    _case("WindsockScheduleDelayBurns", Kind.SILENT, "runs begin in time", _GOOD_DELAYS, "7h"),
    _case("WindsockScheduleDelayBurns", Kind.MISSING, "nothing runs", {}, "7h"),
)
