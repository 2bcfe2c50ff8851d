"""Whoever follows our advice finds the command that it names."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from engine.cli.main import cli
from engine.config import load
from engine.stack.inventory import all_components
from prometheus.rules_by_area import ALERTS

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
_IN_CODE = re.compile(r"`windsock ((?:[a-z-]+ ?)+)[^`]*`|^\s*(?:\$ )?windsock ((?:[a-z-]+ ?)+)", re.MULTILINE)
_IN_MESSAGE = re.compile(r"windsock ((?:[a-z-]+ ?)+)")


def is_command(words: list[str]) -> bool:
    """Whether these words lead to a command; what follows it are its arguments."""
    command: click.Command = cli
    with click.Context(cli) as context:
        for word in words:
            if not isinstance(command, click.Group):
                return True
            found = command.get_command(context, word)
            if found is None:
                return False
            command = found
    return not isinstance(command, click.Group) or words == words[:1]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    named = [(first or second).split() for first, second in _IN_CODE.findall(page.read_text())]
    assert [words for words in named if not is_command(words)] == []


def test_some_commands_are_named() -> None:
    text = (ROOT / "docs" / "runbooks" / "WindsockPoolStarving.md").read_text()
    assert [first.split()[:2] for first, _ in _IN_CODE.findall(text)][:2] == [["pools", "list"], ["dags", "list"]]
    assert not is_command(["ponds", "list"])
    assert not is_command(["pools", "drain"])


def test_every_command_that_an_alert_names_exists() -> None:
    named = [first.split() for alert in ALERTS for first, _ in _IN_CODE.findall(alert.description)]
    assert ["sla", "list"] in [words[:2] for words in named]
    assert [words for words in named if not is_command(words)] == []


def test_every_command_that_the_stack_names_exists(tmp_path: Path) -> None:
    told = [text for one in all_components(load({}, tmp_path)) for text in (one.next_step, one.remedy, one.why)]
    told.append((ROOT / "engine" / "stack" / "table.py").read_text().partition("def footer")[2])
    named = [words.split() for text in told for words in _IN_MESSAGE.findall(text)]
    named = [words for words in named if words[0] != "command"]  # "the windsock command is in …"
    assert ["dags", "list"] in named
    assert [words for words in named if not is_command(words)] == []
