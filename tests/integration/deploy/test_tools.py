"""What docker compose and the programs in it say of their files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.stack.compose import FOLDER
from tests.servers.binaries import ROOT, require
from tests.servers.compose import compose_config, copied_into_the_image, example, services, variables

GENERATED = ROOT / FOLDER
REQUIRED = sorted(name for name, how in variables().items() if how == "?")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in variables()}
    return subprocess.run(command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, timeout=60)


def config(**values: str) -> subprocess.CompletedProcess[str]:
    """``docker compose config`` with these variables and no .env of whoever runs the tests."""
    return run(*compose_config(), **values)


def test_docker_compose_accepts_the_file_with_the_example_filled_in() -> None:
    done = config(**{name: value or "secret0" for name, value in example().items()})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["services"]
    assert set(found) == set(services())
    assert found["scheduler"]["environment"]["WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"] == (
        "postgresql://windsock:secret0@postgres/windsock"
    )


@pytest.mark.parametrize("missing", REQUIRED)
def test_docker_compose_says_which_password_is_missing(missing: str) -> None:
    done = config(**{name: "secret0" for name in REQUIRED if name != missing})
    assert done.returncode != 0
    assert f"{missing} is missing a value: set it in .env, see .env.example" in done.stderr


def test_prometheus_accepts_its_configuration_and_rules(promtool: Path) -> None:
    done = run(promtool, "check", "config", GENERATED / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule files found" in done.stdout


def test_alertmanager_accepts_its_configuration() -> None:
    done = run(require("amtool"), "check-config", GENERATED / "alertmanager" / "alertmanager.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "receiver"), [("WindsockAlertmanagerDown", "windsock"), ("WindsockWatchdog", "watchdog")]
)
def test_alerts_are_handed_on_and_the_watchdog_more_often(alert: str, receiver: str) -> None:
    file = f"--config.file={GENERATED / 'alertmanager' / 'alertmanager.yml'}"
    done = run(require("amtool"), "config", "routes", "test", file, f"alertname={alert}", "severity=critical")
    assert done.stdout.strip() == receiver


def test_the_blackbox_exporter_accepts_its_modules() -> None:
    program = require("prometheus-blackbox-exporter")
    done = run(program, "--config.check", f"--config.file={GENERATED / 'blackbox' / 'blackbox.yml'}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_statsd_exporter_accepts_its_arguments_and_the_mapping(statsd_exporter: Path) -> None:
    (volume,) = services()["statsd-exporter"]["volumes"]
    source, target, _ = volume.split(":")
    arguments = [word.replace(target, str(ROOT / source)) for word in services()["statsd-exporter"]["command"]]
    done = run(statsd_exporter, "--check-config", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_all_that_windsock_needs(tmp_path: Path) -> None:
    """What the Dockerfile copies, and nothing else, is enough to be installed and to make a metastore."""
    app = tmp_path / "app"
    for path in copied_into_the_image():
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy2
        copy(ROOT / path, app / path)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
    built = run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", app)
    assert built.returncode == 0, built.stderr
    assert len(list((tmp_path / "wheels").glob("windsock-*.whl"))) == 1
    environment = {"PYTHONPATH": str(app), "WINDSOCK_HOME": str(tmp_path / "home")}
    for words in (("db", "upgrade"), ("db", "check"), ("generate", "--check", "--root", str(ROOT))):
        done = run(sys.executable, "-P", "-m", "engine.cli", *words, **environment)
        assert done.returncode == 0, done.stderr
    where = run(sys.executable, "-P", "-c", "import prometheus; print(prometheus.RUNBOOKS_DIR)", **environment)
    assert Path(where.stdout.strip()) == app / "docs" / "runbooks"


def test_a_role_for_monitoring_is_made_that_may_only_read_statistics(postgresql_url: str) -> None:
    """The script that the postgres image runs, before a server that is not the image's."""
    from urllib.parse import urlsplit

    at = urlsplit(postgresql_url)
    environment = {
        "POSTGRES_USER": str(at.username),
        "POSTGRES_DB": at.path.lstrip("/"),
        "MONITOR_PASSWORD": "it's 1 $secret",
        "PGHOST": str(at.hostname),
        "PGPORT": str(at.port),
        "PGPASSWORD": at.password or "",
    }
    query = "SELECT rolsuper, rolcreatedb, pg_has_role('monitor', 'pg_monitor', 'member') FROM pg_roles"
    ask = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--username", environment["POSTGRES_USER"])
    try:
        made = run(ROOT / "deploy" / "postgres" / "10-monitor.sh", **environment)
        assert made.returncode == 0, made.stderr
        found = run(*ask, "--command", f"{query} WHERE rolname = 'monitor'", environment["POSTGRES_DB"], **environment)
        assert found.stdout.strip() == "f|f|t"
    finally:
        run(*ask, "--command", "DROP ROLE IF EXISTS monitor", environment["POSTGRES_DB"], **environment)
