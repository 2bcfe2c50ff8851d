"""Bash attempts through a real scheduler on SQLite: how they end, and what people are told."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from engine.config.masking import MASK
from engine.linux import start_mark
from exporters.catalogue import CATALOGUE
from tests.integration.scheduling.engine_home import Home, zombies_of
from tests.servers.processes import wait_until

SECRET = "hunter2-is-my-mail-password"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    made = Home(WINDSOCK__SMTP__SMTP_PASSWORD=SECRET, WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1")
    made.scheduler()
    yield made
    made.close()


def bash(home: Home, dag_id: str, command: str, more: str = "", **kwargs: str) -> str:
    home.add(dag_id, f"BashOperator(task_id='t', bash_command={command!r}, {more})", **kwargs)
    return home.finish(dag_id)


def test_success_is_success_with_the_last_line_as_xcom(home: Home) -> None:
    home.add(
        "ok",
        """
        first = BashOperator(task_id='t', bash_command='echo one; pwd; echo two')
        BashOperator(task_id='u', bash_command='echo got {{ ti.xcom_pull(task_ids="t") }}') << first
        """,
    )
    assert home.finish("ok") == "success"
    assert (home.last("ok").cause, home.last("ok").exit_code) == ("success", 0)
    assert "one\n" in home.log("ok")
    assert "got two\n" in home.log("ok", "u")
    assert re.search(r"/tmp/windsock-\d+/supervisor-\S+/\d+\n", home.log("ok"))


def test_what_a_task_leaves_in_its_scratch_folder_is_removed(home: Home) -> None:
    home.add("litter", "BashOperator(task_id='t', bash_command='mkdir -p a/b; touch a/b/c; pwd')")
    assert home.finish("litter") == "success"
    wait_until(lambda: home.litter() == [], "the removal")


@pytest.mark.parametrize("how", ["", "{{ ti.try_number }}"], ids=["spawned", "forked"])
def test_a_scratch_folder_that_was_left_empty_is_lent_again(home: Home, how: str) -> None:
    dag_id = f"again_{'forked' if how else 'spawned'}"
    home.add(
        dag_id,
        f"""
        first = BashOperator(task_id='t', bash_command='echo "in $PWD: $(ls -A | wc -l)" # {how}')
        BashOperator(task_id='u', bash_command='echo "in $PWD: $(ls -A | wc -l)"; touch x # {how}') << first
        """,
    )
    lent = []
    for _ in range(3):
        assert home.finish(dag_id) == "success"
        lent += [re.findall(r"in (\S+): (\d+)\n", home.log(dag_id, task_id)) for task_id in "tu"]
    [[first], [second], [third], *_] = lent
    assert first == second
    assert first != third
    assert {entries for [(_, entries)] in lent} == {"0"}


@pytest.mark.parametrize("how", ["", "{{ ti.try_number }}"], ids=["spawned", "forked"])
def test_a_scratch_folder_is_not_lent_again_where_an_attempt_left_somebody_in_it(home: Home, how: str) -> None:
    """A daemon of a daemon outlives its attempt by a moment, in which it may write."""
    dag_id = f"daemons_{'forked' if how else 'spawned'}"
    inner = "setsid sleep 1000 & echo > $0; wait"
    home.add(
        dag_id,
        f"""
        fifo = "mkfifo $WINDSOCK_HOME/{dag_id}; "
        leave = "setsid bash -c '{inner}' $WINDSOCK_HOME/{dag_id} & read < $WINDSOCK_HOME/{dag_id}; "
        first = BashOperator(task_id='t', bash_command=fifo + leave + 'echo "in $PWD" # {how}')
        BashOperator(task_id='u', bash_command='echo "in $PWD" # {how}') << first
        """,
    )
    assert home.finish(dag_id) == "success"
    [first], [second] = (re.findall(r"in (\S+)\n", home.log(dag_id, task_id)) for task_id in "tu")
    assert first != second


def test_an_xcom_is_what_was_printed_though_the_log_masks_it(home: Home) -> None:
    url = "postgresql://me:topsecret@db/x"
    home.add(
        "raw",
        f"""
        first = BashOperator(task_id='t', bash_command='echo {url}')
        length = 'got {{{{ ti.xcom_pull(task_ids="t") | length }}}}'
        BashOperator(task_id='u', bash_command='echo ' + length) << first
        """,
    )
    assert home.finish("raw") == "success"
    assert "topsecret" not in home.log("raw")
    assert f"got {len(url)}\n" in home.log("raw", "u")


@pytest.mark.parametrize(("characters", "kept"), [(65_536, True), (65_537, False), (300_000, False)])
def test_a_very_long_last_line_is_no_xcom_and_that_is_told(home: Home, characters: int, kept: bool) -> None:
    dag_id = f"long{characters}"
    home.add(
        dag_id,
        f"""
        first = BashOperator(task_id='t', bash_command='echo before; head -c {characters} /dev/zero | tr "\\\\0" x')
        length = 'got {{{{ (ti.xcom_pull(task_ids="t") or "") | length }}}}'
        BashOperator(task_id='u', bash_command='echo ' + length) << first
        """,
    )
    assert home.finish(dag_id) == "success"
    assert f"got {characters if kept else 0}\n" in home.log(dag_id, "u")
    told = "windsock: its last line is longer than 65,536 bytes and is not kept as its XCom" in home.log(dag_id)
    assert told is not kept


def test_an_exit_code_is_told_with_the_last_line(home: Home) -> None:
    assert bash(home, "code", "echo before; echo no such table >&2; exit 3") == "failed"
    attempt = home.last("code")
    assert (attempt.cause, attempt.exit_code, attempt.signal) == ("exit", 3, None)
    assert attempt.error == "exited with code 3: no such table"
    assert "windsock: failed: exited with code 3: no such table" in home.log("code")


def test_the_skip_code_skips(home: Home) -> None:
    assert bash(home, "skip", "exit 99") == "success"
    assert home.states("skip") == {"t": "skipped"}
    assert home.last("skip").cause == "skip"


def test_a_killed_command_is_told_with_its_signal(home: Home) -> None:
    assert bash(home, "killed", "kill -KILL $$") == "failed"
    attempt = home.last("killed")
    assert (attempt.cause, attempt.signal, attempt.error) == ("signal", 9, "killed by SIGKILL")
    wait_until(lambda: home.statsd.total("ti_failures", dag_id="killed", task_id="t") == 1, "ti_failures")


def test_a_command_that_ignores_term_is_killed_after_its_time(home: Home) -> None:
    command = "trap '' TERM; echo started; while :; do read -t 1 < <(:) ; done"
    assert bash(home, "stubborn", command, "execution_timeout=timedelta(seconds=0.5)") == "failed"
    attempt = home.last("stubborn")
    assert (attempt.cause, attempt.error) == ("timeout", "ran longer than its execution_timeout of 0.5 s")
    assert "sending SIGTERM" in home.log("stubborn")


def test_a_daemon_that_holds_the_pipe_neither_delays_the_end_nor_lives_on(home: Home) -> None:
    assert bash(home, "daemon", "sleep 1000 & echo done $!") == "success"
    pid = re.search(r"done (\d+)", home.log("daemon"))
    assert pid
    wait_until(lambda: not _alive(int(pid[1])), "the daemon's end")
    wait_until(lambda: not zombies_of(home.processes[0].pid), "its reaping by the scheduler", 8)


def test_the_left_over_children_of_background_jobs_are_reaped(home: Home) -> None:
    for number in range(3):
        assert bash(home, f"leaver{number}", "setsid true & (setsid true &) ; true") == "success"
    wait_until(lambda: not zombies_of(home.processes[0].pid), "their reaping by the scheduler", 8)


def _alive(pid: int) -> bool:
    return start_mark(pid) is not None


def test_twenty_megabytes_of_output_are_all_in_the_log(home: Home) -> None:
    assert bash(home, "chatty", "yes 0123456789abcdef0123456789abcdef | head -c 20000000") == "success"
    log = home.log("chatty")
    assert log.count("0123456789abcdef0123456789abcdef") == 20_000_000 // 33


def test_a_broken_pipe_ends_the_writer_as_in_any_shell(home: Home) -> None:
    assert bash(home, "sigpipe", "yes | head -1; exit ${PIPESTATUS[0]}") == "failed"
    assert home.last("sigpipe").exit_code == 128 + 13


def test_binary_and_coloured_output_is_kept_and_the_error_is_one_clean_line(home: Home) -> None:
    command = r"printf 'a\xff\xfe\x00b\n'; printf '\033[31mred \x00 alert\033[0m\n'; exit 1"
    assert bash(home, "binary", command) == "failed"
    assert home.last("binary").error == "exited with code 1: red alert"
    assert "a\\xff\\xfe\x00b" in home.log("binary")
    assert "\x1b[31mred" in home.log("binary")


def test_a_missing_cwd_is_told_by_name(home: Home) -> None:
    assert bash(home, "cwd", "true", "cwd='/no/such/folder'") == "failed"
    attempt = home.last("cwd")
    assert (attempt.cause, attempt.error) == ("start", "cwd '/no/such/folder': No such file or directory")


def test_an_unknown_name_in_a_template_is_told_with_a_suggestion(home: Home) -> None:
    assert bash(home, "template", "echo {{ data_interval_strat }}") == "failed"
    attempt = home.last("template")
    assert attempt.cause == "exception"
    assert "data_interval_strat" in attempt.error
    assert "data_interval_start" in home.log("template")


def test_env_replaces_the_environment_unless_it_is_appended(home: Home) -> None:
    assert bash(home, "env", "env", "env={'MINE': '{{ ds }}'}") == "success"
    log = home.log("env")
    assert "MINE=" in log
    assert "WINDSOCK_HOME=" not in log
    assert bash(home, "append", "env", "env={'MINE': 'x'}, append_env=True") == "success"
    assert "MINE=x" in home.log("append")
    assert "WINDSOCK_HOME=" in home.log("append")


def test_secret_settings_are_neither_inherited_nor_printed(home: Home) -> None:
    assert bash(home, "secret", f"echo the password is {SECRET}; env | grep -c SMTP_PASSWORD; false") == "failed"
    log = home.log("secret")
    assert SECRET not in log
    assert f"the password is {MASK}" in log
    assert "\n0\n" in re.sub(r"(?m)^\[[^]]*\] ", "", log)
    assert bash(home, "secret_error", f"echo {SECRET}; exit 1") == "failed"
    assert SECRET not in home.last("secret_error").error


def test_a_command_that_needs_its_dag_file_runs_with_the_files_macros(home: Home) -> None:
    arguments = "schedule=None, user_defined_macros={'double': lambda n: n * 2}"
    assert bash(home, "macros", "echo twice {{ double(21) }}", arguments=arguments) == "success"
    assert "twice 42" in home.log("macros")
    assert bash(home, "macros_fail", "echo {{ double(1) }}; exit 7", arguments=arguments) == "failed"
    assert "7" in home.last("macros_fail").error
    assert bash(home, "macros_skip", "echo {{ double(1) }}; exit 99", arguments=arguments) == "success"
    assert home.states("macros_skip") == {"t": "skipped"}


def test_every_line_that_was_emitted_is_in_the_catalogue(home: Home) -> None:
    assert bash(home, "bad", "exit 1") == "failed"
    assert bash(home, "good", "true") == "success"
    wait_until(lambda: home.statsd.total("ti_failures", dag_id="bad", task_id="t") == 1, "ti_failures")
    wait_until(lambda: home.statsd.total("ti_successes", dag_id="good", task_id="t") == 1, "ti_successes")
    assert home.statsd.names() <= set(CATALOGUE)
