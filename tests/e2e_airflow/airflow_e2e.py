"""A real Airflow, its StatsD and its database read into a real Prometheus, held against its database's own counts.

Run by `make e2e-airflow`, not by `make test`: it installs two Airflows (1.5 GB) and takes about fifteen minutes.
With WINDSOCK_E2E_RECORD=folder it keeps what was sent and counted, as tests/data/ has it.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters.generate import PACKAGE_DIR
from exporters.mapping import flavour_for
from exporters.signal import Mode
from tests.e2e_airflow.boards import Question, questions
from tests.e2e_airflow.installation import RELEASES, Release
from tests.e2e_airflow.running import Recorder, RunningAirflow
from tests.e2e_airflow.truth import METASTORE_TRUTHS, PARALLELISM, Truth, truths
from tests.servers.binaries import ROOT, require
from tests.servers.bridges import bridge_serving
from tests.servers.databases import PostgreSQL
from tests.servers.processes import ServerProcess, free_port

logger = logging.getLogger(__name__)

RECORD = os.environ.get("WINDSOCK_E2E_RECORD", "")
AGREEMENT_SECONDS = 60.0
"""Some gauges are sent every 30 s."""


class Queries:
    """Asks a Prometheus."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def vector(self, promql: str) -> list[dict[str, Any]]:
        url = f"{self._base}/query?{urllib.parse.urlencode({'query': promql})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])

    def answers(self, promql: str, since: float) -> int:
        """How many series the question has had since then, as a panel over this time would draw them."""
        asked = {"query": promql, "start": f"{since:.0f}", "end": f"{time.time():.0f}", "step": "5"}
        url = f"{self._base}/query_range?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return len(json.load(answer)["data"]["result"])

    def number(self, promql: str) -> float:
        """The one number; 0 where there is no series."""
        return sum(float(row["value"][1]) for row in self.vector(promql))

    def names(self) -> set[str]:
        with urllib.request.urlopen(f"{self._base}/label/__name__/values", timeout=10) as answer:
            return set(json.load(answer)["data"])

    def ready(self) -> bool:
        try:
            return bool(self.vector("up"))
        except OSError:
            return False


@dataclass
class Observed:
    """What one run of Airflow told and counted."""

    release: Release
    mode: Mode
    counted: dict[str, float]
    told: dict[str, float]
    boards: dict[Question, int] = field(default_factory=dict)  # answers
    names: set[str] = field(default_factory=set)
    refused: float = 0.0
    executor_slots: list[dict[str, Any]] = field(default_factory=list)
    loop_seconds: float = 0.0


@contextmanager
def metastore_exporter_serving(database: str, folder: Path) -> Iterator[int]:
    """The port of `windsock exporter --metastore --airflow`."""
    port = free_port()
    settings = (
        f"WINDSOCK_HOME={folder}",
        f"PYTHONPATH={ROOT}",
        f"WINDSOCK__EXPORTER__METASTORE_PORT={port}",
        "WINDSOCK__EXPORTER__METASTORE_CACHE_SECONDS=1",
    )
    command = [sys.executable, "-m", "engine.cli", "exporter", "--metastore", "--airflow", database]
    server = ServerProcess(["/usr/bin/env", *settings, *command], folder)
    try:
        server.wait_ready(lambda: _answers(port), "the metastore exporter")
        yield port
    finally:
        server.stop()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def prometheus_serving(statsd_port: int, metastore_port: int, folder: Path) -> Iterator[Queries]:
    """A Prometheus with the committed configuration and rules, which scrapes these two exporters."""
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(_configuration(statsd_port, metastore_port), encoding="utf-8")
    command = [
        require("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = ServerProcess(command, folder)
    queries = Queries(port)
    try:
        server.wait_ready(queries.ready, "Prometheus")
        yield queries
    finally:
        server.stop()


def _configuration(statsd_port: int, metastore_port: int) -> str:
    document = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (statsd,) = [job for job in document["scrape_configs"] if job["job_name"] == "windsock"]
    statsd["static_configs"] = [{"targets": [f"127.0.0.1:{statsd_port}"]}]
    metastore = {"job_name": "windsock-metastore", "static_configs": [{"targets": [f"127.0.0.1:{metastore_port}"]}]}
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
            "rule_files": [str(ROOT / "prometheus" / "rules" / "*.yml")],
            "scrape_configs": [statsd, metastore],
        }
    )


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[(name, mode) for name in RELEASES for mode in Mode], ids="-".join)
def observed(
    request: pytest.FixtureRequest, postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Observed:
    """One run of every release in every mode, one after the other."""
    name, mode = request.param
    release = RELEASES[name]
    release.install()
    home = tmp_path_factory.mktemp(f"airflow-{name}-{mode}")
    folders = [home / folder for folder in ("airflow", "exporter", "prometheus")]
    for folder in folders:
        folder.mkdir()
    database, began = postgresql.create(), time.time()
    with bridge_serving(PACKAGE_DIR / flavour_for(release.emitter, mode)) as (statsd_port, web_port):
        recorder = Recorder(statsd_port)
        try:
            with (
                RunningAirflow(release, mode, folders[0], database, recorder.port) as airflow,
                metastore_exporter_serving(database, folders[1]) as metastore_port,
                prometheus_serving(web_port, metastore_port, folders[2]) as queries,
            ):
                airflow.wait_for_runs()
                seen = observe(airflow, mode, queries, began)
        finally:
            recorder.stop()
    if RECORD:
        keep(Path(RECORD), seen, recorder)
    return seen


def observe(airflow: RunningAirflow, mode: Mode, queries: Queries, began: float) -> Observed:
    """Wait until the series agree with the database, or for as long as they have; then read everything once."""
    expected = everything(airflow.release)
    counted = {each.name: airflow.count(each.sql) for each in expected}
    wait_patiently(lambda: agree(expected, counted, queries) and _idle(queries))
    told = {each.name: queries.number(each.promql) for each in expected}
    return Observed(
        airflow.release,
        mode,
        counted,
        told,
        boards={each: queries.answers(each.promql, began) for each in questions()},
        names=queries.names(),
        refused=queries.number("sum(statsd_exporter_events_error_total) + sum(statsd_exporter_sample_errors_total)"),
        executor_slots=queries.vector("airflow_executor_open_slots"),
        loop_seconds=queries.number(
            "sum(airflow_scheduler_scheduler_loop_duration_sum) / sum(airflow_scheduler_scheduler_loop_duration_count)"
        ),
    )


def everything(release: Release) -> list[Truth]:
    return [*truths(major=release.name[0]), *METASTORE_TRUTHS]


def agree(expected: list[Truth], counted: dict[str, float], queries: Queries) -> bool:
    return all(each.holds(queries.number(each.promql), counted[each.name]) for each in expected)


def _idle(queries: Queries) -> bool:
    return queries.number("airflow_executor_open_slots") == PARALLELISM


def wait_patiently(condition: Callable[[], bool]) -> None:
    """A difference that stays is for the tests to tell."""
    end = time.monotonic() + AGREEMENT_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(1)


def keep(folder: Path, seen: Observed, recorder: Recorder) -> None:
    """The lines and the counts, for the tests that run without an Airflow."""
    stem = folder / f"airflow-{seen.release.name}-{seen.mode}"
    text = "".join(f"{at:.3f} {line}\n" for at, line in recorder.lines)
    stem.with_name(f"{stem.name}.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    counted = {each.name: seen.counted[each.name] for each in truths(major=seen.release.name[0])}
    stem.with_name(f"{stem.name}.counts.json").write_text(json.dumps(counted, indent=2) + "\n", encoding="utf-8")


def test_the_series_say_what_airflows_database_counts(observed: Observed) -> None:
    expected = everything(observed.release)
    for each in expected:
        logger.info(
            "%-36s told %12.3f, counted %12.3f", each.name, observed.told[each.name], observed.counted[each.name]
        )
    wrong = {
        each.name: (observed.told[each.name], observed.counted[each.name])
        for each in expected
        if not each.holds(observed.told[each.name], observed.counted[each.name])
    }
    assert not wrong


def test_the_executors_free_slots_are_told_once(observed: Observed) -> None:
    assert [float(row["value"][1]) for row in observed.executor_slots] == [PARALLELISM]


def test_a_loop_of_the_scheduler_takes_a_time_that_can_be(observed: Observed) -> None:
    assert 0.001 < observed.loop_seconds < 30, "wrong by a thousand where seconds are taken for milliseconds"


def test_no_sample_was_refused(observed: Observed) -> None:
    assert observed.refused == 0


def test_every_panel_answers_that_this_airflow_has_signals_for(observed: Observed) -> None:
    if not observed.boards:
        pytest.skip("no boards are generated: windsock generate")
    silent = [question for question, answers in observed.boards.items() if not answers]
    unexplained = []
    for question in silent:
        why = why_silent(question, observed)
        logger.info("%s, %s: no answer: %s", question.board, question.panel, why or question.promql)
        unexplained += [] if why else [(question.board, question.panel, question.promql)]
    logger.info("%d of %d questions of the boards answered", len(observed.boards) - len(silent), len(observed.boards))
    assert not unexplained
    assert len(silent) < len(observed.boards)


def why_silent(question: Question, observed: Observed) -> str:
    """A good reason for an empty answer, or nothing."""
    signals = question.signals
    if signals is None:
        return "asks for other exporters or for recordings too"
    if not all(observed.release.emitter & signal.emitters for signal in signals):
        return "this version does not send it"
    if not question.families <= observed.names:
        return "of events that this run does not make"
    if question.shows_only_what_is_wrong:
        return "shows only what is wrong"
    return "plain mode has not these labels" if question.asks_for_lost_labels(observed.mode) else ""


def test_no_id_has_become_a_part_of_a_series_name(observed: Observed) -> None:
    assert not [name for name in observed.names if "e2e" in name]
