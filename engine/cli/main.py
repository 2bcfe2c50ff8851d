"""``windsock``: the table of commands, and the way out for every error."""

from __future__ import annotations

import traceback
from typing import Any

import click

from engine.cli.errors import failure_of, is_foreseen
from engine.cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "up": Lazy("engine.cli.stack:up", "Start everything on this machine, with monitoring."),
    "down": Lazy("engine.cli.stack:down", "Stop what up started."),
    "restart": Lazy("engine.cli.stack:restart", "Stop it, and start it with the present settings."),
    "status": Lazy("engine.cli.stack:status", "Show how each component is."),
    "standalone": Lazy("engine.cli.stack:standalone", "Start the core only, in the foreground."),
    "dags": Lazy("engine.cli.dags:dags", "List, trigger, pause DAGs; show import errors."),
    "tasks": Lazy("engine.cli.tasks:tasks", "List tasks, their states and logs."),
    "pools": Lazy("engine.cli.pools:pools", "List, set, delete pools: slots that tasks share."),
    "sla": Lazy("engine.cli.sla:sla", "Show deadlines, and how well missed ones are foreseen."),
    "alerts": Lazy("engine.cli.alerts:alerts", "List, test and replay alerts."),
    "callbacks": Lazy("engine.cli.callbacks:callbacks", "List callbacks, and show what became of one."),
    "dashboards": Lazy("engine.cli.dashboards:dashboards", "Push boards into Grafana; mark deploys in it."),
    "config": Lazy("engine.cli.config:config", "Show the settings and where they come from."),
    "db": Lazy("engine.cli.db:db", "Create, upgrade, check, reset the metastore."),
    "users": Lazy("engine.cli.users:users", "Manage who may sign in."),
    "airflow": Lazy("engine.cli.airflow:airflow", "For an existing Airflow: see whether its metrics arrive."),
    "scheduler": Lazy("engine.cli.services:scheduler", "Run the scheduler."),
    "dag-processor": Lazy("engine.cli.services:dag_processor", "Run the DAG processor."),
    "notifier": Lazy("engine.cli.services:notifier", "Run the delivery of alerts and callbacks."),
    "log-shipper": Lazy("engine.cli.services:log_shipper", "Run the shipping of logs to a remote folder."),
    "webserver": Lazy("engine.cli.services:webserver", "Run the web server."),
    "exporter": Lazy("engine.cli.services:exporter", "Run the StatsD to Prometheus bridge, or the metastore exporter."),
    "generate": Lazy("engine.cli.generate:generate", "Write the generated files, or check them."),
    "version": Lazy("engine.cli.version:version", "Show the version."),
}
SERVICES = frozenset({"scheduler", "dag-processor", "notifier", "log-shipper", "webserver", "exporter"})


class Root(LazyGroup):
    """Turns what commands raise into a sentence on stderr; with ``--debug`` the traceback stays."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise  # click ends quietly: the reader of our output has gone
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            if ctx.invoked_subcommand in SERVICES and not is_foreseen(error):
                traceback.print_exc()  # into the component's log: who restarts it can only tell what is there
            raise failure_of(error) from error


@click.group(
    "windsock",
    cls=Root,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: windsock up --detach",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="windsock", prog_name="windsock")
def cli(debug: bool) -> None:
    """Windsock runs DAGs and tells you, in Prometheus and in your inbox, how they fare."""


def main() -> None:
    """Entry point of the ``windsock`` command."""
    cli(prog_name="windsock")
