"""The real DAG processor on a real folder, its processes and its metastore."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from sqlalchemy import select

from engine import config
from engine.authoring.serialized import decode_dag
from engine.metastore.store import Store
from engine.metastore.tables import Dag, DagFile, DagVersion
from engine.parsing.processor import DagProcessor, examples_folder
from exporters.catalogue import CATALOGUE
from tests.contract.metastore.told import told

DEADLINE_SECONDS = 120.0
GOOD = """
from datetime import datetime
from engine import DAG, BashOperator
with DAG("{dag_id}", schedule="@daily", start_date=datetime(2026, 1, 1)):
    BashOperator(task_id="a", bash_command="{command}")
"""


class Signals:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, dict[str, object]]] = []
        self.gauges: dict[str, float] = {}
        self.timings: list[tuple[str, float, dict[str, object]]] = []

    def incr(self, name: str, n: int = 1, /, **tags: object) -> None:
        self.counts.append((name, tags))

    def gauge(self, name: str, value: float, /, **tags: object) -> None:
        self.gauges[name] = value

    def timing(self, name: str, seconds: float, /, **tags: object) -> None:
        self.timings.append((name, seconds, tags))


class Bench:
    """A DAG folder, a metastore, and a processor between them."""

    def __init__(self, home: Path, url: str, **changes: str) -> None:
        (home / "dags").mkdir(parents=True, exist_ok=True)
        environ = {
            "WINDSOCK_HOME": str(home),
            "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": url,
            "WINDSOCK__CORE__LOAD_EXAMPLES": "false",
            "WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL": "0.1",
        }
        self.settings = config.load(environ | {f"WINDSOCK__{key}".upper(): value for key, value in changes.items()})
        self.store = Store(url)
        self.signals = Signals()
        self.heartbeats = 0
        self.processor = DagProcessor(self.settings, self.store, self.signals, self._beat)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.processor.run, args=(self.stop,))

    def _beat(self) -> None:
        self.heartbeats += 1

    @property
    def folder(self) -> Path:
        return self.settings.core.dags_folder

    def write(self, name: str, text: str | bytes) -> Path:
        """Put a file in place in one step, so that no half of it is parsed."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        draft.replace(path)
        return path

    def good(self, name: str, dag_id: str, command: str = "true") -> Path:
        return self.write(name, GOOD.format(dag_id=dag_id, command=command))

    def start(self) -> None:
        self.thread.start()

    def wait(self, condition: Callable[[], Any]) -> Any:
        """What `condition` returns once it is true."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := condition()):
            assert self.thread.is_alive(), "the processor has died"
            assert time.monotonic() < deadline, f"in vain: {self.dags()} {self.errors()}"
            self.stop.wait(0.02)
        return found

    def settled(self) -> None:
        """Wait until everything that was there at the start has been parsed and stored."""
        self.wait(lambda: self.processor.rounds)

    def dags(self) -> dict[str, tuple[str, bool]]:
        """dag_id → file name and whether it is active."""
        with self.store.read() as connection:
            rows = connection.execute(select(Dag.dag_id, Dag.fileloc, Dag.is_active))
            return {row.dag_id: (Path(row.fileloc).name, row.is_active) for row in rows}

    def errors(self) -> dict[str, Any]:
        """File name → its row, of the files with an error."""
        with self.store.read() as connection:
            rows = connection.execute(select(DagFile).where(DagFile.error.is_not(None)))
            return {Path(row.path).name: row for row in rows}

    def log(self, name: str, until: str = "") -> str:
        """The log of a DAG file, which is written after its row is stored: once it is there and tells `until`."""
        path = self.settings.logging.base_log_folder / "scheduler" / "latest" / f"{name}.log"
        self.wait(lambda: path.exists() and until in path.read_text())
        return path.read_text()

    def close(self) -> None:
        self.stop.set()
        self.processor.wake()
        if self.thread.ident:
            self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive()
        self.store.close()


@pytest.fixture
def make_bench(tmp_path: Path, sqlite_url: str) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**changes: str) -> Bench:
        benches.append(Bench(tmp_path, sqlite_url, **changes))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


CYCLE = """from engine import DAG, EmptyOperator
with DAG("c"):
    a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
    a >> b >> a
"""
BAD: dict[str, tuple[str | bytes, int | None, str, str]] = {
    # file: content, line, what the summary says, what the remedy says
    "syntax.py": ("from engine import DAG\n\ndef broken(:\n", 3, "Line 3: SyntaxError: invalid syntax", "line 3"),
    "raises.py": ("from engine import DAG\nDAG('x')\n{}['key']\n", 3, "Line 3: KeyError: 'key'", "line 3"),
    "hangs.py": (
        "from engine import DAG\nimport time\ntime.sleep(600)\n",
        3,
        "Line 3: the import was stopped",
        "TIMEOUT",
    ),
    "spins.py": ("from engine import DAG\nwhile True:\n    pass\n", None, "import was stopped after 6 s", "TIMEOUT"),
    "cycle.py": (
        CYCLE,
        3,
        "a >> b >> a",
        "Remove one of the arrows",
    ),
    "cron.py": ("from engine import DAG\n\nDAG('cron', schedule='61 * * * *')\n", 3, "61 * * * *", "Write five fields"),
    "big.py": (b"# dag engine\n" + b"#" * 5_000_000, None, "5,000,013 bytes", "MAX_FILE_BYTES"),
    "latin.py": ("from engine import DAG\nx = 'é'\n".encode("latin-1"), 2, "not UTF-8", "Save the file as UTF-8"),
    "exits.py": ("from engine import DAG\nimport os\nos._exit(7)\n", None, "exit status 7", "os._exit()"),
    "crashes.py": ("from engine import DAG\nimport ctypes\nctypes.string_at(0)\n", 3, "SIGSEGV", "compiled module"),
    "killed.py": (
        "from engine import DAG\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
        None,
        "SIGKILL",
        "memory",
    ),
    "other_engine.py": (
        "# a dag\nfrom airflow.providers.http.operators.http import HttpOperator\n",
        2,
        "nothing in place of Airflow's module 'airflow.providers.http'",
        "docs/authoring.md",
    ),
    "no_start.py": ("from engine import DAG\nd = DAG('ns', schedule='@daily')\n", 2, "no start_date", "start_date="),
}


def test_each_bad_file_is_told_by_line_and_remedy_and_the_good_ones_run(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(core__dagbag_import_timeout="6")
    for name, (content, *_) in BAD.items():
        bench.write(name, content)
    bench.good("a_good.py", "good")
    bench.good("z_good.py", "also_good")
    (bench.folder / "unreadable.py").symlink_to("/proc/self/mem")
    for name in ("loop", "loop.py"):
        (bench.folder / name).symlink_to(name)
    bench.start()
    bench.settled()
    errors = bench.errors()
    assert {dag_id for dag_id, (_, active) in bench.dags().items() if active} == {"good", "also_good"}
    assert errors.keys() == {*BAD, "unreadable.py", "loop.py"}
    for name, (_, line, summary, remedy) in BAD.items():
        row = errors[name]
        assert summary in row.error_summary, name
        assert remedy in row.error_remedy, name
        assert row.error_since is not None
        if line:
            assert row.error_line == line, name
        log = bench.log(name)
        assert f"ERROR: {row.error_summary}" in log
        assert f"What to do: {row.error_remedy}" in log
    assert "time.sleep" not in errors["hangs.py"].error_summary
    assert 'hangs.py", line 3' in errors["hangs.py"].error
    assert errors["unreadable.py"].error_summary.startswith("The file cannot be read")
    bench.wait(lambda: bench.signals.gauges.get("dag_processing.import_errors") == len(errors))  # told after the round
    bench.wait(lambda: bench.signals.gauges.get("dagbag_size") == 2)
    timeouts = {tags["file_path"] for name, tags in bench.signals.counts if name.endswith("processor_timeouts")}
    assert timeouts == {"hangs.py", "spins.py"}


def test_a_dag_is_stored_as_the_schema_tells(bench: Bench) -> None:
    path = bench.good("team/one.py", "one")
    bench.start()
    bench.settled()
    with bench.store.read() as connection:
        stored = decode_dag(connection.execute(select(DagVersion.data)).scalar_one())
    assert (stored.dag_id, stored.fileloc, stored.tasks[0].kind) == ("one", str(path), "bash")
    assert "DAG one: new." in bench.log("team/one.py")


def test_a_change_is_seen_at_the_next_look_and_a_deletion_too(bench: Bench) -> None:
    bench.good("one.py", "one")
    path = bench.good("two.py", "two")
    bench.start()
    bench.settled()
    bench.good("one.py", "renamed")
    bench.wait(lambda: bench.dags().get("renamed"))
    assert bench.dags()["one"] == ("one.py", False)
    path.unlink()
    bench.wait(lambda: bench.dags()["two"] == ("two.py", False))
    assert bench.log("two.py", until="The file is gone")
    assert bench.dags()["renamed"] == ("one.py", True)


def test_a_mistake_keeps_the_last_good_version_in_service_until_it_is_mended(bench: Bench) -> None:
    bench.good("one.py", "one")
    bench.start()
    bench.settled()
    bench.write("one.py", "from engine import DAG\noops(")
    bench.wait(bench.errors)
    assert bench.dags()["one"] == ("one.py", True)
    bench.good("one.py", "one", "echo mended")
    bench.wait(lambda: not bench.errors())
    assert bench.log("one.py", until="DAG one: changed.")


def test_a_change_in_a_module_that_a_dag_file_imports_is_seen(bench: Bench) -> None:
    bench.write("shared/names.py", "NAME = 'first'\n")
    bench.write("one.py", "from engine import DAG\nfrom shared.names import NAME\nd = DAG(NAME)\n")
    bench.start()
    bench.settled()
    assert "first" in bench.dags()
    bench.write("shared/names.py", "NAME = 'second_name'\n")
    bench.wait(lambda: "second_name" in bench.dags())


@pytest.mark.parametrize(
    "imports",
    ["from shared.names import NAME", "from shared import names; NAME = names.NAME"],
    ids=["module", "package"],
)
@pytest.mark.parametrize("sibling", [False, True], ids=["no folder", "a folder"])
def test_a_module_that_was_missing_is_seen_when_it_comes(
    make_bench: Callable[..., Bench], imports: str, sibling: bool
) -> None:
    bench = make_bench(scheduler__min_file_process_interval="600")
    bench.write("one.py", f"from engine import DAG\n{imports}\nd = DAG(NAME)\n")
    if sibling:
        bench.write("shared/__init__.py", "")
    bench.start()
    bench.wait(bench.errors)
    bench.write("shared/names.py", "NAME = 'first'\n")
    bench.wait(lambda: "first" in bench.dags())
    bench.wait(lambda: not bench.errors())


def test_a_change_in_a_module_that_an_ignore_file_leaves_out_is_seen(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(scheduler__min_file_process_interval="600")
    bench.write(".airflowignore", "shared/\n")
    bench.write("shared/names.py", "NAME = 'first'\n")
    bench.write("one.py", "from engine import DAG\nfrom shared.names import NAME\nd = DAG(NAME)\n")
    bench.start()
    bench.settled()
    assert "first" in bench.dags()
    bench.write("shared/names.py", "NAME = 'second_name'\n")
    bench.wait(lambda: "second_name" in bench.dags())


def test_a_module_that_breaks_its_importer_is_seen_when_it_is_mended(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(scheduler__min_file_process_interval="600")
    bench.write("shared/names.py", "oops(\n")
    bench.write("one.py", "from engine import DAG\nfrom shared.names import NAME\nd = DAG(NAME)\n")
    bench.start()
    bench.wait(bench.errors)
    bench.write("shared/names.py", "from shared.more import NAME\n")
    bench.wait(lambda: "shared.more" in (bench.errors()["one.py"].error))
    bench.write("shared/more.py", "NAME = 1 / 0\n")
    bench.wait(lambda: "ZeroDivisionError" in (bench.errors()["one.py"].error))
    bench.write("shared/more.py", "NAME = 'first'\n")
    bench.wait(lambda: "first" in bench.dags())


def test_the_first_owner_keeps_a_dag_id_until_it_lets_go(bench: Bench) -> None:
    bench.good("b_first.py", "same")
    bench.start()
    bench.settled()
    bench.good("a_second.py", "same", "echo second")
    row = bench.wait(lambda: bench.errors().get("a_second.py"))
    assert "b_first.py" in row.error_summary
    assert "a_second.py" in row.error_summary
    assert "another dag_id" in row.error_remedy
    assert bench.dags() == {"same": ("b_first.py", True)}
    log = bench.log("a_second.py", until="is already used by")
    assert log.count("is already used by") == 1
    assert "DAG same: " not in log
    (bench.folder / "b_first.py").unlink()
    bench.wait(lambda: bench.dags() == {"same": ("a_second.py", True)})
    bench.wait(lambda: not bench.errors())


def test_what_an_import_prints_goes_to_its_log_and_does_not_block_it(bench: Bench) -> None:
    code = "from engine import DAG\nimport logging\nprint('hello from the import')\nlogging.info('logged')\n"
    bench.write("loud.py", code + "for _ in range(50_000): print('x' * 80)\nd = DAG('loud')\n")
    bench.start()
    bench.settled()
    log = bench.log("loud.py")
    assert "hello from the import" in log
    assert "logged" in log
    assert len(log) < 100_000
    assert "loud" in bench.dags()


def test_secrets_are_masked_in_logs(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(smtp__smtp_password="correct-horse-battery")
    bench.write("leak.py", "from engine import DAG\nprint('it is correct-horse-battery')\nd = DAG('leak')\n")
    bench.start()
    bench.settled()
    assert "correct-horse-battery" not in bench.log("leak.py")


def test_a_folder_that_goes_away_switches_nothing_off(bench: Bench) -> None:
    bench.good("one.py", "one")
    bench.start()
    bench.settled()
    bench.folder.rename(bench.folder.with_name("unmounted"))
    looks = len([name for name, _ in bench.signals.counts if name.endswith("queue_update_count")])
    bench.wait(lambda: len([n for n, _ in bench.signals.counts if n.endswith("queue_update_count")]) > looks + 2)
    assert bench.dags()["one"] == ("one.py", True)


def test_files_that_vanished_while_nobody_looked_are_forgotten_at_the_start(make_bench: Callable[..., Bench]) -> None:
    first = make_bench()
    path = first.good("one.py", "one")
    first.good("two.py", "two")
    first.start()
    first.settled()
    first.close()
    path.unlink()
    second = make_bench()
    second.start()
    second.wait(lambda: second.dags() == {"one": ("one.py", False), "two": ("two.py", True)})


def test_a_parse_server_that_dies_is_replaced(bench: Bench) -> None:
    bench.write(
        "murder.py", "from engine import DAG\nimport os\nos.kill(os.getppid(), 9)\nimport time\ntime.sleep(60)\n"
    )
    bench.good("one.py", "one")
    bench.start()
    bench.settled()
    assert "died twice" in bench.errors()["murder.py"].error_summary
    assert bench.dags() == {"one": ("one.py", True)}


def test_unchanged_files_are_parsed_again_after_their_interval(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(scheduler__min_file_process_interval="0.2")
    bench.good("one.py", "one")
    bench.start()
    bench.wait(lambda: bench.processor.rounds >= 3)
    assert "DAG one: unchanged." in bench.log("one.py")


def test_the_table_of_files_and_the_signals_tell_the_state(bench: Bench) -> None:
    path = bench.good("team/one.py", "one")
    bench.start()
    bench.settled()
    table = bench.settings.logging.base_log_folder / "dag_processor_manager" / "dag_processor_manager.log"
    bench.wait(lambda: table.exists() and f"{path} " in table.read_text())
    bench.wait(lambda: bench.heartbeats)
    actions = [tags["action"] for name, tags in bench.signals.counts if name == "dag_processing.processes"]
    assert actions == ["start", "finish"]
    assert [tags for name, _, tags in bench.signals.timings if name == "dag_processing.last_duration"] == [
        {"file_name": "team.one"}
    ]
    assert bench.signals.gauges["dag_processing.total_parse_time"] > 0
    assert ("dag_processor_heartbeat", {}) in bench.signals.counts
    emitted = {name for name, _ in bench.signals.counts} | bench.signals.gauges.keys()
    assert emitted <= CATALOGUE.keys()


def test_the_scheduler_is_woken_when_something_changed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    monkeypatch.setattr(bench.store, "wake", woken.append)
    bench.good("one.py", "one")
    bench.start()
    bench.settled()
    assert woken == ["scheduler"]


def test_a_metastore_that_is_away_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = bench.store.run, iter([OSError("disk full")])

    def run(work: Callable[..., Any]) -> Any:
        if error := next(failures, None):
            raise error
        return real(work)

    monkeypatch.setattr(bench.store, "run", run)
    bench.good("one.py", "one")
    bench.start()
    bench.wait(lambda: bench.dags() == {"one": ("one.py", True)})


def test_a_file_that_the_metastore_refuses_holds_up_no_other(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with bench.store.begin() as tx:
        tx.connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON dag WHEN NEW.dag_id = 'refused' "
            "BEGIN SELECT RAISE(ABORT, 'no such DAG at db://me:hunter22@here'); END"
        )
    bench.good("a_bad.py", "refused", "echo a-secret-command")
    bench.good("one.py", "one")
    with caplog.at_level(logging.ERROR):
        bench.start()
        bench.wait(lambda: bench.dags() == {"one": ("one.py", True)})
        row = bench.wait(lambda: bench.errors().get("a_bad.py"))
    assert row.error_summary == "The metastore refuses what is in the file: no such DAG at db://me:********@here"
    assert "a-secret-command" not in caplog.text
    assert "hunter22" not in caplog.text
    assert "INSERT" not in caplog.text


def test_what_an_import_error_quotes_is_stored_and_told_without_the_secret(bench: Bench) -> None:
    bench.write("leaky.py", "from engine import DAG\nraise ValueError('db://me:hunter22@here is away')\n")
    bench.start()
    row = bench.wait(lambda: bench.errors().get("leaky.py"))
    (event,) = told(bench.store)
    for text in (row.error_summary, event.summary, event.error, bench.log("leaky.py", until="is away")):
        assert "db://me:********@here is away" in text
        assert "hunter22" not in text


def test_a_file_whose_name_is_not_utf_8_is_told_with_an_escaped_name(bench: Bench) -> None:
    bench.folder.mkdir(exist_ok=True)
    path = bench.folder / os.fsdecode(b"odd\xff.py")
    path.write_text(GOOD.format(dag_id="odd", command="true"))
    bench.good("one.py", "one")
    bench.start()
    bench.settled()
    assert bench.dags() == {"one": ("one.py", True)}
    assert "not UTF-8" in bench.errors()["odd\\xff.py"].error_summary
    path.unlink()
    bench.wait(lambda: not bench.errors())


def test_a_module_whose_name_is_not_utf_8_does_not_spoil_its_importer(bench: Bench) -> None:
    bench.folder.mkdir(exist_ok=True)
    (bench.folder / os.fsdecode(b"odd\xff.py")).write_text("NAME = 'named'\n")
    bench.write("one.py", "import importlib\nfrom engine import DAG\nDAG(importlib.import_module('odd\\udcff').NAME)\n")
    bench.start()
    bench.settled()
    assert "one.py" not in bench.errors()


@pytest.mark.parametrize("odd", ["a\\0b", "a\\ud800b", "\\x1b[31ma\\x1b[0mb"])
def test_an_error_message_with_odd_characters_is_stored_clean(bench: Bench, odd: str) -> None:
    bench.write("bad.py", f"from engine import DAG\nraise ValueError('{odd}')\n")
    bench.good("one.py", "one")
    bench.start()
    bench.settled()
    row = bench.errors()["bad.py"]
    assert row.error_summary in ("Line 2: ValueError: ab", "Line 2: ValueError: a\\ud800b")
    assert row.error_line == 2
    assert row.error.isprintable() or "\n" in row.error
    assert not {"\0", "\x1b"} & set(row.error)
    assert bench.dags() == {"one": ("one.py", True)}


def test_a_full_disk_costs_the_log_of_a_file_that_is_gone_and_nothing_else(bench: Bench) -> None:
    path = bench.good("gone.py", "gone")
    bench.start()
    bench.settled()
    log = bench.settings.logging.base_log_folder / "scheduler" / "latest" / "gone.py.log"
    log.unlink()
    log.symlink_to("/dev/full")
    path.unlink()
    bench.wait(lambda: bench.dags() == {"gone": ("gone.py", False)})
    bench.good("one.py", "one")
    bench.wait(lambda: "one" in bench.dags())


def test_the_examples_are_loaded_without_an_error(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(core__load_examples="true")
    bench.start()
    bench.settled()
    assert bench.errors() == {}
    examples = {"hello_world", "example_failure_callback", "example_failure_email", "example_sla", "example_git_pull"}
    assert examples <= bench.dags().keys()
    assert examples_folder() is not None
    assert "example_dags/hello_world.py" in {state.file.name for state in bench.processor._agenda.states.values()}


def test_an_email_that_is_no_address_is_warned_of_when_the_file_is_read(bench: Bench) -> None:
    bench.write(
        "mail.py",
        """
        from engine import DAG, BashOperator
        with DAG("mail", default_args={"email": "ops@"}):
            BashOperator(task_id="a", bash_command="true")
            BashOperator(task_id="b", bash_command="true", email=["good@example.org", "not an address"])
        """,
    )
    bench.start()
    bench.settled()
    log = bench.log("mail.py", "'ops@'")
    assert "DAG mail: task a: email has 'ops@', which is no mail address: nobody is told there." in log
    assert "DAG mail: task b: email has 'not an address', which is no mail address: nobody is told there." in log
    assert "mail" in bench.dags()


def test_a_pool_that_cannot_give_what_a_task_needs_is_warned_of(bench: Bench) -> None:
    bench.write(
        "pools.py",
        """
        from engine import DAG, BashOperator
        with DAG("pools"):
            BashOperator(task_id="a", bash_command="true", pool="nope")
            BashOperator(task_id="b", bash_command="true", pool_slots=129)
            BashOperator(task_id="c", bash_command="true")
        """,
    )
    bench.start()
    bench.settled()
    log = bench.log("pools.py", "'nope'")
    small = "a task needs 129 slots of the pool 'default_pool', which has 128, and waits until: "
    assert f"DAG pools: {small}windsock pools set default_pool 129." in log
    missing = "a task needs a slot of the pool 'nope', which is not there, and waits until: "
    assert f"DAG pools: {missing}windsock pools set nope 1." in log
    assert "pools" in bench.dags()
