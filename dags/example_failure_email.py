"""A mail to whoever is on call when a task fails. Start it by hand; it fails on purpose.

Mail needs a server: set ``WINDSOCK__SMTP__SMTP_HOST`` (and, where it asks for them, ``SMTP_PORT``, ``SMTP_USER``,
``SMTP_PASSWORD``, ``SMTP_STARTTLS``). The mail carries the exception, the end of the log and a link to it.
"""

from __future__ import annotations

from engine import DAG, PythonOperator


def divide(dividend: float, divisor: float) -> float:
    """Fail in a way that the mail can show."""
    print(f"Dividing {dividend} by {divisor}.")
    return dividend / divisor


with DAG(
    dag_id="example_failure_email",
    description="A mail when a task fails",
    schedule=None,
    # For every task of the DAG; each may say otherwise.
    default_args={"email": ["oncall@example.com"], "email_on_failure": True, "email_on_retry": False},
    tags=["example", "alerts"],
    doc_md=__doc__,
):
    PythonOperator(task_id="fail", python_callable=divide, op_kwargs={"dividend": 1, "divisor": 0})
