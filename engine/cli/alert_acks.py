"""``windsock alerts ack``: somebody has seen an alert and looks after it."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from engine.cli.alert_numbers import ALERT_NUMBER, require
from engine.cli.errors import Failure, Misuse
from engine.cli.opening import open_store

if TYPE_CHECKING:
    from alerting.numbers import Number
    from engine.metastore.database import Tx


@click.command()
@click.argument("numbers", nargs=-1, type=ALERT_NUMBER, metavar="[NUMBER]...")
@click.option("--dag", "dag_id", help="All that is open and not acknowledged of this DAG.")
@click.option("--run", "run_id", help="With --dag: of this run alone.")
@click.option("--task", "task_id", help="With --dag: of this task alone.")
@click.option("--comment", default="", help="What you do about it: whoever wonders reads it.")
@click.option("--author", help="Who; by default your user name.")
def ack(
    numbers: tuple[Number, ...],
    dag_id: str | None,
    run_id: str | None,
    task_id: str | None,
    comment: str,
    author: str | None,
) -> None:
    """Acknowledge alerts: they are neither escalated nor repeated any more.

    \b
    windsock alerts ack 17 --comment "the source is late, I have called them"
    windsock alerts ack 17.2          # every alert in the message of its second line
    windsock alerts ack --dag daily --run manual__2026-11-28
    """
    if (run_id or task_id) and not dag_id:
        raise Misuse("--run and --task need --dag")
    if not (numbers or dag_id):
        raise Misuse("say what you acknowledge: the number of an alert (see windsock alerts list), or --dag")
    who = author or getpass.getuser()

    def work(tx: Tx) -> tuple[int, int]:
        from alerting.acks import acknowledge, find_open

        require(tx.connection, numbers)
        found = [event_id for number in numbers for event_id in _events(tx, number)]
        if dag_id:
            found += find_open(tx.connection, dag_id, run_id, task_id)
        return acknowledge(tx.connection, tx.now, found, who, comment), len(set(found))

    with open_store() as store:
        count, found = store.run(work)
    if not found:
        raise Failure("nothing of that is open and not acknowledged; see: windsock alerts list --dag")
    already = f" {found - count} had been acknowledged before." if count < found else ""
    click.echo(f"{count} {'alert is' if count == 1 else 'alerts are'} acknowledged.{already}")


def _events(tx: Tx, number: Number) -> list[int]:
    """The alert alone, or all that the message of one line tells of."""
    from alerting.acks import of_message
    from alerting.numbers import delivery_ids

    if number.line is None:
        return [number.event_id]
    return of_message(tx.connection, delivery_ids(tx.connection, number)[0])
