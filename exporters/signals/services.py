"""Signals of the API server, connection tests and start-up."""

from __future__ import annotations

from exporters.signal import Label, Signal
from exporters.signals.rows import AIRFLOW, AIRFLOW_3_2, AIRFLOW_3_3, NEW_IN_3_2, NEW_IN_3_3, counter, gauge, timer

SIGNALS: tuple[Signal, ...] = (
    counter(
        "api_server.dag_bag.cache_hit",
        "Serialized dag served from the API server cache",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(NEW_IN_3_2,),
    ),
    counter(
        "api_server.dag_bag.cache_miss",
        "Serialized dag loaded from DB",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(NEW_IN_3_2,),
    ),
    counter("api_server.dag_bag.cache_clear", "Cache emptied", AIRFLOW_3_2 | AIRFLOW_3_3, instead=(NEW_IN_3_2,)),
    counter("connection_test.success", "Worker-run connection test passed", AIRFLOW_3_3, instead=(NEW_IN_3_3,)),
    counter("connection_test.failed", "Worker-run connection test failed", AIRFLOW_3_3, instead=(NEW_IN_3_3,)),
    counter(
        "connection_test.reaped",
        "Stale connection test failed by the scheduler",
        AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
        labels=(Label.PRIOR_STATE,),
    ),
    gauge(
        "api_server.dag_bag.cache_size",
        "Cached serialized dags (some sends are sampled at 0.1)",
        AIRFLOW_3_2 | AIRFLOW_3_3,
        instead=(NEW_IN_3_2,),
    ),
    gauge("connection_test.active", "Connection tests queued or running", AIRFLOW_3_3, instead=(NEW_IN_3_3,)),
    gauge("connection_test.pending", "Connection tests waiting", AIRFLOW_3_3, instead=(NEW_IN_3_3,)),
    timer("airflow.io.load_filesystems", "Loading of filesystem plugins", AIRFLOW, stopwatch=AIRFLOW),
    timer("serde.load_serializers", "Loading of serializers", AIRFLOW, stopwatch=AIRFLOW),
    timer(
        "connection_test.dispatch_duration",
        "Dispatch of pending tests in a tick",
        AIRFLOW_3_3,
        stopwatch=AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
    ),
    timer(
        "connection_test.hook_duration",
        "The hook test itself",
        AIRFLOW_3_3,
        stopwatch=AIRFLOW_3_3,
        instead=(NEW_IN_3_3,),
    ),
)
