"""``windsock dashboards``: boards and marks in a running Grafana."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.errors import Failure, Misuse
from engine.cli.output import output_option, show
from engine.config import load

if TYPE_CHECKING:
    from dashboards.push import Pushed

_TIMES: Final = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"]


def grafana_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--url``, ``--token`` and ``--token-file``."""
    for option in (
        click.option(
            "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File that holds the token."
        ),
        click.option("--token", envvar="GRAFANA_TOKEN", help="Better in GRAFANA_TOKEN: others see the command line."),
        click.option("--url", envvar="GRAFANA_URL", help="Grafana's URL; by default the setting grafana.url."),
    ):
        command = option(command)
    return command


@click.group()
def dashboards() -> None:
    """Push boards into a running Grafana, and mark deploys in it."""


@dashboards.command()
@grafana_options
@click.option("--folder", default="Windsock", show_default=True, help="Folder for the boards; made when missing.")
@click.option(
    "--datasource",
    metavar="UID",
    help="The Prometheus data source that the boards ask; by default Grafana's default one.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would change.")
@click.option("--overwrite", is_flag=True, help="Save over what somebody else saved meanwhile.")
@output_option
def push(
    url: str | None,
    token: str | None,
    token_file: Path | None,
    folder: str,
    datasource: str | None,
    dry_run: bool,
    overwrite: bool,
    output: str,
) -> None:
    """Create and update the boards in Grafana; those that are equal are left alone.

    The token is that of a service account with the role Editor. See docs/grafana.md.
    """
    from dashboards.grafana import connected
    from dashboards.push import Options, load_boards
    from dashboards.push import push as push_boards

    url, token = _address(url), _token(token, token_file)
    options = Options(url, folder, datasource, overwrite=overwrite, dry_run=dry_run)
    with connected(url, token) as grafana:
        results = list(push_boards(grafana, load_boards(load().webserver.url), options))
    _tell(results, output, dry_run=dry_run)


@dashboards.group()
def annotate() -> None:
    """Mark in Grafana what people did, on every board that shows Windsock's annotations."""


@annotate.command()
@grafana_options
@click.option("--text", required=True, help="What was deployed, such as a version.")
@click.option("--tag", "tags", multiple=True, help="Another tag; may be repeated.")
@click.option("--at", type=click.DateTime(_TIMES), help="When it began, in UTC unless it says otherwise; now.")
@click.option("--until", type=click.DateTime(_TIMES), help="When it ended, where it took a while.")
def deploy(
    url: str | None,
    token: str | None,
    token_file: Path | None,
    text: str,
    tags: tuple[str, ...],
    at: datetime | None,
    until: datetime | None,
) -> None:
    """Mark a deploy, for example from a CI pipeline."""
    from dashboards.annotations import DEPLOY, Annotation, annotate
    from dashboards.grafana import connected

    began = _aware(at) or datetime.now(UTC)
    ended = _aware(until)
    if not text.strip():
        raise Misuse("--text is empty; say what was deployed")
    if ended and ended < began:
        raise Misuse(f"--until ({ended:%Y-%m-%d %H:%M:%S}) is before --at ({began:%Y-%m-%d %H:%M:%S})")
    url, token = _address(url), _token(token, token_file)
    with connected(url, token) as grafana:
        number = annotate(grafana, url, Annotation(text.strip(), began, ended, (DEPLOY, *tags)))
    click.echo(f"marked as annotation {number}.")


def _address(url: str | None) -> str:
    return (url or load().grafana.address).rstrip("/")


def _token(token: str | None, path: Path | None) -> str:
    """From the file, the option or GRAFANA_TOKEN, or the settings."""
    given = path.read_text(encoding="utf-8") if path is not None else token or load().grafana.token
    found = given.strip()
    if not found:
        where = f"{path} is empty" if path else "there is no token"
        raise Misuse(f"{where}; set GRAFANA_TOKEN, or name a file with --token-file (see docs/grafana.md, Tokens)")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise Misuse("the token holds characters that no token has; is the file the right one?")
    return found


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _tell(results: list[Pushed], output: str, *, dry_run: bool) -> None:
    import dataclasses

    if output == "table" and dry_run:
        click.echo("".join(result.diff for result in results), nl=False)
    rows = [dataclasses.asdict(result) for result in results]
    columns = {"uid": "board", "title": "title", "action": "would be" if dry_run else "result"}
    show(rows, output, columns=columns, below="reason")
    if failed := [result.uid for result in results if result.action == "failed"]:
        raise Failure(f"not pushed: {', '.join(failed)}")
