"""``windsock airflow``: for an Airflow that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.errors import Failure, Misuse
from engine.cli.output import output_option, show

if TYPE_CHECKING:
    from exporters.airflow_check import Report

_VERSIONS = ("2.10", "2.11", "3.0", "3.1", "3.2", "3.3")
_MODES = ("auto", "plain", "influxdb", "datadog")
_PATIENCE_SECONDS = 10
_NO_EXPORTER = (
    "no StatsD exporter answers at {url}: its page has no statsd_exporter_ series, so another program listens there. "
    "Name the exporter's web port; 9102 is usual: --exporter http://localhost:9102"
)
_NO_PAGE = (
    "no exporter answers at {address}, but something that says {status}. Name the exporter's web port, usually 9102"
)
_COLUMNS = {"series": "series", "sender": "sent by", "state": "state", "count": "times"}


@click.group()
def airflow() -> None:
    """For an Airflow that is there already: see whether its metrics arrive. More: docs/airflow.md"""


@airflow.command()
@click.option(
    "--listen", default="127.0.0.1:9125", show_default=True, metavar="HOST:PORT", help="Where Airflow sends to."
)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=60, show_default=True, help="How long to listen.")
@click.option("--exporter", metavar="URL", help="Read a running exporter instead, for example http://localhost:9102.")
@click.option("--version", "version", type=click.Choice(_VERSIONS), help="Airflow's version, where it cannot be told.")
@click.option("--mode", type=click.Choice(_MODES), default="auto", show_default=True, help="How Airflow writes tags.")
@output_option
def check(listen: str, seconds: float, exporter: str | None, version: str | None, mode: str, output: str) -> None:
    """Listen to Airflow's StatsD for a minute; say what arrives, what does not, and which setting explains it."""
    from exporters.airflow_check import NOTHING

    found = _read(exporter, version or "") if exporter else _listen(listen, seconds, version or "", mode)
    if exporter and not found.is_exporter and not found.anything:
        raise Failure(_NO_EXPORTER.format(url=exporter))
    if not found.anything:
        raise Failure("\n".join([*(f"{begin_sentence(remark)}." for remark in found.remarks), NOTHING]))
    _show(found, output)


def _listen(listen: str, seconds: float, version: str, mode: str) -> Report:
    from exporters.airflow_check import report
    from exporters.airflow_lines import hear
    from exporters.airflow_lines import listen as lines_at
    from exporters.signal import Mode

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise Misuse(f'--listen "{listen}" is no HOST:PORT; write for example 0.0.0.0:9125')

    def say(port: int) -> None:
        click.echo(f"Listening on {host}:{port} for {seconds:g} s.", err=True)

    heard = hear(lines_at(host, int(port), seconds, say))
    return report(heard, version, None if mode == "auto" else Mode(mode))


def _read(url: str, version: str) -> Report:
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, build_opener

    from exporters.airflow_check import report_of_page

    if not url.startswith(("http://", "https://")):
        raise Misuse(f'--exporter "{url}" is no URL; write for example http://localhost:9102')
    address = url.rstrip("/").removesuffix("/metrics") + "/metrics"
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=_PATIENCE_SECONDS) as answer:
            page = answer.read().decode(errors="replace")
    except HTTPError as error:
        error.close()
        raise Failure(_NO_PAGE.format(address=address, status=error.code)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(f"{address} does not answer: {reason}. Is the exporter up, and is this its web port?") from error
    return report_of_page(page, version)


def _show(found: Report, output: str) -> None:
    """The table, without what merely did not happen; below it what was concluded. JSON has everything."""
    from exporters.airflow_check import State
    from exporters.reference import versions

    rows: list[dict[str, Any]] = [
        {"series": each.series, "sender": each.sender, "state": each.state, "count": each.count, "why": each.why}
        for each in found.findings
    ]
    if output == "json":
        show(rows, output)
        return
    show([row for row in rows if row["state"] is not State.NOT_SEEN], output, columns=_COLUMNS, below="why")
    unseen = sum(row["state"] is State.NOT_SEEN for row in rows)
    click.echo(f"\nAirflow {versions(found.emitters) if found.emitters else '?'}, mode {found.mode or 'unknown'}.")
    for mapping in found.mappings:
        click.echo(f"Mapping file: {mapping}")
    if unseen:
        click.echo(f"{unseen} more signals tell of events that did not happen meanwhile: --output json lists them.")
    for remark in found.remarks:
        click.echo(f"* {begin_sentence(remark)}.")


def begin_sentence(remark: str) -> str:
    """With a large first letter, unless a name stands there."""
    first = remark.split(maxsplit=1)[0]
    return remark if "_" in first or "." in first else f"{remark[0].upper()}{remark[1:]}"
