"""Clearing and marking on the page of a run: asked with numbers and names, done by the metastore's verbs, and told."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select, update

from engine.links import run_url
from engine.metastore.store import Store
from engine.metastore.tables import Budget, DagRun, TaskInstance
from engine.web.runwork import Deed, _Notice
from engine.web.sessions import Session
from tests.integration.web.conftest import Browser
from tests.integration.web.world import World, task

Look = Callable[[str], str]
RUN = "manual__1"
PAGE = run_url("", "sales", RUN)


@pytest.fixture
def run(world: World) -> tuple[int, str, str]:
    """extract succeeded, clean failed and load could not run for it; the run failed."""
    world.dag("sales", [task("extract"), task("clean", "extract"), task("load", "clean")])
    for kind in ("dag_tasks", "dag_runs"):
        world.add(Budget, kind=kind, name="sales", slots=16, used=0)
    key = (world.run("sales", RUN, "failed", 600, 60), "sales", RUN)
    world.task(key, "extract", "success", 1, 600, 500)
    world.task(key, "clean", "failed", 1, 300, 60)
    world.task(key, "load", "upstream_failed", 0, None, 60)
    return key


def states(store: Store) -> dict[str, str | None]:
    with store.read() as connection:
        rows = connection.execute(select(TaskInstance.task_id, TaskInstance.state)).all()
        run = connection.execute(select(DagRun.state)).scalar_one()
    return {row.task_id: row.state for row in rows} | {"the run": run}


def submit(browser: Browser, page: str) -> httpx.Response:
    """Press the button of a page that asks."""
    form = re.search(
        rf'<form class="ask" method="post" action="({re.escape(PAGE)}/change)">(.*?)</form>', page, re.DOTALL
    )
    assert form, page
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', html.unescape(form[2])))
    fields.pop("csrf_token")
    return browser.submit(form[1], **fields)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.usefixtures("run")
class TestAsking:
    def test_the_page_of_a_run_leads_to_it_for_the_run_and_for_each_task(self, look: Look) -> None:
        page = look(PAGE)
        for query in ("do=clear&amp;failed=1", "do=success", "do=clear&amp;behind=1&amp;task=clean"):
            assert f'href="{PAGE}/change?{query}"' in page
        assert "do=failed" not in page  # it does not run

    @pytest.mark.parametrize(
        ("query", "button", "names"),
        [
            ("do=clear", "Clear: 3 tasks", ["extract", "clean", "load"]),
            ("do=clear&failed=1", "Clear: 2 tasks", ["clean", "load"]),
            ("do=clear&task=clean", "Clear: 1 task", ["clean"]),
            ("do=clear&task=extract&behind=1", "Clear: 3 tasks", ["extract", "clean", "load"]),
            ("do=clear&task=extract&behind=1&failed=1", "Clear: 2 tasks", ["clean", "load"]),
            ("do=success", "Mark as successful: 2 tasks", ["clean", "load"]),
            ("do=failed&task=extract", "Mark as failed: 1 task", ["extract", "clean", "load"]),
        ],
    )
    def test_says_how_many_and_which(self, look: Look, query: str, button: str, names: list[str]) -> None:
        page = look(f"{PAGE}/change?{query}")
        assert button in page
        assert re.findall(r'<li><span class="id">(\w+)</span>', page) == names

    def test_says_that_what_failed_behind_a_marked_task_is_cleared(self, look: Look) -> None:
        assert "1 behind failed, and is cleared" in words(look(f"{PAGE}/change?do=success&task=clean"))

    def test_where_there_is_nothing_to_do_it_says_so_and_has_no_button(self, look: Look) -> None:
        for query, sentence in (
            ("do=failed", "The run is failed; only a running run can be failed."),
            ("do=clear&task=extract&failed=1", "No task of this run is meant by that."),
            ("do=clear&task=nothing", "No task of this run is meant by that."),
        ):
            page = look(f"{PAGE}/change?{query}")
            assert sentence in page
            assert 'class="main"' not in page

    @pytest.mark.parametrize("query", ["?do=clear&behind=1&task=extract", "?do=success&task=clean", "?do=success"])
    def test_needs_a_handful_of_statements(self, look: Look, store: Store, query: str) -> None:
        sent: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                sent.append(statement)

        event.listen(store.engine, "before_cursor_execute", note)
        look(f"{PAGE}/change{query}")
        event.remove(store.engine, "before_cursor_execute", note)
        assert 0 < len(sent) <= 6, sent

    def test_of_many_tasks_some_are_named(self, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("engine.web.runwork._MOST_NAMED", 2)
        page = look(f"{PAGE}/change?do=clear")
        assert "Clear: 3 tasks" in page
        assert "and 1 more" in page

    @pytest.mark.parametrize(
        ("path", "status"), [("?do=burn", 400), ("", 400), ("?do=clear&task=%00", 200)], ids=["deed", "none", "task"]
    )
    def test_what_cannot_be_asked_is_refused(self, browser: Browser, path: str, status: int) -> None:
        assert browser.get(f"{PAGE}/change{path}").status_code == status

    def test_of_a_run_that_is_not_there_it_is_a_404(self, browser: Browser) -> None:
        assert browser.get("/dags/sales/runs/none/change?do=clear").status_code == 404


@pytest.mark.usefixtures("run")
class TestDoing:
    def test_clears_a_task_with_what_stands_behind_it_and_tells_so(
        self, look: Look, browser: Browser, store: Store
    ) -> None:
        answer = submit(browser, look(f"{PAGE}/change?do=clear&task=clean&behind=1"))
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{PAGE}?done=clear&tasks=2&by=")
        assert states(store) == {"extract": "success", "clean": None, "load": None, "the run": "queued"}
        assert "Cleared 2 tasks: what is to run again begins when its turn comes." in look(answer.headers["location"])

    def test_clears_what_has_failed_in_the_run(self, look: Look, browser: Browser, store: Store) -> None:
        assert submit(browser, look(f"{PAGE}/change?do=clear&failed=1")).status_code == 303
        assert states(store) == {"extract": "success", "clean": None, "load": None, "the run": "queued"}

    def test_marks_a_task_as_successful_and_clears_what_failed_behind_it(
        self, look: Look, browser: Browser, store: Store
    ) -> None:
        answer = submit(browser, look(f"{PAGE}/change?do=success&task=clean"))
        assert "Marked 1 task as successful." in look(answer.headers["location"])
        assert states(store) == {"extract": "success", "clean": "success", "load": None, "the run": "queued"}

    def test_marks_a_task_as_failed(self, look: Look, browser: Browser, store: Store) -> None:
        submit(browser, look(f"{PAGE}/change?do=failed&task=extract"))
        assert states(store)["extract"] == "failed"

    def test_marks_a_run_as_successful(self, look: Look, browser: Browser, store: Store) -> None:
        submit(browser, look(f"{PAGE}/change?do=success"))
        assert {states(store)[name] for name in ("extract", "clean", "load")} == {"success"}

    def test_what_was_not_confirmed_is_not_done(
        self, look: Look, browser: Browser, store: Store, world: World, run: Any
    ) -> None:
        page = look(f"{PAGE}/change?do=clear&failed=1")
        world.task(run, "late", "failed", 1, 30, 10)
        before = states(store)
        answer = submit(browser, page)
        assert answer.status_code == 409
        assert "The run has changed since you were asked" in answer.text
        assert states(store) == before

    def test_nothing_is_done_without_the_token_or_from_another_site(self, browser: Browser, store: Store) -> None:
        before = states(store)
        fields = {"do": "clear", "seal": "x"}
        wrong = browser.submit(f"{PAGE}/change", csrf_token="guessed", **fields)
        foreign = browser.post(
            f"{PAGE}/change",
            data={"csrf_token": browser.csrf_token, **fields},
            headers={"origin": "https://elsewhere.example"},
        )
        assert {wrong.status_code, foreign.status_code} == {403}
        assert states(store) == before

    def test_of_two_who_clear_the_same_task_the_second_does_not_end_what_the_first_began(
        self, look: Look, browser: Browser, store: Store
    ) -> None:
        both = look(f"{PAGE}/change?do=clear&task=clean")
        assert submit(browser, both).status_code == 303
        begun = update(TaskInstance).where(TaskInstance.task_id == "clean")
        running = {"state": "running", "token": "a-token", "owner": "o", "try_number": 2}
        store.run(lambda tx: tx.connection.execute(begun.values(running)))
        answer = submit(browser, both)
        assert (answer.status_code, "The run has changed since you were asked" in answer.text) == (409, True)
        with store.read() as connection:
            assert connection.execute(select(TaskInstance.ending)).scalars().all() == [None, None, None]

    def test_nothing_is_told_that_nobody_did(self, look: Look, browser: Browser) -> None:
        done = submit(browser, look(f"{PAGE}/change?do=clear&task=clean")).headers["location"].partition("?")[2]
        queries = [done.replace("tasks=1", "tasks=9999"), done.replace("clear", "success"), done[:-1], done + "é"]
        for query in ("done=burn&tasks=1", "done=clear&tasks=many", "done=clear", "done=success&tasks=9999", *queries):
            page = look(f"{PAGE}?{query}")
            assert "Cleared" not in page
            assert "Marked" not in page
        assert "Cleared 1 task" in look(f"{PAGE}?{done}")

    def test_what_another_session_did_is_not_told_by_its_link(self) -> None:
        mine, theirs = (Session("ada", token, datetime.now(UTC)) for token in ("mine", "theirs"))
        notice = _Notice("sales", RUN, Deed.CLEAR, 2)
        assert notice.signature(mine) == notice.signature(mine) != notice.signature(theirs)


def test_a_running_run_is_failed_and_what_has_not_begun_in_it_is_skipped(
    look: Look, browser: Browser, store: Store, world: World
) -> None:
    world.dag("sales", [task("extract"), task("load", "extract")])
    for kind in ("dag_tasks", "dag_runs"):
        world.add(Budget, kind=kind, name="sales", slots=16, used=1)
    run = (world.run("sales", RUN, "running", 600, unfinished=2), "sales", RUN)
    world.task(run, "extract", "running", 1, 600)
    world.task(run, "load", None, 0)
    assert f'href="{PAGE}/change?do=failed"' in look(PAGE)
    page = look(f"{PAGE}/change?do=failed")
    assert "What runs is ended and fails; what has not begun is skipped; the run fails." in words(page)
    answer = submit(browser, page)
    assert "Marked 2 tasks as failed. What runs is ended first." in look(answer.headers["location"])
    assert states(store) == {"extract": "running", "load": "skipped", "the run": "failed"}


def test_strangers_are_led_to_sign_in(stranger: Browser) -> None:
    assert stranger.get(f"{PAGE}/change?do=clear").headers["location"].startswith("/login")
    assert stranger.submit(f"{PAGE}/change", do="clear").status_code in (303, 401, 403)
