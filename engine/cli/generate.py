"""``windsock generate``: the files that are made from code and committed, and the check that they are current."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import click

from engine.cli.alertmanager import write
from engine.cli.errors import Failure, Misuse

_MARK = "pyproject.toml"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 where a file is not what it should be.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="The checkout; by default the code's.")
@click.option(
    "--alertmanager",
    metavar="FILE",
    help="Instead: write the configuration of an Alertmanager of your own from alerting.yml; - is stdout.",
)
@click.option("--forward", is_flag=True, help="With --alertmanager: it hands everything to Windsock, which decides.")
def generate(check: bool, root: Path | None, alertmanager: str | None, forward: bool) -> None:
    """Write the generated files into the checkout, or check them.

    They are the StatsD mappings, the Prometheus rules and configuration, the boards, what docker-compose.yml mounts,
    and the reference pages.

    With --alertmanager, write one file for an Alertmanager that `windsock up` does not start: the receivers, routes and
    mute windows of alerting.yml as far as it has such things. What it has not is told.
    """
    if alertmanager is not None:
        if check or root is not None:
            raise Misuse("--alertmanager writes another file; leave --check and --root out")
        write(alertmanager, forward=forward)
        return
    if forward:
        raise Misuse("--forward goes with --alertmanager FILE")
    root = root or Path(__file__).parents[2]
    if not (root / _MARK).exists():
        raise Failure(f"{root} is not a checkout of Windsock (it has no {_MARK}); name one with --root")
    differing = {path: text for path, text in documents().items() if _current(root / path) != text}
    if check:
        _report(root, differing)
        return
    for path, text in differing.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
    if not differing:
        click.echo("Every generated file is current.")


def documents() -> Mapping[str, str]:
    """Every generated file: its path below the root, and its text."""
    import dashboards.generate
    import exporters.generate
    import prometheus.generate
    from engine.config import reference_page
    from engine.stack import compose

    sources = (
        exporters.generate.documents(),
        dashboards.generate.documents(),
        prometheus.generate.documents(),
        compose.documents(),
        {"docs/configuration.md": reference_page()},
    )
    return {str(path): text for source in sources for path, text in source.items()}


def _report(root: Path, differing: Mapping[str, str]) -> None:
    for path, text in differing.items():
        before = (_current(root / path) or "").splitlines(keepends=True)
        lines = difflib.unified_diff(before, text.splitlines(keepends=True), str(path), f"{path} (generated)")
        click.echo("".join(lines), nl=False)
    if differing:
        raise Failure(f"not current: {', '.join(differing)}. Write them anew: windsock generate")
    click.echo("Every generated file is current.")


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
