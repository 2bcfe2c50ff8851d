"""The long-lived processes, each in the foreground until TERM. ``windsock up`` starts them all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.config import load, prepare_home
from engine.logs import own

if TYPE_CHECKING:
    from engine.config import Settings


def _begin() -> Settings:
    """Settings and folders first: what is wrong with them is told before anything heavy is imported."""
    settings = load()
    prepare_home(settings)
    own.start(settings.logging.logging_level)
    return settings


@click.command()
def scheduler() -> None:
    """Run the scheduler, in the foreground: it creates runs and runs their tasks."""
    settings = _begin()
    from engine.scheduling.scheduler import Scheduler

    sys.exit(Scheduler(settings).run())


@click.command("dag-processor")
def dag_processor() -> None:
    """Run the DAG processor, in the foreground: it reads the DAG files."""
    settings = _begin()
    from engine.cli.processing import run_dag_processor

    run_dag_processor(settings)


@click.command()
def notifier() -> None:
    """Run the notifier, in the foreground: it delivers alerts and runs callbacks."""
    settings = _begin()
    from engine.running.notifier import run

    sys.exit(run(settings))


@click.command()
def webserver() -> None:
    """Run the web server, in the foreground: pages and /health."""
    settings = _begin()
    from engine.web.app import serve

    sys.exit(serve(settings))


@click.command()
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Mapping file, as of statsd_exporter. Default: [exporter] mapping, else the one for Airflow's names.",
)
@click.option("--check-config", is_flag=True, help="Check the settings and the mapping, and end.")
def exporter(mapping: Path | None, check_config: bool) -> None:
    """Run the exporter, in the foreground: StatsD in, Prometheus out."""
    settings = _begin()
    from engine.cli.bridging import bridge_config
    from exporters.bridge import load_mapping, run

    config = bridge_config(settings, mapping)
    if check_config:
        click.echo(f"The mapping is in order: {len(load_mapping(config).rules)} rules.")
        return
    sys.exit(run(config))
