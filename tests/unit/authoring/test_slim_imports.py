"""Every attempt and parse process pays for what these modules import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["sqlalchemy", "pendulum", "croniter", "jinja2", "rich", "click", "starlette", "apprise", "asyncio", "statsd"]


def imported_by(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


def test_importing_engine_imports_nothing_else() -> None:
    program = "import engine, sys\nprint(*(name for name in sys.modules if name.startswith('engine.')))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "code",
    [
        "from engine import DAG, BashOperator, PythonOperator, EmptyOperator, task",
        "import engine.authoring.loader, engine.authoring.context, engine.authoring.templating",
        "import engine.authoring.serialize, engine.authoring.execution",
    ],
)
def test_authoring_stays_slim(code: str) -> None:
    assert imported_by(code).isdisjoint(HEAVY)


def test_the_parse_server_knows_cron_but_neither_database_nor_templates() -> None:
    heavy = set(HEAVY) - {"croniter"}
    assert imported_by("import engine.parsing.child").isdisjoint(heavy)
