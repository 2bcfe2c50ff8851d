"""The page of an attempt whose log was shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import Settings, load
from engine.links import attempt_url
from engine.logs.paths import attempt_log_path
from tests.integration.web.conftest import Browser
from tests.integration.web.world import World, task

URL = attempt_url("", "d", "r", "t", 1)
PATH = attempt_log_path("d", "r", "t", 1)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture
def settings(tmp_path: Path, share: Path) -> Settings:
    shipped = {"REMOTE_LOGGING": "true", "REMOTE_BASE_LOG_FOLDER": f"file://{share}"}
    return load({f"WINDSOCK__LOGGING__{name}": value for name, value in shipped.items()}, home=tmp_path)


@pytest.fixture(autouse=True)
def _attempt(world: World) -> None:
    world.dag("d", [task("t")])
    ti = world.task((world.run("d", "r", "success", 60, 10), "d", "r"), "t", "success", 1, 60, 10)
    world.attempt(ti, 1, "success", "success", 60, 10)


def test_it_is_shown_and_downloaded_from_the_remote_folder(
    look: Callable[[str], str], browser: Browser, share: Path
) -> None:
    (share / PATH).parent.mkdir(parents=True)
    (share / PATH).write_text("[2026-11-23T13:44:30.123Z] said far away\n")
    assert "said far away" in look(URL)
    assert browser.get(f"{URL}/log").text == "[2026-11-23T13:44:30.123Z] said far away\n"


def test_a_log_that_is_here_is_not_looked_for_there(look: Callable[[str], str], world: World, share: Path) -> None:
    world.log("d", "r", "t", 1, "said here\n")
    share.rmdir()
    assert "said here" in look(URL)


def test_that_the_remote_folder_is_away_is_said_on_the_page(
    look: Callable[[str], str], browser: Browser, share: Path
) -> None:
    share.rmdir()
    assert "The log is not on this machine, and the remote log folder does not give it" in look(URL)
    assert browser.get(f"{URL}/log").status_code == 404
