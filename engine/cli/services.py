"""The long-lived processes, each in the foreground until TERM. ``windsock up`` starts them all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from engine.config import load, prepare_home

if TYPE_CHECKING:
    from engine.config import Settings


def _begin() -> Settings:
    settings = load()
    prepare_home(settings)
    logging.basicConfig(
        level=settings.logging.logging_level,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    return settings


@click.command()
def scheduler() -> None:
    """Run the scheduler, in the foreground: it creates runs and runs their tasks."""
    from engine.scheduling.scheduler import Scheduler

    Scheduler(_begin()).run()


@click.command("dag-processor")
def dag_processor() -> None:
    """Run the DAG processor, in the foreground: it reads the DAG files."""
    from engine.parsing.processor import run

    run(_begin())


@click.command()
def notifier() -> None:
    """Run the notifier, in the foreground: it delivers alerts and runs callbacks."""
    from engine.running.notifier import run

    run(_begin())


@click.command()
def webserver() -> None:
    """Run the web server, in the foreground: pages and /health."""
    from engine.web.app import serve

    serve(_begin())


@click.command()
def exporter() -> None:
    """Run the exporter, in the foreground: StatsD in, Prometheus out."""
    from exporters.bridge import BridgeConfig, run

    settings = _begin()
    own = settings.exporter
    run(BridgeConfig(host=own.host, statsd_port=own.statsd_port, port=own.port))
