"""What is said of a name that a context does not have: never another date that is spelt alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from engine.authoring.suggest import did_you_mean

# Dates of the last run of a DAG that succeeded. None stands for "there was none yet" in Airflow, so a function that
# asks for one must not get None.
PAST_SUCCESSES: Final = (
    "prev_data_interval_start_success",
    "prev_data_interval_end_success",
    "prev_start_date_success",
    "prev_end_date_success",
    "prev_execution_date_success",
)
_PAST: Final = (
    "Windsock does not look up the last run that succeeded. Push the date that you need as an XCom, and take it in the "
    "next run with ti.xcom_pull(task_ids=…, key=…, include_prior_dates=True)."
)
_ASSETS: Final = "Assets and datasets are not supported."
_MAPPED: Final = "Mapped tasks are not supported yet."

# Airflow's names that no context has here, and those that only some have, with what to do instead.
_ABSENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(PAST_SUCCESSES, _PAST),
        "conf": "A run's conf is dag_run.conf; there is no Airflow configuration.",
        "inlet_events": _ASSETS,
        "outlet_events": _ASSETS,
        "triggering_asset_events": _ASSETS,
        "triggering_dataset_events": _ASSETS,
        "expanded_ti_count": _MAPPED,
        "map_index_template": _MAPPED,
        "exception": "It is there in the callbacks of a task whose attempt has not succeeded.",
        "reason": "It is there in the callbacks of a DAG.",
        "run_error": "It is there in the callbacks of a DAG.",
    }
)


def instead_of(name: str, known: Iterable[str]) -> str:
    """What to do without a name that a context does not have; `known` are those that some context has, or this one."""
    if name in _ABSENT:
        return _ABSENT[name]
    names = list(known)
    if name in names:
        return "This run has no logical date; use dag_run.run_after."
    return did_you_mean(name, names).strip()
