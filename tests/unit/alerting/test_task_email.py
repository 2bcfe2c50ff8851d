"""Which routes to the tasks' own email= tell nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.config import read
from alerting.kinds import EventKind
from alerting.task_email import has_address, losses, untold

FILE = """\
receivers:
  ops: {email: ops@example.org}
  data: {task_email: true}
  both: {task_email: true, email: data@example.org}
route:
  receiver: ops
  routes:
    - {matchers: MATCHERS, receiver: RECEIVER}
    - {matchers: dag=x, receiver: both}
    - {matchers: dag=y, receiver: data, continue: true}
"""


def lost(receiver: str, matchers: str) -> list[str]:
    text = FILE.replace("RECEIVER", receiver).replace("MATCHERS", matchers)
    return losses(read(text, Path("alerting.yml"), {}))


def test_a_route_to_the_tasks_email_alone_names_what_it_loses() -> None:
    (sentence,) = lost("data", "dag=night_load")
    assert sentence.startswith('line 8 (dag="night_load") → data: task_email reaches nobody for run_failed (unless ')
    for kind in ("callback_failed", "run_overdue", "dag_late", "prometheus_firing", "notified"):
        assert kind in sentence
    for kind in ("task_failed", "sla_missed", "dag_broken", "component_down", "delivery_failing"):
        assert kind not in sentence
    assert sentence.endswith("or `continue: true` to the route")


def test_a_route_for_what_has_an_address_loses_nothing() -> None:
    assert lost("data", "event=~task_failed|sla_missed") == []
    assert lost("both", "dag=night_load") == []


def test_what_a_route_below_takes_is_not_lost() -> None:
    text = """\
receivers: {ops: {email: ops@example.org}, data: {task_email: true}}
route: {receiver: data, routes: [{matchers: event!=callback_failed, receiver: ops}]}
"""
    (sentence,) = losses(read(text, Path("alerting.yml"), {}))
    assert "reaches nobody for callback_failed; add" in sentence


@pytest.mark.parametrize(
    ("route", "gets_mail"),
    [
        ("receiver: ops", False),
        ("receiver: data", True),
        ("receiver: ops, routes: [{matchers: dag=x, receiver: data}]", True),
        (
            "receiver: ops, routes: [{matchers: dag=x, receiver: ops, routes: [{matchers: tag=y, receiver: data}]}]",
            True,
        ),
        ("receiver: ops, routes: [{matchers: event=dag_broken, receiver: data}]", False),
        ("receiver: ops, routes: [{receiver: task-email, matchers: event=task_failed, continue: true}]", True),
        ("receiver: data, routes: [{matchers: event=~task_.*, receiver: ops}]", False),
    ],
)
def test_a_file_that_leads_no_failure_to_the_tasks_own_email_says_so(route: str, gets_mail: bool) -> None:
    ways = {"ops": "{email: ops@example.org}", "data": "{email: data@example.org, task_email: true}"}
    receivers = "".join(f"\n  {name}: {way}" for name, way in ways.items() if f"receiver: {name}" in route)
    told = untold(read(f"receivers:{receivers}\nroute: {{{route}}}\n", Path("alerting.yml"), {}))
    assert told == [] if gets_mail else "a task's own email= in the DAG files gets no mail" in " ".join(told)


@pytest.mark.parametrize(
    ("kind", "cause", "has"),
    [
        (EventKind.TASK_FAILED, None, True),
        (EventKind.CALLBACK_FAILED, None, False),
        (EventKind.PROMETHEUS_FIRING, None, False),
        (EventKind.RUN_FAILED, "task_failures", False),
        (EventKind.RUN_FAILED, "timed_out", True),
    ],
)
def test_an_address_comes_with_what_the_dag_files_author_can_have_meant(
    kind: EventKind, cause: str | None, has: bool
) -> None:
    assert has_address(kind, cause) is has
