"""Each process of a house pays in memory for what its entry imports: it must not load what only others use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from engine.metastore.database import Database
from engine.stack import forked

HEAVY = {
    "alembic",
    "anyio",
    "apprise",
    "asyncio",
    "boto3",
    "click",
    "croniter",
    "jinja2",
    "markdown_it",
    "multiprocessing",
    "pendulum",
    "prometheus_client",
    "psutil",
    "psycopg",
    "pymysql",
    "re2",
    "requests",
    "rich",
    "smtplib",
    "sqlalchemy",
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
    "starlette",
    "uvicorn",
    "yaml",
}
DATABASE = {"sqlalchemy", "sqlalchemy.orm", "asyncio"}  # whose own dialect comes with the URL
ROUTES = {"yaml", "re2"}  # alerting.yml

USED = {
    "engine.stack.stay": set(),
    "engine.stack.supervise": set(),
    "engine.executors.supervise": set(),
    "engine.running.attempt": set(),
    "engine.running.callbacks": set(),
    "engine.parsing.child": {"croniter"},
    "engine.scheduling.scheduler": DATABASE | ROUTES,
    "engine.cli.processing": DATABASE | ROUTES,
    "engine.running.log_shipper": DATABASE,
    "engine.running.notifier": DATABASE | ROUTES | {"jinja2", "smtplib"},
    "engine.web.app": DATABASE | ROUTES | {"anyio", "click", "jinja2", "multiprocessing", "starlette", "uvicorn"},
    "exporters.bridge": {"prometheus_client", "re2", "yaml"},
    "exporters.metastore.service": {"prometheus_client"},
    "exporters.metastore.reader": {"prometheus_client", "sqlalchemy", "asyncio"},
}


def imported_by(*entries: str) -> set[str]:
    return modules_after(f"for name in {entries}: __import__(name)")


def modules_after(code: str) -> set[str]:
    """What an interpreter of its own has loaded then."""
    program = f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("entry", list(USED))
def test_a_process_imports_nothing_heavy_but_what_it_uses(entry: str) -> None:
    assert (imported_by(entry) & HEAVY) - USED[entry] == set()


def test_what_the_components_share_is_heavy_only_with_what_one_of_them_uses() -> None:
    used = set().union(*(USED[entry] for entry in forked._SERVED if entry in USED), {"click"})
    assert (imported_by(forked._COMMAND, *forked._SERVED) & HEAVY) - used == set()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sqlite:////tmp/windsock.db", {"sqlalchemy.dialects.sqlite.pysqlite", "sqlite3.dbapi2"}),
        ("postgresql://host/database", {"sqlalchemy.dialects.postgresql.psycopg", "psycopg"}),
        ("mysql://host/database", {"sqlalchemy.dialects.mysql.pymysql", "pymysql"}),
    ],
)
def test_components_share_the_dialect_and_the_driver_of_their_database(
    url: str, named: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = Database(url).modules
    assert named < set(modules)
    monkeypatch.setenv("WINDSOCK__DATABASE__SQL_ALCHEMY_CONN", url)
    assert set(modules) <= modules_after("from engine.stack import forked\nforked.import_ahead(enough=lambda: False)")
    monkeypatch.delenv("WINDSOCK__DATABASE__SQL_ALCHEMY_CONN")
    assert set(modules) <= modules_after(f"from engine.stack import forked\nassert forked.prepare({modules})")


def test_a_supervisor_imports_ahead_all_that_components_share_and_stops_when_it_is_told() -> None:
    called = "from engine.stack import forked\nforked.import_ahead(enough=lambda: {})"
    assert set(forked._NEEDED) <= modules_after(called.format(False))
    assert not set(forked._NEEDED) & modules_after(called.format(True))
