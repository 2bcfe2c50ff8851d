"""How boards count what happened: a series' first sample counts, a restart loses nothing, an absence adds nothing."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from dashboards import promql

TARGET = 'job="windsock",instance="x:1"'
FAILURES = f'airflow_ti_failures{{{TARGET},dag_id="etl",task_id="load"}}'
WATCHED = {f"up{{{TARGET}}}": "1x60", f"process_start_time_seconds{{{TARGET}}}": "-86400x60"}
JUST_BEGUN = {f"up{{{TARGET}}}": "_x36 1x24", f"process_start_time_seconds{{{TARGET}}}": "_x36 360x24"}
PROMETHEUS_WAS_AWAY = {f"up{{{TARGET}}}": "_x36 1x24", f"process_start_time_seconds{{{TARGET}}}": "_x36 -86400x24"}
ONE_LOST = {
    f"up{{{TARGET}}}": "1x30 0 1x30",
    f"process_start_time_seconds{{{TARGET}}}": "-100x30 _ -100x30",  # it began long before the window, and not long ago
}


@dataclass(frozen=True)
class Case:
    """Samples come every ten seconds; the window is five minutes, and ends at the tenth minute (sample 60)."""

    title: str
    series: dict[str, str]
    expected: float


CASES = [
    Case("the first failure of a task", WATCHED | {FAILURES: "_x40 1x20"}, 1),
    Case("a new task that failed more than once", WATCHED | {FAILURES: "_x40 1x10 3x9"}, 3),
    Case("a task that has not failed again", WATCHED | {FAILURES: "4x60"}, 0),
    Case("a failure after a fresh start of the exporter", JUST_BEGUN | {FAILURES: "_x40 2x20"}, 2),
    Case("old failures that Prometheus had not seen", PROMETHEUS_WAS_AWAY | {FAILURES: "_x36 9x24"}, 0),
    Case("a scrape was lost where the window begins", ONE_LOST | {FAILURES: "500x30 _ 500x30"}, 0),
    Case("two exporters", WATCHED | {FAILURES: "_x40 1x20", FAILURES.replace("x:1", "y:1"): "2x60"}, 1),
]


def rounded(query: str) -> str:
    """As Grafana asks it; promtool reads no variables."""
    values = {"$__range": "5m", promql.RATE_INTERVAL: "5m", "$job": ".+", "$instance": ".+"}
    for name, value in values.items():
        query = query.replace(name, value)
    return f"round({query})"


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_what_happened_is_counted(case: Case, promtool: Path, tmp_path: Path) -> None:
    query = rounded(promql.grown("ti_failures", "dag_id", window=promql.RATE_INTERVAL))
    document = {
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": "10m",
                        "exp_samples": [{"labels": '{dag_id="etl"}', "value": case.expected}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "cases.yml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mean_over_a_time_holds_the_first_attempt(promtool: Path, tmp_path: Path) -> None:
    labels = f'{TARGET},dag_id="etl",task_id="load"'
    document = {
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [
                    {"series": name, "values": values}
                    for name, values in {
                        **WATCHED,
                        f"airflow_task_duration_sum{{{labels}}}": "_x40 12x20",
                        f"airflow_task_duration_count{{{labels}}}": "_x40 3x20",
                    }.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": rounded(promql.mean("task.duration", "task_id")),
                        "eval_time": "10m",
                        "exp_samples": [{"labels": '{task_id="load"}', "value": 4}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "mean.yml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
