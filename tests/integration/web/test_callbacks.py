from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from engine.links import attempt_url, run_url
from engine.metastore.callbacks import callback_key
from engine.metastore.tables import CallbackRequest
from tests.integration.web.world import World, task

Look = Callable[[str], str]
ABOUT = ("daily", "r1", "load", -1, 1)


def ask(world: World, key: str, scope: str, state: str, **more: object) -> None:
    """Let the first run have asked for one."""
    values = {
        "dedup_key": key,
        "kind": "on_failure",
        "scope": scope,
        "dag_id": "daily",
        "run_pk": 1,
        "fileloc": "/dags/daily.py",
        "payload": {"run_pk": 1},
        "state": state,
        "due_at": world.now,
        "attempts": 2,
        "created_at": world.now - timedelta(seconds=60),
    }
    world.add(CallbackRequest, **values | more)


def test_the_page_of_an_attempt_shows_what_became_of_its_callbacks(look: Look, world: World) -> None:
    world.dag("daily", [task("load")])
    run = (world.run("daily", "r1", "failed", 600, 60), "daily", "r1")
    ti = world.task(run, "load", "failed", 1, 300, 60)
    world.attempt(ti, 1, "failed", "exit", 300, 60, exit_code=1)
    text = "<b>the pager</b> is off"
    ask(world, callback_key("on_failure", "task", *ABOUT), "task", "dead", error=text, output="calling …")
    page = look(attempt_url("", "daily", "r1", "load", 1))
    assert "on_failure_callback" in page
    assert "&lt;b&gt;the pager&lt;/b&gt; is off" in page
    assert "calling …" in page
    assert "on_failure_callback" not in look(run_url("", "daily", "r1"))


def test_the_page_of_a_run_shows_those_of_each_time_that_it_ended(look: Look, world: World) -> None:
    world.dag("daily", [task("load")], callbacks=("on_failure",))
    world.run("daily", "r1", "failed", 600, 60, clears=1)
    for more, error in (([], "the first time"), ([1], "the second time")):
        key = callback_key("on_failure", "dag", "daily", "r1", None, None, None, *more)
        ask(world, key, "dag", "dead", error=error)
    page = look(run_url("", "daily", "r1"))
    assert "the first time" in page
    assert "the second time" in page


def test_the_page_of_a_run_shows_those_of_its_missed_deadlines(look: Look, world: World) -> None:
    world.dag("daily", [task("load", sla_seconds=60.0)])
    world.run("daily", "r1", "running", 600, None)
    for kind in ("sla_miss", "deadline"):
        ask(world, kind, "dag", "dead", kind=kind, error=f"no pager for {kind}")
    page = look(run_url("", "daily", "r1"))
    assert "no pager for sla_miss" in page
    assert "no pager for deadline" in page
