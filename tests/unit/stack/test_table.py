from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from rich.console import Console, RenderableType

from engine.screen import screen
from engine.stack.component import Component
from engine.stack.health import Health, Report
from engine.stack.state import ComponentState, Phase
from engine.stack.table import late, past_ends, problems, stack_table, uptime


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time goes by while a test looks at it."""
    now = time.time()
    monkeypatch.setattr("engine.stack.table.time", SimpleNamespace(time=lambda: now))
    monkeypatch.setattr(f"{__name__}.time", SimpleNamespace(time=lambda: now))


def report(name: str, health: Health, *, detail: str = "", core: bool = True, restarts: int = 0) -> Report:
    component = Component(
        name=name,
        argv=("x",),
        address="http://127.0.0.1:9102/metrics",
        core=core,
        why="nothing works",
        next_step="windsock dags trigger hello_world --wait",
        remedy="apt-get install it",
    )
    state = ComponentState(component=component, phase=Phase.RUNNING, restarts=restarts, started_at=time.time() - 125)
    return Report(state, health, detail)


def rendered(what: RenderableType, width: int = 100) -> str:
    target = io.StringIO()
    Console(file=target, width=width, highlight=False).print(what)
    return target.getvalue()


def test_the_table_names_component_address_state_and_next_step() -> None:
    text = rendered(stack_table([report("exporter", Health.HEALTHY)], with_uptime=False))
    assert "component" in text.splitlines()[0]
    assert "what to try next" in text.splitlines()[0]
    assert text.splitlines()[1].split() == [
        *("exporter", "http://127.0.0.1:9102/metrics", "healthy"),
        *("windsock", "dags", "trigger", "hello_world", "--wait"),
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_of_the_table_is_wider_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    text = rendered(stack_table([report("dag-processor", Health.NOT_INSTALLED)], with_uptime=False), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "http://127.0.0.1:9102/metrics" in text
    assert "not installed" in text


def test_in_a_file_the_table_is_neither_wrapped_nor_padded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    screen().print(stack_table([report("exporter", Health.HEALTHY)], with_uptime=False))
    heading, line = capsys.readouterr().out.splitlines()
    assert heading == heading.rstrip()
    assert line.endswith("windsock dags trigger hello_world --wait")


def test_status_shows_for_how_long_and_how_often_restarted() -> None:
    line = rendered(stack_table([report("web", Health.HEALTHY, restarts=3)], with_uptime=True)).splitlines()[1]
    assert line.split()[-5:] == ["2", "min", "5", "s", "3"]


def test_a_missing_program_says_how_to_get_it_instead_of_what_to_try() -> None:
    text = rendered(stack_table([report("grafana", Health.NOT_INSTALLED, core=False)], with_uptime=False))
    assert "apt-get install it" in text
    assert "hello_world" not in text


def test_the_core_comes_first() -> None:
    reports = [report("alertmanager", Health.HEALTHY, core=False), report("webserver", Health.HEALTHY)]
    names = [
        line.split()[0] for line in rendered(stack_table(reports, with_uptime=False)).splitlines()[1:] if line[0] != " "
    ]
    assert names == ["webserver", "alertmanager"]


def test_what_is_not_well_is_told_with_why_it_matters_and_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "web" / "web.log"
    log.parent.mkdir()
    log.write_text("first\n\nValueError: no\n")
    text = rendered(problems([report("web", Health.RESTARTING, detail="exit code 1; again in 2.0 s")], tmp_path), 200)
    assert "web is restarting: exit code 1; again in 2.0 s" in text
    assert "nothing works" in text
    assert "ValueError: no" in text
    assert str(log) in text


def test_what_is_the_matter_with_several_is_said_once(tmp_path: Path) -> None:
    ill = [report(name, Health.UNHEALTHY, detail="there is no space left") for name in ("web", "scheduler", "notifier")]
    other = report("exporter", Health.RESTARTING, detail="exit code 1")
    text = rendered(problems([ill[0], other, *ill[1:]], tmp_path), 200)
    assert text.count("there is no space left") == 1
    assert "web, scheduler and notifier are not answering: there is no space left" in text
    assert "exporter is restarting: exit code 1" in text
    assert all(f"{name}.log" in text for name in ("web", "scheduler", "notifier", "exporter"))


def test_a_line_that_stands_in_several_logs_is_told_once(tmp_path: Path) -> None:
    for name, line in (("web", "only here"), ("notifier", "only there")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.log").write_text(f"no space\n{line}\n" + "no space\n" * 3)
    ill = [report("web", Health.RESTARTING, detail="again in 1 s"), report("notifier", Health.RESTARTING)]
    text = rendered(problems(ill, tmp_path), 200)
    assert (text.count("no space"), text.count("only here"), text.count("only there")) == (1, 1, 1)


def test_what_is_late_is_told_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "scheduler" / "scheduler.log"
    log.parent.mkdir()
    log.write_text("first\nno space left\n")
    reports = [
        report("scheduler", Health.HEALTHY, detail="its last heartbeat is 16 s old"),
        report("w", Health.HEALTHY),
    ]
    assert rendered(late(reports, tmp_path), 200).splitlines() == [
        "scheduler is late: its last heartbeat is 16 s old",
        "    no space left",
        "",
    ]


def test_what_was_restarted_tells_how_it_ended() -> None:
    well = report("web", Health.HEALTHY, restarts=1)
    well = well._replace(state=msgspec.structs.replace(well.state, last_exit="killed by SIGKILL"))
    text = rendered(past_ends([well, report("exporter", Health.HEALTHY)]), 200)
    assert text.strip() == "web was restarted; before, it ended with: killed by SIGKILL"


def test_what_is_well_is_not_mentioned(tmp_path: Path) -> None:
    assert rendered(problems([report("web", Health.HEALTHY)], tmp_path)).strip() == ""


@pytest.mark.parametrize(
    ("age", "words"), [(3, "3 s"), (61, "1 min 1 s"), (3 * 3600 + 120, "3 h 2 min"), (90_000, "1 d 1 h")]
)
def test_uptime_is_told_in_its_two_largest_units(age: int, words: str) -> None:
    assert uptime(time.time() - age) == words
