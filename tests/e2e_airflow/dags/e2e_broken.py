"""A DAG file that Airflow cannot import."""

raise RuntimeError("broken on purpose")
