"""``windsock pools``."""

from __future__ import annotations

import re
from typing import Final

import click

from engine.cli.errors import Misuse
from engine.cli.opening import open_store
from engine.cli.output import output_option, show

MOST_SLOTS: Final = 2**31 - 1
_SLOTS: Final = re.compile("[0-9]{1,10}")


@click.group()
def pools() -> None:
    """List, set, delete pools: slots that tasks share."""


@pools.command("list")
@output_option
def list_pools(output: str) -> None:
    """List the pools: their slots, how many are in use, how many tasks wait."""
    from engine.metastore import pools as stored

    with open_store() as store, store.read() as connection:
        found = stored.list_pools(connection)
    columns = {"name": "pool", "slots": "slots", "used": "in use", "waiting": "tasks that wait"}
    show([pool._asdict() for pool in found], output, columns=columns)
    missing = [pool.name for pool in found if pool.slots is None]
    if missing and output == "table":
        click.echo(f"\nTasks wait for a pool that nobody has made: windsock pools set {missing[0]} 1", err=True)


# A negative number is an argument that is refused in words, not an option that nobody knows.
@pools.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="NAME")
@click.argument("slots", metavar="SLOTS")
def set_pool(name: str, slots: str) -> None:
    """Make a pool, or change how many slots it has. With 0 slots its tasks wait."""
    from engine.metastore import pools as stored

    if not name.strip() or not name.isprintable() or len(name) > 250:
        raise Misuse("a pool's name has 1 to 250 printable characters")
    number = _number_of_slots(slots)
    with open_store() as store:
        is_new = store.run(lambda tx: stored.set_pool(tx, name, number))
        store.wake("scheduler")
    click.echo(f"{'Made' if is_new else 'Changed'} {name}: {'1 slot' if number == 1 else f'{number} slots'}.")
    if name == stored.DEFAULT_POOL and number == 0:
        click.echo(
            f"windsock: tasks that name no pool use {name}, so nearly everything waits from now on. Let it go on: "
            f"windsock pools set {name} {stored.DEFAULT_SLOTS}",
            err=True,
        )


def _number_of_slots(text: str) -> int:
    if not _SLOTS.fullmatch(text) or int(text) > MOST_SLOTS:
        raise Misuse(f"{text} is no number of slots; write a whole number from 0 to {MOST_SLOTS}")
    return int(text)


@pools.command()
@click.argument("name", metavar="NAME")
def delete(name: str) -> None:
    """Delete a pool that nothing uses or waits for."""
    from engine.metastore import pools as stored

    with open_store() as store:
        store.run(lambda tx: stored.delete_pool(tx, name))
    click.echo(f"Deleted {name}.")
