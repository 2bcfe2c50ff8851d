"""A DAG file that Airflow cannot import."""

from __future__ import annotations

raise RuntimeError("broken on purpose")
