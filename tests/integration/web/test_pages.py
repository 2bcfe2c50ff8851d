from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import pytest
from sqlalchemy import select, update

from engine.authoring.serialized import CronSchedule, SerializedTask
from engine.links import attempt_url, dag_url, run_url
from engine.metastore.store import Store
from engine.metastore.tables import DagRun, DagSchedule, DagVersion, SlaDeadline
from tests.integration.web.conftest import Browser
from tests.integration.web.world import World, daily, task

Look = Callable[[str], str]
RUN = "scheduled__2026-11-23T05:30:00+00:00"


def a_failed_run(world: World) -> tuple[int, str, str]:
    world.dag("sales", [task("extract"), task("clean", "extract"), task("load", "clean")], schedule=daily())
    run = (world.run("sales", RUN, "failed", 600, 60, conf={"region": "<EU>"}), "sales", RUN)
    world.task(run, "extract", "success", 1, 600, 500)
    ti = world.task(run, "clean", "failed", 2, 300, 60, operator="PythonOperator", max_tries=2)
    world.attempt(ti, 1, "up_for_retry", "signal", 500, 400, signal=9, error="killed by SIGKILL")
    world.attempt(ti, 2, "failed", "exception", 300, 60, exit_code=1, error="ValueError: bad row")
    world.task(run, "load", "upstream_failed", 0, None, 60)
    return run


class TestDagList:
    def test_says_that_there_is_nothing_yet(self, look: Look) -> None:
        assert "There are no DAGs yet" in look("/dags")

    def test_shows_schedule_last_runs_and_next_run_in_words(self, look: Look, world: World) -> None:
        world.dag("sales", schedule=CronSchedule("30 5 * * *"), next_in=7300, description="Orders", tags=("finance",))
        for number in range(12):
            world.run("sales", f"scheduled__{number}", "failed" if number == 11 else "success", 900 - number, 10)
        text = look("/dags")
        for words in ("sales", "Orders", "finance", "Daily at 05:30", "in 2 h", "On"):
            assert words in text
        marks = re.findall(r'class="mark s-(\w+)"', text)
        assert marks == ["success"] * 9 + ["failed"]

    def test_leaves_out_dags_that_no_file_defines(self, look: Look, world: World) -> None:
        world.dag("gone", is_active=False)
        assert "gone" not in look("/dags")

    def test_finds_by_name_and_takes_wildcards_as_they_are(self, look: Look, world: World) -> None:
        for name in ("sales_eu", "salesxeu", "stock"):
            world.dag(name)
        text = look("/dags?q=s_e")
        assert "sales_eu" in text
        assert "salesxeu" not in text
        assert "No DAG has “%” in its name" in look("/dags?q=%25")

    def test_has_pages(self, look: Look, world: World) -> None:
        for number in range(53):
            world.dag(f"dag_{number:03}")
        first, second = look("/dags"), look("/dags?page=2")
        assert "dag_049" in first
        assert "dag_050" not in first
        assert "/dags?q=&amp;page=2" in first
        assert "dag_052" in second

    def test_needs_a_handful_of_statements_however_many_dags(
        self, look: Look, world: World, statements: list[str]
    ) -> None:
        for number in range(40):
            world.dag(f"dag_{number}")
            world.run(f"dag_{number}", "manual__1", "success", 9, 1)
        statements.clear()
        look("/dags")
        assert len(statements) <= 6, statements

    def test_a_dag_of_a_newer_version_is_still_listed(self, look: Look, world: World, store: Store) -> None:
        world.dag("future")
        with store.begin() as tx:
            tx.connection.execute(update(DagVersion).values(data='{"schedule": {"type": "lunar"}}'))
        assert "future" in look("/dags")
        assert "unknown" in look("/dags/future")

    def test_warns_of_import_errors_and_silent_processes(self, look: Look, world: World) -> None:
        world.broken_file("/srv/a.py", error="boom", error_since=world.now)
        world.process("scheduler", 90)
        world.process("notifier", 1)
        text = look("/dags")
        assert "1 file cannot be imported" in text
        assert "The scheduler was last heard of 1 min ago" in text
        assert "The dag processor is not running" in text
        assert "The notifier" not in text


class TestDag:
    def test_shows_its_runs_and_how_their_tasks_stand(self, look: Look, world: World) -> None:
        a_failed_run(world)
        text = look("/dags/sales")
        assert RUN in text
        for words in ("1 failed", "1 success", "1 upstream failed", "9 min", "Daily at 00:00"):
            assert words in text

    def test_has_pages_of_runs(self, look: Look, world: World) -> None:
        world.dag("d")
        ids = [world.run("d", f"manual__{number:03}", "success", 900, 800) for number in range(30)]
        first = look("/dags/d")
        assert "manual__005" in first
        assert "manual__004" not in first
        assert f"?before={ids[5]}" in first
        second = look(f"/dags/d?before={ids[5]}")
        assert "manual__004" in second
        assert "manual__005" not in second

    def test_needs_a_handful_of_statements(self, look: Look, world: World, statements: list[str]) -> None:
        world.dag("d")
        for number in range(25):
            run = (world.run("d", f"manual__{number}", "success", 9, 1), "d", f"manual__{number}")
            world.task(run, "t", "success", 1, 9, 1)
        statements.clear()
        look("/dags/d")
        assert len(statements) <= 6, statements

    def test_is_marked_in_the_list_where_it_has_warnings(self, look: Look, world: World) -> None:
        world.dag("fine", [task("load", email=("ops@example.org",))])
        assert " warning" not in look("/dags")
        world.dag("wrong", [task("load", email=("ops@", "lead"))])
        text = look("/dags")
        assert "2 warnings</a>" in text
        assert text.count("2 warnings") == 1

    def test_warns_of_an_email_that_is_no_address(self, look: Look, world: World) -> None:
        world.dag("d", [task("load", email=("ops@", "<b>bold</b>"))])
        text = look("/dags/d")
        assert "Task load: email has &#39;ops@&#39;, which is no mail address: nobody is told there." in text
        assert "email has &#39;&lt;b&gt;bold&lt;/b&gt;&#39;" in text
        world.dag("well", [task("load", email=("ops@example.org",))])
        assert "email has" not in look("/dags/well")

    def test_says_when_no_file_defines_it(self, look: Look, world: World) -> None:
        world.dag("gone", is_active=False)
        text = look("/dags/gone")
        assert "No file defines this DAG any more" in text
        assert re.search(r"<button[^>]*disabled", text)

    def test_says_that_its_file_is_broken_where_why_and_since_when(self, look: Look, world: World) -> None:
        world.dag("sales")
        world.dag("stock")
        world.broken_file(
            "/srv/flows/sales.py",
            error="Traceback\nSyntaxError: <oops>",
            error_summary="SyntaxError: '(' was never closed",
            error_remedy="Close it.",
            error_line=12,
            error_since=world.now - timedelta(hours=2),
        )
        text = look("/dags/sales")
        words = " ".join(re.sub(r"<[^>]+>", " ", text).split())
        assert "The file of this DAG cannot be imported since" in words
        assert "2 h ago" in words
        assert "/srv/flows/sales.py , line 12: SyntaxError: &#39;(&#39; was never closed Close it." in words
        (link,) = set(re.findall(r'href="(/import-errors#[^"]+)"', text))
        assert f'id="{link.partition("#")[2]}"' in look("/import-errors")
        assert "cannot be imported" not in look("/dags/stock")
        rows = re.findall(r"<tr>.*?</tr>", look("/dags"), re.DOTALL)
        marked = {"/dags/sales" in row: link in row for row in rows if "/dags/s" in row}
        assert marked == {True: True, False: False}

    def test_falls_back_on_the_last_line_of_the_error(self, look: Look, world: World) -> None:
        world.dag("sales")
        world.broken_file("/srv/flows/sales.py", error="Traceback\nKeyError: 'x'\n")
        assert "KeyError: &#39;x&#39;</p>" in look("/dags/sales")


class TestRun:
    def test_lists_tasks_upstream_first_with_states_and_attempts(self, look: Look, world: World) -> None:
        a_failed_run(world)
        text = look(run_url("", "sales", RUN))
        order = [text.index(f'class="step d{depth}"') for depth in range(3)]
        assert order == sorted(order)
        assert "PythonOperator after extract" in text
        assert "upstream failed" in text
        assert quote(RUN, safe="") + "/tasks/clean/attempts/2" in text
        assert "\\u003cEU\\u003e" in text
        assert "data-refresh" not in text

    def test_tells_below_a_failed_task_why_in_one_short_line(self, look: Look, world: World) -> None:
        run = a_failed_run(world)
        long = world.task(run, "report", "failed", 1, 300, 60)
        world.attempt(long, 1, "failed", "exception", 300, 60, error="KeyError: " + "x" * 500)
        won = world.task(run, "mail", "success", 2, 300, 60)
        world.attempt(won, 1, "up_for_retry", "exception", 300, 60, error="TimeoutError: once")
        world.attempt(won, 2, "success", "success", 300, 60)
        text = look(run_url("", "sales", RUN))
        assert re.findall(r'class="dim why">([^<]*)<', text) == [
            "ValueError: bad row",
            f"KeyError: {'x' * 150}…",
        ]

    def test_keeps_fresh_only_while_it_runs(self, look: Look, world: World) -> None:
        world.dag("d")
        world.run("d", "manual__1", "running", 5)
        text = look("/dags/d/runs/manual__1")
        assert 'data-refresh="3"' in text
        assert '<noscript><meta http-equiv="refresh"' in text

    def test_says_that_a_paused_dags_run_waits(self, look: Look, world: World) -> None:
        world.dag("d", is_paused=True)
        world.run("d", "manual__1", "queued")
        assert "The DAG is paused, so this run waits" in look("/dags/d/runs/manual__1")

    def test_counts_its_tasks_by_state_and_shows_those_of_one(self, look: Look, world: World) -> None:
        a_failed_run(world)
        address = run_url("", "sales", RUN)
        text = look(address)
        assert "all 3</a>" in text
        links = re.findall(r'<a class="s-(\w+)" href="([^"]+)"><span aria-hidden="true">.</span>(\d+) ', text)
        assert links == [(state, f"{address}?state={state}", "1") for state in ("failed", "success", "upstream_failed")]
        only = look(f"{address}?state=failed")
        assert "/tasks/clean/attempts/" in only
        assert "/tasks/extract/attempts/" not in only
        assert "No task of this run is in that state now" in look(f"{address}?state=running")

    def test_refuses_a_state_that_there_is_not(self, browser: Browser, world: World) -> None:
        a_failed_run(world)
        assert browser.get(run_url("", "sales", RUN) + "?state=fialed").status_code == 404

    def test_needs_a_handful_of_statements(self, look: Look, world: World, statements: list[str]) -> None:
        a_failed_run(world)
        statements.clear()
        look(run_url("", "sales", RUN))
        assert len(statements) <= 6, statements

    def test_says_by_when_its_tasks_were_to_be_done(self, look: Look, world: World) -> None:
        world.dag("sales", [task("load", sla_seconds=60.0)], schedule=daily())
        run_pk = world.run("sales", RUN, "failed", 600, 60)
        due = {"run_pk": run_pk, "dag_id": "sales", "due_at": world.ago(90), "at_risk_at": world.ago(100)}
        world.add(SlaDeadline, task_id="load", state="missed", completed_at=world.ago(30), **due)
        world.add(SlaDeadline, task_id="", state="met", completed_at=world.ago(95), **due)
        page = look(run_url("", "sales", RUN))
        text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
        assert re.search(r"load due [0-9: -]+ UTC: missed ?, done [0-9: -]+ UTC", text)
        assert re.search(r"the run due [0-9: -]+ UTC: met", text)
        assert [name for name in ('tally s-failed">missed<', 'tally s-success">met<') if name not in page] == []

    def test_of_many_tasks_is_cut_and_says_so(self, look: Look, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("engine.web.queries.MOST_TASKS", 2)
        a_failed_run(world)
        assert "Only the first 2 tasks are shown" in look(run_url("", "sales", RUN))


class TestAttempt:
    def test_tells_the_facts_and_the_log(self, look: Look, world: World) -> None:
        a_failed_run(world)
        world.log(
            "sales", RUN, "clean", 2, "[2026-11-23T13:44:30.123Z] reading\n[2026-11-23T13:44:31Z] windsock: end\n"
        )
        text = look(attempt_url("", "sales", RUN, "clean", 2))
        for words in (
            "2 of 2",
            "the task raised an exception",
            "ValueError: bad row",
            "etl-01",
            "4 min",
            "13:44:30.123",
        ):
            assert words in text
        assert '<td class="tx">reading</td>' in text
        assert '<tr class="remark">' in text
        assert "data-refresh" not in text

    def test_tells_an_earlier_attempts_own_end(self, look: Look, world: World) -> None:
        a_failed_run(world)
        text = look(attempt_url("", "sales", RUN, "clean", 1))
        assert "9 (SIGKILL)" in text
        assert "1 of 2" in text
        assert "There is no log file" in text

    def test_shows_a_live_attempt_and_keeps_fresh(self, look: Look, world: World) -> None:
        world.dag("d", [task("t")])
        world.process("supervisor", hostname="worker-7")
        run = (world.run("d", "manual__1", "running", 60), "d", "manual__1")
        world.task(run, "t", "running", 1, 60, owner="supervisor-1")
        world.log("d", "manual__1", "t", 1, "")
        text = look(attempt_url("", "d", "manual__1", "t", 1))
        assert "worker-7" in text
        assert "Nothing has been written yet" in text
        assert 'data-refresh="3"' in text
        world.log("d", "manual__1", "t", 1, "x\n" * 3000)
        older = look("/dags/d/runs/manual__1/tasks/t/attempts/1?before=100")
        assert "data-refresh" not in older

    def test_pages_a_long_log_from_its_end(self, look: Look, world: World) -> None:
        a_failed_run(world)
        world.log("sales", RUN, "clean", 2, "".join(f"row {number}\n" for number in range(1, 5001)))
        last = look(attempt_url("", "sales", RUN, "clean", 2))
        assert 'data-n="5000"' in last
        assert 'data-n="3000"' not in last
        found = re.search(r'href="([^"]+\?before=\d+)#log"', last)
        assert found
        earlier = look(found[1])
        assert '<td class="tx">row 3000</td>' in earlier
        first = look(attempt_url("", "sales", RUN, "clean", 2) + "?after=0")
        assert 'data-n="1"' in first

    def test_of_a_mapped_task_is_found_by_its_index(self, look: Look, browser: Browser, world: World) -> None:
        world.dag("d", [task("t")])
        run = (world.run("d", "manual__1", "success", 60, 1), "d", "manual__1")
        ti = world.task(run, "t", "success", 1, 60, 50, map_index=3)
        world.attempt(ti, 1, "success", "success", 60, 50, exit_code=0)
        world.log("d", "manual__1", "t", 1, "mapped\n", map_index=3)
        address = attempt_url("", "d", "manual__1", "t", 1, 3)
        assert "mapped" in look(address)
        assert browser.get(address.partition("?")[0]).status_code == 404
        assert browser.get(address.replace("?", "/log?")).text == "mapped\n"

    def test_log_is_downloaded_as_text(self, browser: Browser, world: World) -> None:
        a_failed_run(world)
        world.log("sales", RUN, "clean", 2, "<script>alert(1)</script>\n" * 40_000)
        response = browser.get(attempt_url("", "sales", RUN, "clean", 2) + "/log")
        assert len(response.text) == 40_000 * 26
        assert response.headers["content-type"].startswith("text/plain")
        assert response.headers["content-disposition"].startswith("attachment; filename*=UTF-8''sales-scheduled")
        assert browser.get(attempt_url("", "sales", RUN, "clean", 1) + "/log").status_code == 404

    def test_needs_a_handful_of_statements(self, look: Look, world: World, statements: list[str]) -> None:
        a_failed_run(world)
        statements.clear()
        look(attempt_url("", "sales", RUN, "clean", 2))
        assert len(statements) <= 6, statements


def test_an_operator_is_called_as_a_dag_file_does(look: Look, world: World) -> None:
    branch = SerializedTask(task_id="pick", operator="_BranchPythonDecoratedOperator", kind="python")
    world.dag("sales", [branch], schedule=daily())
    run = (world.run("sales", RUN, "success", 600, 60), "sales", RUN)
    world.attempt(
        world.task(run, "pick", "success", 1, 600, 60, operator=branch.operator), 1, "success", "success", 600, 60
    )
    for page in (run_url("", "sales", RUN), attempt_url("", "sales", RUN, "pick", 1)):
        text = look(page)
        assert "@task.branch" in text
        assert branch.operator not in text


class TestImportErrors:
    def test_says_file_line_what_remedy_and_since(self, look: Look, world: World) -> None:
        world.broken_file(
            "/srv/flows/a.py",
            error="Traceback\n  File x\nSyntaxError: <oops>",
            error_summary="SyntaxError: '(' was never closed",
            error_remedy="Close it.",
            error_line=12,
            error_since=world.now - timedelta(hours=2),
        )
        text = look("/import-errors")
        for words in (
            "/srv/flows/a.py",
            "line 12",
            "was never closed",
            "Close it.",
            "2 h",
            "&lt;oops&gt;",
            "<details>",
        ):
            assert words in text

    def test_falls_back_on_the_errors_last_line(self, look: Look, world: World) -> None:
        world.broken_file("/srv/b.py", error="Traceback\nKeyError: 'x'\n")
        assert "KeyError: &#39;x&#39;</p>" in look("/import-errors")

    def test_says_that_all_is_well(self, look: Look, world: World) -> None:
        world.broken_file("/srv/fine.py")
        assert "Every file of the DAG folder can be imported" in look("/import-errors")


class TestActions:
    def test_trigger_queues_a_run_in_the_users_name(self, browser: Browser, world: World, store: Store) -> None:
        world.dag("d", [task("t")])
        response = browser.submit("/dags/d/trigger")
        assert response.status_code == 303
        assert browser.get(response.headers["location"]).status_code == 200
        with store.read() as connection:
            run = connection.execute(select(DagRun.state, DagRun.run_type, DagRun.triggered_by)).one()
        assert tuple(run) == ("queued", "manual", "admin")

    def test_a_dag_that_needs_a_conf_says_so(self, browser: Browser, world: World) -> None:
        world.dag("d", [task("t")], param_schemas={"n": {"type": "integer"}})
        response = browser.submit("/dags/d/trigger")
        assert response.status_code == 400
        assert "Param &#39;n&#39; has no default and no value" in response.text

    @pytest.mark.parametrize("dag_id", ["gone", "never"])
    def test_what_is_not_there_cannot_be_triggered(self, browser: Browser, world: World, dag_id: str) -> None:
        world.dag("gone", is_active=False)
        assert browser.submit(f"/dags/{dag_id}/trigger").status_code == 404

    def test_pause_and_go_on_and_come_back(self, browser: Browser, world: World, store: Store) -> None:
        world.dag("d")
        for wanted in ("true", "false"):
            response = browser.submit("/dags/d/pause", paused=wanted, back="/dags?q=d&page=1")
            assert response.headers["location"] == "/dags?q=d&page=1"
            with store.read() as connection:
                assert connection.scalar(select(DagSchedule.is_paused)) is (wanted == "true")

    def test_pausing_works_before_the_scheduler_has_seen_the_dag(
        self, browser: Browser, world: World, store: Store
    ) -> None:
        world.dag("d")
        with store.begin() as tx:
            tx.connection.execute(DagSchedule.__table__.delete())
        assert browser.submit("/dags/d/pause", paused="true").status_code == 303
        assert "paused" in browser.get("/dags/d").text

    def test_nonsense_is_refused(self, browser: Browser, world: World) -> None:
        world.dag("d")
        assert browser.submit("/dags/d/pause", paused="perhaps").status_code == 400
        assert browser.submit("/dags/never/pause", paused="true").status_code == 404
        response = browser.submit("/dags/d/pause", paused="true", back="//evil.example")
        assert response.headers["location"] == "/dags/d"


MARKUP = "<img src=x onerror=alert(1)>'\"&"


def test_markup_is_text_wherever_it_comes_from(look: Look, world: World) -> None:
    hostile = MARKUP.replace("/", "")
    world.dag(hostile, [task(hostile), task("b", hostile)], description=MARKUP, tags=(MARKUP,), owner=MARKUP)
    run = (
        world.run(hostile, hostile, "failed", 9, 1, conf={MARKUP: MARKUP}, triggered_by=MARKUP, run_type="manual"),
        hostile,
        hostile,
    )
    ti = world.task(run, hostile, "failed", 1, 9, 1, operator=MARKUP, pool=MARKUP)
    world.attempt(ti, 1, "failed", "<b>cause", 9, 1, error=MARKUP, hostname=MARKUP)
    world.log(hostile, hostile, hostile, 1, f"{MARKUP}\n[2026-11-23T13:44:30.123Z] windsock: {MARKUP}\n")
    world.broken_file(MARKUP, error=MARKUP, error_summary=MARKUP, error_remedy=MARKUP)
    pages = [
        look("/dags"),
        look(dag_url("", hostile)),
        look(run_url("", hostile, hostile)),
        look(attempt_url("", hostile, hostile, hostile, 1)),
        look("/import-errors"),
        look("/dags?q=" + quote(MARKUP)),
    ]
    for text in pages:
        assert "&lt;img src=x onerror=" in text
        assert "<img src=x" not in text
        assert "<b>cause" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/dags/never",
        "/dags/d/runs/never",
        "/dags/d/runs/manual__1/tasks/never/attempts/1",
        "/dags/d/runs/manual__1/tasks/t/attempts/2",
        "/dags/d/runs/manual__1/tasks/t/attempts/0",
        "/dags/d/runs/manual__1/tasks/t/attempts/-1",
        "/dags/d/runs/manual__1/tasks/t/attempts/x",
        "/dags/d/runs/manual__1/tasks/t/attempts/1?before=x",
        "/dags/d/runs/manual__1/tasks/t/attempts/99999999999999999999",
        "/dags/%2e%2e",
        "/dags/%00",
        "/dags/..%2f..%2fetc%2fpasswd",
        "/dags/d/runs/..%2f..%2f..%2fsecret",
        "/dags/d?before=99999999999999999999",
        "/dags?page=x",
        "/static/nothing.css",
        "/static/..%2f..%2fapp.py",
    ],
)
def test_what_is_not_there_is_a_friendly_404(browser: Browser, world: World, path: str) -> None:
    world.dag("d", [task("t")])
    run = (world.run("d", "manual__1", "success", 9, 1), "d", "manual__1")
    ti = world.task(run, "t", "success", 1, 9, 1)
    world.attempt(ti, 1, "success", "success", 9, 1)
    response = browser.get(path)
    assert response.status_code == 404
    assert "Nothing here" in response.text


def test_a_bug_is_a_friendly_500_without_its_details(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("engine.web.queries.import_errors", broken)
    response = browser.get("/import-errors")
    assert response.status_code == 500
    assert "Something broke" in response.text
    assert "secret detail" not in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "secret detail" in caplog.text
