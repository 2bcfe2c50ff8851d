"""User code that is imported to be parsed sees no secret setting in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine.metastore.store import Store
from tests.servers.processes import wait_until

ROOT = Path(__file__).parents[3]
DAG = """
import os, pathlib
from engine import DAG

seen = pathlib.Path(__file__).with_name("seen.txt")
seen.with_suffix(".part").write_text("\\n".join(f"{name}={value}" for name, value in os.environ.items()))
seen.with_suffix(".part").rename(seen)
with DAG("spy", schedule=None):
    pass
"""


def test_a_dag_file_sees_no_secret_setting(tmp_path: Path, sqlite_url: str) -> None:
    dags = tmp_path / "dags"
    dags.mkdir(parents=True)
    (dags / "spy.py").write_text(DAG)
    (tmp_path / "alerting.yml").write_text("channels: {ops: env:OPS_ROOM}\nroute: {receiver: settings, wrong: key}\n")
    Store(sqlite_url).check()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WINDSOCK_HOME": str(tmp_path),
        "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": sqlite_url,
        "WINDSOCK__SMTP__SMTP_PASSWORD": "correct-horse",
        "WINDSOCK__ALERTING__APPRISE_URLS": "json://user:battery-staple@localhost/",
        "WINDSOCK__METRICS__STATSD_ON": "false",
        "WINDSOCK__ALERTING__HEARTBEAT_URL": "env:PING",
        "PING": "https://ping.example.org/horse-staple",
        "OPS_ROOM": "json://127.0.0.1/battery-horse",
        "AN_ORDINARY_VARIABLE": "is there",
    }
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", "dag-processor"], env=environment, cwd=ROOT)
    try:
        wait_until((dags / "seen.txt").exists, "the import", timeout=60)
    finally:
        process.terminate()
        process.wait(timeout=60)
    seen = (dags / "seen.txt").read_text()
    assert "AN_ORDINARY_VARIABLE=is there" in seen
    assert "correct-horse" not in seen
    assert "battery-staple" not in seen
    assert "horse-staple" not in seen
    assert "battery-horse" not in seen
    assert sqlite_url not in seen
