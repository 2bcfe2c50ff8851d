"""A component that is forked runs its command without reading a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.cli import services
from engine.cli.direct import serving
from engine.cli.main import COMMANDS, SERVICES
from engine.config import load
from engine.metastore.errors import MetastoreError
from engine.stack.inventory import core_components


def test_every_component_of_the_house_can_run_so(tmp_path: Path) -> None:
    words = [component.words for component in core_components(load({"WINDSOCK_HOME": str(tmp_path)}))]
    assert all(serving(one) for one in words if one)
    assert {one[0] for one in words if one} <= SERVICES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_the_command_of_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert module == services.__name__
    called: list[dict[str, Any]] = []
    monkeypatch.setattr(getattr(services, attribute), "callback", lambda **values: called.append(values))
    serve = serving((name,))
    assert serve is not None
    assert serve() == 0
    assert not any(called[0].values())


def test_flags_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[dict[str, Any]] = []
    monkeypatch.setattr(services.exporter, "callback", lambda **values: called.append(values))
    serve = serving(("exporter", "--metastore"))
    assert serve is not None
    serve()
    assert {name for name, value in called[0].items() if value} == {"metastore"}


@pytest.mark.parametrize("words", [("exporter", "--check-config"), ("scheduler", "--help"), ("sla",)], ids=" ".join)
def test_other_words_must_be_read(words: tuple[str, ...]) -> None:
    assert serving(words) is None


@pytest.mark.parametrize(
    ("error", "told", "traced"),
    [(MetastoreError("it is away"), "windsock: it is away\n", False), (KeyError("odd"), "windsock: unexpected", True)],
    ids=["foreseen", "unforeseen"],
)
def test_an_error_is_told_as_by_the_command(
    error: Exception, told: str, traced: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(services.scheduler, "callback", fail)
    serve = serving(("scheduler",))
    assert serve is not None
    assert serve() == 1
    said = capsys.readouterr().err
    assert told in said
    assert ("Traceback" in said) == traced
