"""What a person sees of the stack: one table, and a paragraph for whatever is not well."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from engine.disks import full_ones
from engine.stack.health import Health, Report
from engine.stack.supervise import last_lines, log_path

_STYLES = {
    Health.HEALTHY: "green",
    Health.ALIVE: "green",
    Health.STARTING: "yellow",
    Health.UNHEALTHY: "bold red",
    Health.RESTARTING: "bold red",
    Health.STOPPED: "bold red",
    Health.NOT_INSTALLED: "dim",
    Health.BLOCKED: "yellow",
}
# As a person reads it: what to open, what works behind it, what watches.
_ORDER = (
    "webserver",
    "scheduler",
    "dag-processor",
    "notifier",
    "log-shipper",
    "exporter",
    "metastore-exporter",
    "prometheus",
    "alertmanager",
    "grafana",
)
_SILENT = (Health.HEALTHY, Health.ALIVE, Health.STARTING, Health.NOT_INSTALLED)


def stack_table(reports: Sequence[Report], *, with_uptime: bool) -> Table:
    """Component, address, state, and what to try next; for ``status`` also for how long and how often restarted."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("component", no_wrap=True)
    table.add_column("address", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if with_uptime:
        table.add_column("for", justify="right", no_wrap=True)
        table.add_column("restarts", justify="right", no_wrap=True)
    else:
        table.add_column("what to try next", overflow="fold")
    for report in sorted(reports, key=_place):
        table.add_row(*_cells(report, with_uptime=with_uptime))
    return table


def _place(report: Report) -> tuple[int, str]:
    return (_ORDER.index(report.name) if report.name in _ORDER else len(_ORDER), report.name)


def _cells(report: Report, *, with_uptime: bool) -> list[Text]:
    component = report.state.component
    cells = [component.name, component.address or "-"]
    state = Text(report.health.value, style=_STYLES[report.health])
    if with_uptime:
        running = report.health in (Health.HEALTHY, Health.ALIVE, Health.STARTING, Health.UNHEALTHY)
        tail = [uptime(report.state.started_at) if running else "-", str(report.state.restarts)]
    else:
        tail = [component.remedy if report.health is Health.NOT_INSTALLED else component.next_step]
    return [*map(Text, cells), state, *map(Text, tail)]


def uptime(started_at: float | None) -> str:
    """Elapsed time in its largest two units: ``3 d 4 h``."""
    seconds = int(max(0.0, time.time() - (started_at or time.time())))
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small} {smaller}"
    return f"{seconds} s"


def past_ends(reports: Sequence[Report]) -> Text:
    """A line for each component that is well again after a restart: how it ended last."""
    lines = [
        f"{report.name} was restarted; before, it ended with: {report.state.last_exit}\n"
        for report in sorted(reports, key=_place)
        if report.state.restarts and report.state.last_exit and report.health in _SILENT
    ]
    return Text("".join(lines))


def late(reports: Sequence[Report], logs: Path) -> Text:
    """A line for each component that is healthy still, but late, and what its log says last."""
    text = Text()
    for report in sorted(reports, key=_place):
        if report.health is Health.HEALTHY and report.detail:
            text.append(f"{report.name} is late: {report.detail}\n")
            for line in last_lines(log_path(logs, report.name), count=1):
                text.append(f"    {line}\n", style="dim")
    return text


def problems(reports: Sequence[Report], logs: Path) -> Text:
    """A paragraph for each component that is not well: what, why it matters, the end of its log.

    What is the matter with several is said once, and so is what stands in several logs.
    """
    text = Text()
    told: set[str] = set()
    alike: dict[tuple[str, str], list[Report]] = {}
    for report in reports:
        if report.health not in _SILENT:
            alike.setdefault(_trouble(report), []).append(report)
    for group in alike.values():
        _add_problem(text, group, logs, told)
    return text


def _trouble(report: Report) -> tuple[str, str]:
    return report.health, report.detail


def briefly(reports: Sequence[Report]) -> Text:
    """A line for each component that is not well, without the end of its log."""
    ill = [report for report in reports if report.health not in _SILENT]
    return Text("\n".join(f"{report.name} is {report.health}: {report.detail}" for report in ill))


def _add_problem(text: Text, reports: Sequence[Report], logs: Path, told: set[str]) -> None:
    """What is the matter with these, which is the same with each."""
    health, detail = _trouble(reports[0])
    if health == Health.BLOCKED:
        text.append(f"{detail}\n")
    else:
        *others, last = (report.name for report in reports)
        names = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        text.append(f"{names} {health}", style="bold")
        text.append(f": {detail}\n" if detail else "\n")
    for report in reports:
        text.append(f"  Meanwhile {report.state.component.why}.\n")
        if report.health is not Health.BLOCKED:
            _add_log(text, log_path(logs, report.name), told)


def _add_log(text: Text, log: Path, told: set[str]) -> None:
    """The last lines of a log but for those that were `told` of another, and where it is."""
    for line in dict.fromkeys(last_lines(log)):
        if line not in told:
            text.append(f"    {line}\n", style="dim")
            told.add(line)
    text.append(f"  Log: {log}\n")


def full_disks(folders: Iterable[Path]) -> Text:
    """A line for each disk that these folders are on and that takes no more."""
    lines = [
        f"No {lack} is left on the disk of {folder}. {lack.remedy} there: until then {lack.refused}.\n"
        for folder, lack in full_ones(folders).items()
    ]
    return Text("".join(lines), style="bold")


def footer(reports: Sequence[Report], home: Path) -> Text:
    """Where the password and the command are, and how to go on after something was installed."""
    lines = []
    if (home / "admin-password").exists():
        lines.append(f"The password of admin is in {home / 'admin-password'}")
    if any(report.health is Health.NOT_INSTALLED for report in reports):
        lines.append("After you install what is missing: windsock down, then windsock up --detach")
    if shutil.which("windsock") is None:
        command = Path(sys.executable).parent
        lines.append(f"The windsock command is in {command}; to call it by its name: . {command / 'activate'}")
    return Text("\n".join(lines))
