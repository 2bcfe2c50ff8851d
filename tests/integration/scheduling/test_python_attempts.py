"""Python attempts through a real scheduler on SQLite: user code that ends in every way there is."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.masking import MASK
from tests.integration.scheduling.engine_home import Home, store_dag
from tests.servers.processes import wait_until


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    made = Home()
    made.scheduler()
    yield made
    made.close()


@pytest.fixture
def hasty_home() -> Iterator[Home]:
    """One that gives no import the time to end: nothing that should succeed can run in it."""
    made = Home(WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT="2")
    made.scheduler()
    yield made
    made.close()


def python(home: Home, dag_id: str, body: str, more: str = "", preamble: str = "") -> str:
    """Run a DAG with one task `t` that calls a function with this body."""
    function = "def call():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    home.add(dag_id, f"PythonOperator(task_id='t', python_callable=call, {more})", preamble=preamble + function)
    return home.finish(dag_id)


def test_what_a_task_returns_reaches_the_next(home: Home) -> None:
    home.add(
        "handing_on",
        """
        @task
        def one():
            return {'rows': [1, 2, 3]}
        @task
        def add(data, factor):
            print('sum is', sum(data['rows']) * factor)
            return 'x' * 1_000_000
        @task
        def length(text):
            print('length is', len(text))
        length(add(one(), 2))
        """,
    )
    assert home.finish("handing_on") == "success"
    assert "sum is 12\n" in home.log("handing_on", "add")
    assert "length is 1000000\n" in home.log("handing_on", "length")


def test_an_exception_is_told_with_its_last_line_and_logged_with_its_traceback(home: Home) -> None:
    assert python(home, "raises", "raise ValueError('no rows in table orders')") == "failed"
    attempt = home.last("raises")
    assert (attempt.cause, attempt.error) == ("exception", "ValueError: no rows in table orders")
    assert "Traceback (most recent call last)" in home.log("raises")
    assert 'raises.py", line' in home.log("raises")


def test_what_an_operator_a_sensor_and_ti_log_is_in_the_attempts_log(home: Home) -> None:
    preamble = """
        from engine import BaseOperator, BaseSensorOperator
        class Loads(BaseOperator):
            def execute(self, context):
                self.log.info("%s rows", 7)
                self.log.debug("not asked for")
                context["ti"].log.warning("few")
        class Waits(BaseSensorOperator):
            def poke(self, context):
                self.log.info("looking")
                return True
    """
    home.add("logs", "Loads(task_id='loads') >> Waits(task_id='waits')", preamble=textwrap.dedent(preamble))
    assert home.finish("logs") == "success"
    loads = home.log("logs", "loads")
    assert "INFO - 7 rows\n" in loads
    assert "WARNING - few\n" in loads
    assert "not asked for" not in loads
    assert "INFO - looking\n" in home.log("logs", "waits")


def test_the_password_of_a_url_in_an_exception_is_masked_everywhere(home: Home) -> None:
    assert python(home, "leaks", "raise ValueError('cannot reach postgresql://me:topsecret@db/x')") == "failed"
    assert home.last("leaks").error == f"ValueError: cannot reach postgresql://me:{MASK}@db/x"
    assert "topsecret" not in home.log("leaks")


@pytest.mark.parametrize(
    ("dag_id", "code"), [("exit_0", "sys.exit(0)"), ("exit", "sys.exit()"), ("quit", "exit(None)")]
)
def test_a_task_that_exits_with_0_or_nothing_succeeds_with_what_it_has_pushed(
    home: Home, dag_id: str, code: str
) -> None:
    preamble = f"def call(ti):\n    ti.xcom_push('rows', 7)\n    {code}\n"
    after = (
        "BashOperator(task_id='u', bash_command=\"echo {{ ti.xcom_pull('t', key='rows') }} {{ ti.xcom_pull('t') }}\")"
    )
    home.add(dag_id, f"PythonOperator(task_id='t', python_callable=call) >> {after}", preamble=preamble)
    assert home.finish(dag_id) == "success"
    assert home.last(dag_id).cause == "success"
    assert "7 None\n" in home.log(dag_id, "u")


@pytest.mark.parametrize(
    ("dag_id", "code", "error"),
    [("exit_3", "sys.exit(3)", "SystemExit: 3"), ("exit_text", "sys.exit('no rows')", "SystemExit: no rows")],
)
def test_a_task_that_exits_with_anything_else_fails_with_that_and_is_retried(
    home: Home, dag_id: str, code: str, error: str
) -> None:
    assert python(home, dag_id, code, "retries=1, retry_delay=0") == "failed"
    assert [(attempt.cause, attempt.error) for attempt in home.attempts(dag_id)] == [("exception", error)] * 2


def test_an_exit_of_a_callback_before_the_task_is_no_end_of_the_task(home: Home) -> None:
    preamble = "def leave(context):\n    sys.exit(0)\n"
    assert python(home, "leaves", "print('done')", "on_execute_callback=leave", preamble) == "failed"
    assert home.last("leaves").error == "SystemExit: 0"


def test_leaving_the_interpreter_at_once_is_not_success(home: Home) -> None:
    assert python(home, "os_exit", "os._exit(0)") == "failed"
    assert home.last("os_exit").cause == "exit"
    assert home.last("os_exit").error == "exited with code 0 without a result"


def test_a_skip_exception_skips(home: Home) -> None:
    preamble = "from engine.authoring.exceptions import AirflowSkipException\n"
    assert python(home, "skips", "raise AirflowSkipException('nothing new')", preamble=preamble) == "success"
    assert home.states("skips") == {"t": "skipped"}
    assert home.last("skips").error == "nothing new"


def test_a_fail_exception_is_not_retried(home: Home) -> None:
    preamble = "from engine.authoring.exceptions import AirflowFailException\n"
    assert python(home, "gives_up", "raise AirflowFailException('bad key')", "retries=3", preamble) == "failed"
    assert [attempt.error for attempt in home.attempts("gives_up")] == ["AirflowFailException: bad key"]


def test_a_result_that_json_cannot_hold_fails_with_the_way_out(home: Home) -> None:
    assert python(home, "not_json", "return object()") == "failed"
    assert "do_xcom_push=False" in home.last("not_json").error
    assert python(home, "not_pushed", "return object()", "do_xcom_push=False") == "success"


@pytest.mark.parametrize(
    ("dag_id", "push", "error"),
    [
        ("long_key", "ti.xcom_push('k' * 251, 1)", f"XCom key '{'k' * 40}'… has 251 characters; 250 are possible"),
        ("empty_key", "ti.xcom_push('', 1)", "an XCom key must not be empty"),
        ("nul_key", "ti.xcom_push('a\\0b', 1)", "XCom key 'a\\x00b' holds control characters"),
        ("large", "ti.xcom_push('k', 'x' * 1_048_575)", "XCom 'k' is 1,048,577 bytes of JSON; 1,048,576 are possible"),
        ("sum", "[ti.xcom_push(f'k{n}', 'x' * 1_000_000) for n in range(9)]", "its XComs are 9,000,018 bytes"),
    ],
)
def test_an_xcom_that_cannot_be_kept_is_refused_where_it_is_pushed(
    home: Home, dag_id: str, push: str, error: str
) -> None:
    home.add(dag_id, "PythonOperator(task_id='t', python_callable=call)", preamble=f"def call(ti):\n    {push}\n")
    assert home.finish(dag_id) == "failed"
    assert home.last(dag_id).cause == "exception"
    assert home.last(dag_id).error.startswith(f"ValueError: {error}")


@pytest.mark.parametrize(
    ("dag_id", "body", "key"),
    [
        ("nan", "return float('nan')", "return_value"),
        ("infinite", "return {'rates': [1.5, float('-inf')]}", "return_value"),
        ("pushed_nan", "get_current_context()['ti'].xcom_push('rate', float('nan'))", "rate"),
    ],
)
def test_a_number_that_json_cannot_hold_is_refused_by_the_key_of_its_xcom(
    home: Home, dag_id: str, body: str, key: str
) -> None:
    assert python(home, dag_id, body, preamble="from engine import get_current_context\n") == "failed"
    told = "holds NaN or an infinite number, which JSON cannot hold; return None or a text for it"
    assert home.last(dag_id).error == f"ValueError: XCom '{key}' {told}"


def test_nul_in_a_value_is_kept(home: Home) -> None:
    home.add(
        "nul",
        """
        @task
        def give(): return 'a' + chr(0) + 'b'
        @task
        def take(text): print('took', ascii(text))
        take(give())
        """,
    )
    assert home.finish("nul") == "success"
    assert "took 'a\\x00b'" in home.log("nul", "take")


_SENDING = """
import gc
from engine.metastore.outcome import Cause, Outcome
from engine.running import messages, wire
def send(message):
    (channel,) = [thing for thing in gc.get_objects() if isinstance(thing, wire.BlockingStream)]
    channel.send(message)
"""


@pytest.mark.parametrize(
    ("dag_id", "message", "error"),
    [
        (
            "sent_key",
            "Result(Outcome(Cause.SUCCESS, xcom={'a\\0': '1'}))",
            "XCom key 'a\\x00' holds control characters",
        ),
        ("sent_nan", "Result(Outcome(Cause.SUCCESS, xcom={'a': '[NaN]'}))", "XCom 'a' is no JSON"),
        ("sent_text", "Result(Outcome(Cause.SUCCESS, xcom={'a': 'x'}))", "XCom 'a' is no JSON"),
        ("sent_size", "Result(Outcome(Cause.SUCCESS, xcom={'a': '1' * 2**21}))", "XCom 'a' is 2,097,152 bytes of JSON"),
    ],
)
def test_what_a_task_sends_past_the_checks_is_checked_again(home: Home, dag_id: str, message: str, error: str) -> None:
    assert python(home, dag_id, f"send(messages.{message})\nos._exit(0)", preamble=_SENDING) == "failed"
    assert home.last(dag_id).error.startswith(f"its result could not be stored: {error}")


def test_an_endless_message_and_a_cause_that_a_task_cannot_know_are_not_believed(home: Home) -> None:
    lost = "send(messages.Result(Outcome(Cause.LOST, exit_code=2**40, error='gone')))\nos._exit(1)"
    assert python(home, "sent_cause", lost, preamble=_SENDING) == "failed"
    attempt = home.last("sent_cause")
    assert (attempt.cause, attempt.exit_code, attempt.error) == ("exception", None, "gone")
    assert python(home, "sent_much", "send(messages.ImportFailed('x' * 2**25))", preamble=_SENDING) == "failed"
    assert home.last("sent_much").error == "exited with code 1 without a result"


def test_a_crash_of_the_interpreter_is_told_with_its_signal(home: Home) -> None:
    assert python(home, "crash", "import ctypes; ctypes.string_at(0)") == "failed"
    attempt = home.last("crash")
    assert (attempt.cause, attempt.signal, attempt.error) == ("signal", 11, "killed by SIGSEGV")


def test_odd_characters_in_an_exception_do_not_stop_anything(home: Home) -> None:
    assert python(home, "odd", r"raise ValueError('nul \x00 bell \x07 half \udcff')") == "failed"
    assert home.last("odd").error == "ValueError: nul bell half \\udcff"


def test_garbage_on_the_channel_hurts_only_the_task_that_wrote_it(home: Home) -> None:
    body = """
for fd in range(3, 64):
    try:
        os.write(fd, b'\\0\\0\\0\\4junk')
    except OSError:
        pass
"""
    supervisor = home.supervisor
    assert python(home, "garbage", body.strip()) == "failed"
    assert home.supervisor == supervisor
    assert python(home, "after_garbage", "print('fine')") == "success"


def test_a_changed_file_is_imported_anew(home: Home) -> None:
    assert python(home, "changes", "print('the old code')") == "success"
    assert "the old code" in home.log("changes")
    assert python(home, "changes", "print('the new code')") == "success"
    assert "the new code" in home.log("changes")


def test_a_changed_module_beside_the_file_is_imported_anew(home: Home) -> None:
    module = home.settings.core.dags_folder / "beside_it.py"
    module.write_text("WORD = 'first'\n")
    assert python(home, "imports", "print('the word is', WORD)", preamble="from beside_it import WORD\n") == "success"
    assert "the word is first" in home.log("imports")
    module.write_text("WORD = 'second'\n")
    assert home.finish("imports") == "success"
    assert "the word is second" in home.log("imports")


def test_a_file_in_a_subfolder_imports_from_the_dag_folder(home: Home) -> None:
    folder = home.settings.core.dags_folder
    (folder / "shared_words.py").write_text("WORD = 'shared'\n")
    path = home.write("team_dag", "PythonOperator(task_id='t', python_callable=lambda: print(WORD))")
    (folder / "team").mkdir()
    moved = path.rename(folder / "team" / "team_dag.py")
    moved.write_text("from shared_words import WORD\n" + moved.read_text().replace("from __future__", "#"))
    home.store.run(lambda tx: store_dag(tx, moved, folder))
    home.store.wake("scheduler")
    assert home.finish("team_dag") == "success"
    assert "shared\n" in home.log("team_dag")


def test_a_file_that_changes_while_it_is_imported_is_imported_again(home: Home) -> None:
    gate = home.folder / "gate"
    preamble = f"""
from pathlib import Path
if Path({str(gate)!r}).exists():
    Path({str(gate)!r}).unlink()
    while not Path({str(gate)!r} + '.open').exists():
        time.sleep(0.01)
"""
    path = home.add(
        "gated", "PythonOperator(task_id='t', python_callable=lambda: print('version 1'))", preamble=preamble
    )
    gate.touch()
    first = home.trigger("gated")
    wait_until(lambda: not gate.exists(), "the import")
    path.write_text(path.read_text().replace("version 1", "version 2"))
    Path(f"{gate}.open").touch()
    assert home.wait("gated", first) == "success"
    assert home.finish("gated") == "success"
    assert "version 2" in home.log("gated")


def test_a_file_that_has_vanished_is_told_by_name(home: Home) -> None:
    assert python(home, "vanishes", "pass") == "success"
    (home.settings.core.dags_folder / "vanishes.py").unlink()
    assert home.finish("vanishes") == "failed"
    attempt = home.last("vanishes")
    assert attempt.cause == "import"
    assert "vanishes.py cannot be imported: FileNotFoundError" in attempt.error


def test_an_import_that_hangs_fails_what_waits_for_it_and_leaves_no_process(hasty_home: Home) -> None:
    path = hasty_home.add("hangs", "PythonOperator(task_id='t', python_callable=lambda: None)")
    path.write_text("import subprocess, time\nsubprocess.Popen(['sleep', '991'])\ntime.sleep(600)\n")
    assert hasty_home.finish("hangs") == "failed"
    attempt = hasty_home.last("hangs")
    assert (attempt.cause, attempt.error) == ("import", f"{path} did not finish importing within 2 s")
    wait_until(lambda: not [p for p in hasty_home.everything() if "991" in p.cmdline()], "the end of what it started")


def test_an_import_that_exits_is_told(home: Home) -> None:
    path = home.add("exits", "PythonOperator(task_id='t', python_callable=lambda: None)")
    path.write_text("raise SystemExit(3)\n")
    assert home.finish("exits") == "failed"
    assert home.last("exits").error == f"{path} cannot be imported: SystemExit: 3"
    path.write_text("import os; os._exit(5)\n")
    assert home.finish("exits") == "failed"
    assert home.last("exits").error == f"importing {path} ended its process (exit code 5)"


def test_an_import_that_starts_a_thread_is_done_again_in_each_attempt(home: Home) -> None:
    preamble = """
import threading
print('imported in', os.getpid())
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
    assert python(home, "threads", "print('runs in', os.getpid())", preamble=preamble) == "success"
    words = home.log("threads").split()
    pids = [words[i + 1] for i, word in enumerate(words) if word == "in"]
    assert pids[-1] == pids[-2]  # the attempt's own import


def test_what_an_import_prints_is_in_the_log_of_the_first_attempt(home: Home) -> None:
    preamble = "print('importing')\ndef call():\n    print('running')\n"
    path = home.add("prints", "PythonOperator(task_id='t', python_callable=call)", preamble=preamble)
    # A file that changed in the instant of its import is imported again for the next attempt.
    wait_until(lambda: time.time_ns() > path.stat().st_ctime_ns + 200_000_000, "the file to be old enough")
    assert home.finish("prints") == "success"
    assert home.log("prints").index("importing") < home.log("prints").index("running")
    assert home.finish("prints") == "success"
    assert "importing" not in home.log("prints")


def test_fifty_attempts_wait_for_one_import(home: Home) -> None:
    count = home.folder / "imports"
    preamble = f"""
with open({str(count)!r}, 'a') as file:
    file.write('.')
time.sleep(0.3)
"""
    home.add(
        "crowd",
        "for n in range(50):\n    PythonOperator(task_id=f't{n}', python_callable=lambda: None)",
        preamble=preamble,
    )
    count.write_text("")
    assert home.finish("crowd") == "success"
    assert {attempt.cause for attempt in home.attempts("crowd")} == {"success"}
    assert count.read_text() in (".", "..")  # twice where the file was written a moment ago


def test_a_task_that_overruns_while_its_file_is_imported_fails_alone(home: Home) -> None:
    gate = home.folder / "slow_gate"
    home.add(
        "slow_import",
        """
        PythonOperator(task_id='hasty', python_callable=lambda: None, execution_timeout=timedelta(seconds=0.3))
        PythonOperator(task_id='patient', python_callable=lambda: print('patient ran'))
        """,
        preamble=f"while os.path.exists({str(gate)!r}): time.sleep(0.01)\n",
    )
    gate.touch()
    run_id = home.trigger("slow_import")
    wait_until(lambda: home.ended("slow_import") == 1, "the hasty one's end")
    gate.unlink()
    assert home.wait("slow_import", run_id) == "failed"
    assert home.states("slow_import") == {"hasty": "failed", "patient": "success"}
    assert home.last("slow_import", "hasty").cause == "timeout"
