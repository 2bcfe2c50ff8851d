"""The long-lived processes, each in the foreground until TERM. ``windsock up`` starts them all."""

from __future__ import annotations

import sys
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
def exporter() -> None:
    """Run the exporter, in the foreground: StatsD in, Prometheus out."""
    settings = _begin()
    from exporters.bridge import BridgeConfig, run

    own = settings.exporter
    prefix = settings.metrics.statsd_prefix
    sys.exit(run(BridgeConfig(host=own.host, statsd_port=own.statsd_port, web_port=own.port, prefix=prefix)))
