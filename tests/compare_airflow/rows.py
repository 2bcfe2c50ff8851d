"""The rows of docs/semantics.md: what each DAG file shows, what Windsock does otherwise on purpose, what it has not.

Switching a feature on is taking its line out of NOT_THERE: from then on its rows must agree with both Airflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

HERE = Path(__file__).parent
DAGS = HERE / "dags"
VERSIONS = ("2.11", "3.3")


class Feature(StrEnum):
    """What a DAG file needs beyond tasks, retries, schedules and trigger rules."""

    BRANCHING = "branching and short-circuit"
    SENSORS = "sensors"
    TRIGGER_DAG_RUN = "TriggerDagRunOperator"
    PARAM_SCHEMA = "params with a schema"
    DAGRUN_TIMEOUT = "dagrun_timeout"
    PAST = "depends_on_past and wait_for_downstream"
    ON_EXECUTE = "on_execute callbacks"


NOT_THERE: frozenset[Feature] = frozenset()


@dataclass(frozen=True)
class Difference:
    """What is otherwise here than in Airflow, on purpose. `at` begins the paths in the outcome that it explains."""

    at: str
    why: str
    versions: tuple[str, ...] = VERSIONS


@dataclass(frozen=True)
class Trigger:
    """A run that somebody asks for by hand."""

    dag_id: str
    run_id: str
    conf: str
    refused: bool = False  # Airflow does not make this run


@dataclass(frozen=True)
class Row:
    """One DAG file. `ends` tells how many runs of each of its DAGs come to an end; `stays` those that never do."""

    name: str
    area: str
    says: str
    ends: Mapping[str, int] = field(default_factory=dict)
    stays: Mapping[str, int] = field(default_factory=dict)
    needs: Feature | None = None
    triggers: tuple[Trigger, ...] = ()
    ordered: bool = False  # compare the order in which the tasks of the narrow pool began
    overlapping: bool = False  # compare how many tasks ran at once at most
    differences: tuple[Difference, ...] = ()

    @property
    def file(self) -> Path:
        return DAGS / f"{self.name}.py"

    @property
    def endings(self) -> Mapping[str, int]:
        return self.ends or {self.name: 1}

    @property
    def dag_ids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.endings, *self.stays]))

    @property
    def is_there(self) -> bool:
        return self.needs not in NOT_THERE


_RULES = {
    "all_success": "every parent succeeded; one skipped parent skips, one failed or blocked parent blocks",
    "all_failed": "every parent failed or was blocked; a parent that succeeded or was skipped skips",
    "all_done": "every parent has ended, in whichever way",
    "all_skipped": "every parent was skipped",
    "one_success": "a parent has succeeded; without waiting for the others",
    "one_failed": "a parent has failed or was blocked; without waiting for the others",
    "one_done": "a parent has succeeded or failed; a skipped one does not count",
    "none_failed": "no parent failed or was blocked: they succeeded or were skipped",
    "none_skipped": "no parent was skipped",
    "none_failed_min_one_success": "no parent failed or was blocked, and at least one succeeded",
    "always": "at once, whatever the parents do",
}
_RETRY, _SKIP, _BRANCH = "Retries and failures", "Skipping", "Branching"
_SENSOR, _TIME, _PAST = "Sensors", "Time limits", "Runs and their past"
_WHEN, _LIMIT, _DATA = "When runs are due", "Limits and priority", "Data between tasks"
_TOLD, _STATE = "Callbacks", "State of a run"
_PLAIN_TYPE = "`dag_run.run_type` is plain text, as in Airflow 2."
_RUN_ID = "A scheduled run is named after its logical date, as in Airflow 2, not after the moment at which it is due."
_TWICE = (
    "A time that comes twice is due when it first comes, as cron(8) has it; Airflow waits for the second. "
    "Schedules that name no hour run both times, in both."
)

ROWS: tuple[Row, ...] = (
    *(Row(f"rule_{rule}", "Trigger rules", f"`{rule}`: {says}") for rule, says in _RULES.items()),
    Row("retries_succeed", _RETRY, "a later try succeeds; `ti.try_number` counts from 1"),
    Row("retries_exhausted", _RETRY, "`retries=2` makes three tries; then what comes after is `upstream_failed`"),
    Row("retry_backoff", _RETRY, "`retry_exponential_backoff` with `max_retry_delay` makes as many tries"),
    Row("fail_without_retry", _RETRY, "`AirflowFailException` fails at once, retries or not"),
    Row("kill_itself", _RETRY, "a killed process is a failure, and is retried"),
    Row("skip_exception", _SKIP, "`AirflowSkipException` skips the task and, by `all_success`, what comes after"),
    Row("bash_skip_code", _SKIP, "exit status 99, or those of `skip_on_exit_code`, skip a Bash task"),
    Row("branch_one", _BRANCH, "a branch to one of three; a join by `none_failed_min_one_success`",
        needs=Feature.BRANCHING),
    Row("branch_several", _BRANCH, "a branch to several", needs=Feature.BRANCHING),
    Row("branch_none", _BRANCH, "a branch that follows nothing", needs=Feature.BRANCHING),
    Row("branch_nested", _BRANCH, "a branch within a branch", needs=Feature.BRANCHING),
    Row("branch_joins", _BRANCH, "a join of each rule after a branch, and a join that the branch chooses itself",
        needs=Feature.BRANCHING),
    Row("short_circuit", _BRANCH, "a short circuit skips everything downstream", needs=Feature.BRANCHING),
    Row("short_circuit_rules", _BRANCH, "with `ignore_downstream_trigger_rules=False` it skips the children only",
        needs=Feature.BRANCHING),
    Row("latest_only", _BRANCH, "`LatestOnlyOperator` in runs of past intervals", {"latest_only": 2},
        needs=Feature.BRANCHING),
    Row("sensor_poke", _SENSOR, "`mode=\"poke\"`: one try, one process", needs=Feature.SENSORS),
    Row("sensor_reschedule", _SENSOR, "`mode=\"reschedule\"`: one try, a process for each look",
        needs=Feature.SENSORS),
    Row("sensor_timeout", _SENSOR, "`timeout` fails the sensor at once, retries or not", needs=Feature.SENSORS),
    Row("sensor_soft_fail", _SENSOR, "with `soft_fail` it is skipped instead", needs=Feature.SENSORS),
    Row("execution_timeout", _TIME, "`execution_timeout` fails the try; it is retried as any other"),
    Row("dagrun_timeout", _TIME, "`dagrun_timeout` fails the run and skips what has not ended",
        needs=Feature.DAGRUN_TIMEOUT,
        differences=(
            Difference("/runs/dagrun_timeout/2026-01-01T00:00:00Z/tasks/after",
                       "What has not begun is skipped too, as in Airflow 3.", ("2.11",)),
        )),
    Row("depends_on_past", _PAST, "`depends_on_past` after a failure: the next run waits",
        {"depends_on_past": 1}, {"depends_on_past": 2}, needs=Feature.PAST),
    Row("depends_on_past_skipped", _PAST, "`depends_on_past` after a skip: the next run goes on",
        {"depends_on_past_skipped": 3}, needs=Feature.PAST),
    Row("wait_for_downstream", _PAST, "`wait_for_downstream`: a failed child of the last run holds its parent back",
        {"wait_for_downstream": 1}, {"wait_for_downstream": 1}, needs=Feature.PAST),
    Row("catchup_end_date", _WHEN, "`catchup=True` makes the run of every interval up to `end_date`",
        {"catchup_end_date": 3, "catchup_delta": 3, "catchup_between": 2}),
    Row("no_catchup", _WHEN, "`catchup=False` makes the last interval's run only",
        {"no_catchup": 1, "no_catchup_ended": 0}),
    Row("dst_spring", _WHEN, "cron by the wall clock over a night that lacks an hour",
        {"dst_spring": 4, "dst_spring_hourly": 5}),
    Row("dst_autumn", _WHEN, "cron by the wall clock over a night that has an hour twice",
        {"dst_autumn": 4, "dst_autumn_hourly": 6},
        differences=(
            Difference("/runs/dst_autumn/2025-10-25T00:30:00Z/interval", _TWICE),
            Difference("/runs/dst_autumn/2025-10-26T", _TWICE),
        )),
    Row("task_dates", _WHEN, "a task's own `start_date` and `end_date`: a run outside of them has no such task",
        {"task_dates": 3, "task_dates_none": 3, "task_dates_past": 3}),
    Row("task_dates_behind", _WHEN, "what stands behind such a task waits for it, and the run fails",
        {f"task_dates_behind_{rule}": 1 for rule in _RULES}),
    Row("once", _WHEN, "`@once`: one run, at the start date", {"once": 1, "once_catchup": 1}),
    Row("params_conf", _WHEN, "`Param` with a schema: a trigger's conf overrides, and is refused where it must be",
        {"params_conf": 2}, needs=Feature.PARAM_SCHEMA,
        triggers=(
            Trigger("params_conf", "defaults", "{}"),
            Trigger("params_conf", "number", '{"number": 5, "more": 1}'),
            Trigger("params_conf", "text", '{"number": "five"}', refused=True),
            Trigger("params_conf", "too_small", '{"number": 0}', refused=True),
        )),
    Row("conf_plain", _WHEN, "the conf of a triggered run is `dag_run.conf`, and overrides `params`",
        triggers=(Trigger("conf_plain", "by_hand", '{"text": "other", "more": [1, null]}'),),
        differences=(Difference("/lines/by_hand", _PLAIN_TYPE, ("3.3",)),)),
    Row("trigger_dagrun", _WHEN, "`TriggerDagRunOperator` waits, passes conf, and fails with the other run",
        {"trigger_dagrun": 1, "trigger_dagrun_trigger_good": 1, "trigger_dagrun_trigger_bad": 1,
         "trigger_dagrun_told": 1}, needs=Feature.TRIGGER_DAG_RUN),
    Row("trigger_reset", _WHEN, "with `reset_dag_run` a run of that id is cleared, and runs again with its own conf",
        {"trigger_reset": 1, "trigger_reset_again": 1}, needs=Feature.TRIGGER_DAG_RUN),
    Row("max_active_runs", _LIMIT, "`max_active_runs=1`: runs one after the other, oldest first",
        {"max_active_runs": 3}, overlapping=True),
    Row("max_active_tasks", _LIMIT, "`max_active_tasks=1`: one task of the DAG at a time", overlapping=True),
    Row("max_active_tis", _LIMIT, "`max_active_tis_per_dag=1`: one at a time over all runs",
        {"max_active_tis": 3}, overlapping=True),
    Row("pool", _LIMIT, "`pool` and `pool_slots`: no more at once than the slots allow", overlapping=True),
    Row("priority", _LIMIT, "`priority_weight` with `weight_rule=\"absolute\"`: the highest goes first", ordered=True),
    Row("priority_downstream", _LIMIT, "`weight_rule=\"downstream\"`: what most waits for goes first", ordered=True),
    Row("xcom", _DATA, "XCom by task, key, list of tasks and template; the last line of a Bash task"),
    Row("templates", _DATA, "what `ds`, `ts`, `data_interval_start`, `macros` and their like say",
        {"templates": 2},
        differences=(Difference("/lines/run_id", f"{_RUN_ID} {_PLAIN_TYPE}", ("3.3",)),)),
    Row("callbacks_task", _TOLD, "callbacks of tasks: `on_execute`, `on_success`, `on_retry`, `on_failure`",
        needs=Feature.ON_EXECUTE,
        differences=(
            Difference("/lines/skips success", "A skipped task calls no `on_success`, as in Airflow 3.", ("2.11",)),
        )),
    Row("callbacks_dag", _TOLD, "callbacks of DAGs: once for each run",
        {"callbacks_dag_good": 1, "callbacks_dag_bad": 1}),
    Row("run_state_by_leaves", _STATE, "the leaves decide: a failure before a leaf that succeeded does not count",
        {"leaf_failed": 1, "leaf_succeeded": 1, "leaf_upstream_failed": 1, "leaf_skipped": 1,
         "leaf_all_failed_rule": 1}),
    Row("empty_only", _STATE, "a DAG of `EmptyOperator` only, and one without tasks", {"empty_only": 1, "no_tasks": 1}),
    Row("all_skipped", _STATE, "a run in which everything was skipped is a success"),
)  # fmt: skip
POOLS = {"compare_one": 1, "compare_one_more": 1, "compare_two": 2}


def by_name(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


ELSEWHERE: tuple[str, ...] = (
    (
        "Cron schedules have a data interval, and a run's logical date is its start, as in Airflow 2. Airflow 3 does "
        "so only with `scheduler.create_cron_data_intervals`, with which it was run here."
    ),
    (
        "`sla=` of a task or a DAG is a stored deadline, told once and by a timer, also of a task that never started "
        "(sla.md). Airflow 2 looks for misses when it parses the file; in Airflow 3 `sla=` does nothing."
    ),
    (
        "Callbacks run in a process of their own, also where the task's process was killed. Airflow runs a task's "
        "callbacks inside that process."
    ),
    "XCom holds JSON only: no pickles, no custom back ends, and no NaN or infinite numbers, which are no JSON.",
    (
        "A Python task that leaves by `sys.exit()`, with the code 0 or none, succeeds, as in Airflow 2.7 and later; "
        "any other code fails it. In Airflow 3 it fails with every code."
    ),
    (
        "An unchanged DAG file is parsed again after `min_file_process_interval`, and more seldom as long as it gives "
        "the same DAGs, up to `max_file_process_interval` (five minutes). A change of it, of what it imports or of a "
        "file that it reads ends that at once; one that asks a network, a database or a process, or that imports "
        "compiled code, is parsed each `min_file_process_interval`, as Airflow parses every file."
    ),
)
ABSENT: tuple[str, ...] = (
    "Mapped tasks: `expand`, `partial`.",
    "Setup and teardown tasks, and the rule `all_done_setup_success`.",
    "The rule `all_done_min_one_success` of Airflow 3.",
    "Schedules by datasets or assets, and custom timetables.",
    "Deferrable operators and the triggerer.",
)
