"""``windsock alerts ack``: somebody has seen an alert and looks after it."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from engine.cli.errors import Failure, Misuse
from engine.cli.opening import open_store

if TYPE_CHECKING:
    from engine.metastore.database import Tx


@click.command()
@click.argument("delivery_ids", nargs=-1, type=int, metavar="[ID]...")
@click.option("--event", "event_ids", type=int, multiple=True, help="The number of an event; may be repeated.")
@click.option("--dag", "dag_id", help="All that is open and not acknowledged of this DAG.")
@click.option("--run", "run_id", help="With --dag: of this run alone.")
@click.option("--task", "task_id", help="With --dag: of this task alone.")
@click.option("--comment", default="", help="What you do about it: whoever wonders reads it.")
@click.option("--author", help="Who; by default your user name.")
def ack(
    delivery_ids: tuple[int, ...],
    event_ids: tuple[int, ...],
    dag_id: str | None,
    run_id: str | None,
    task_id: str | None,
    comment: str,
    author: str | None,
) -> None:
    """Acknowledge alerts: they are neither escalated nor repeated any more.

    \b
    ID is a delivery (see alerts list) and stands for every alert in its message.
    windsock alerts ack 17 --comment "the source is late, I have called them"
    windsock alerts ack --dag daily --run manual__2026-11-28
    """
    if (run_id or task_id) and not dag_id:
        raise Misuse("--run and --task need --dag")
    if not (delivery_ids or event_ids or dag_id):
        raise Misuse("say what you acknowledge: the ID of a delivery, --event ID, or --dag")
    who = author or getpass.getuser()

    def work(tx: Tx) -> tuple[int, int]:
        from alerting.acks import acknowledge, find_open

        found = [*_of_deliveries(tx, delivery_ids), *_known(tx, event_ids)]
        if dag_id:
            found += find_open(tx.connection, dag_id, run_id, task_id)
        return acknowledge(tx.connection, tx.now, found, who, comment), len(set(found))

    with open_store() as store:
        count, found = store.run(work)
    if not found:
        raise Failure("nothing of that is open and not acknowledged; see: windsock alerts list --dag")
    already = f" {found - count} had been acknowledged before." if count < found else ""
    click.echo(f"{count} {'alert is' if count == 1 else 'alerts are'} acknowledged.{already}")


def _of_deliveries(tx: Tx, ids: tuple[int, ...]) -> list[int]:
    from alerting.acks import of_message

    events = {delivery_id: of_message(tx.connection, delivery_id) for delivery_id in ids}
    if missing := [str(delivery_id) for delivery_id, found in events.items() if not found]:
        raise Failure(f"there is no delivery {', '.join(missing)}; see: windsock alerts list")
    return [event_id for found in events.values() for event_id in found]


def _known(tx: Tx, ids: tuple[int, ...]) -> list[int]:
    from sqlalchemy import select

    from alerting.tables import alert_event

    known = set(tx.connection.execute(select(alert_event.c.id).where(alert_event.c.id.in_(ids))).scalars())
    if missing := [str(event_id) for event_id in ids if event_id not in known]:
        raise Failure(f"there is no event {', '.join(missing)}; see: windsock alerts list --output json")
    return list(known)
