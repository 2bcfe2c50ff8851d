"""The long-lived processes, each in the foreground until TERM. ``windsock up`` starts them all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from engine.cli.errors import Misuse
from engine.config import load, prepare_home
from engine.logs import own
from exporters.naming import did_you_mean

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


@click.command("log-shipper")
def log_shipper() -> None:
    """Run the log shipper, in the foreground: it brings the logs of this machine to the remote log folder."""
    settings = _begin()
    from engine.running.log_shipper import run

    sys.exit(run(settings))


@click.command()
def webserver() -> None:
    """Run the web server, in the foreground: pages and /health."""
    settings = _begin()
    from engine.web.app import serve

    sys.exit(serve(settings))


@click.command()
@click.option("--metastore", is_flag=True, help="Export what the metastore holds instead of StatsD.")
@click.option(
    "--airflow",
    metavar="URL",
    help="With --metastore: read the metadata database of an Airflow 2.10 to 3.3 (read-only) instead of Windsock's. "
    "env:NAME takes the URL from an environment variable.",
)
@click.option("--dags-folder", metavar="PATH", help="With --airflow: show the paths of DAG files as seen from here.")
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Mapping file, as of statsd_exporter. Default: [exporter] mapping, else the one for Airflow's names.",
)
@click.option("--check-config", is_flag=True, help="Check the settings and the mapping, and end.")
def exporter(
    metastore: bool, airflow: str | None, dags_folder: str | None, mapping: Path | None, check_config: bool
) -> None:
    """Run an exporter, in the foreground: StatsD in, Prometheus out; or what the metastore holds."""
    if metastore:
        if mapping is not None or check_config:
            raise Misuse("--mapping and --check-config are for StatsD; leave them out, or leave out --metastore")
        _export_metastore(airflow and _url(airflow), dags_folder)
    if airflow is not None or dags_folder is not None:
        raise Misuse("--airflow and --dags-folder go with --metastore: windsock exporter --metastore --airflow URL")
    settings = _begin()
    from engine.cli.bridging import bridge_config
    from exporters.bridge import load_mapping, run

    config = bridge_config(settings, mapping)
    if check_config:
        rules = len(load_mapping(config).rules)
        if not rules:
            raise click.ClickException(
                f"{config.mapping} holds no rules, so every name would be taken as it is sent. Name a file with "
                "mappings: in it, or none: then the built-in one counts"
            )
        click.echo(f"The mapping is in order: {rules} rules.")
        return
    sys.exit(run(config))


def _export_metastore(airflow: str | None, dags_folder: str | None) -> NoReturn:
    settings = _begin()
    from exporters.metastore.service import MetastoreConfig, run

    own = settings.exporter
    config = MetastoreConfig(
        url=settings.database.sql_alchemy_conn if airflow is None else airflow,
        airflow=airflow is not None,
        dags_folder=dags_folder or ("" if airflow else str(settings.core.dags_folder)),
        host=own.host,
        port=own.metastore_port,
        cache_seconds=own.metastore_cache_seconds,
        timeout_seconds=own.metastore_timeout_seconds,
        max_series=own.metastore_max_series,
    )
    sys.exit(run(config))


def _url(given: str) -> str:
    """The URL itself, or what the environment variable holds that ``env:NAME`` names."""
    kind, _, name = given.partition(":")
    if kind != "env":
        return given
    if url := os.environ.get(name):
        return url
    raise Misuse(f"--airflow {given}: the environment variable {name} is not set{did_you_mean(name, os.environ)}")
