"""Keeps the DAG folder at the newest commit of a branch: fetch, then ``git reset --hard origin/<branch>``.

Every five minutes, once you turn it on: ``windsock dags unpause example_git_pull``. It is paused at first because it
throws away local changes to tracked files in that folder.

Folder and branch are params; their defaults come from the environment of Windsock: ``DAGS_REPOSITORY`` (a clone, by
default the DAG folder below ``WINDSOCK_HOME``) and ``DAGS_BRANCH`` (by default ``main``). Try another branch once with
``windsock dags trigger example_git_pull --conf '{"branch": "staging"}'``.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import DAG, BashOperator

HOME = Path(os.environ.get("WINDSOCK_HOME") or Path.home() / "windsock")

# The params reach the shell as variables, not as text of the command, so that no value can become a command.
PULL = """
set -euo pipefail
cd "$REPOSITORY"
if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    echo "$REPOSITORY is not a git clone. Clone your DAGs there, or set the param 'repository'." >&2
    exit 1
fi
before=$(git rev-parse --short HEAD)
git fetch --quiet --prune origin "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH"
git reset --quiet --hard "origin/$BRANCH"
after=$(git rev-parse --short HEAD)
if [ "$before" = "$after" ]; then
    echo "Already at $after of origin/$BRANCH."
else
    echo "Moved from $before to $after of origin/$BRANCH:"
    git log --oneline "$before..$after" | head -n 20 || true
fi
"""

with DAG(
    dag_id="example_git_pull",
    description="Pulls the newest DAG code with git",
    schedule=timedelta(minutes=5),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    params={
        "repository": os.environ.get("DAGS_REPOSITORY", str(HOME / "dags")),
        "branch": os.environ.get("DAGS_BRANCH", "main"),
    },
    tags=["example", "operations"],
    doc_md=__doc__,
):
    BashOperator(
        task_id="pull",
        bash_command=PULL,
        env={
            "REPOSITORY": "{{ params.repository }}",
            "BRANCH": "{{ params.branch }}",
            "GIT_TERMINAL_PROMPT": "0",  # fail rather than wait for a password
        },
        append_env=True,
        execution_timeout=timedelta(minutes=4),
        retries=1,
        retry_delay=timedelta(seconds=30),
    )
