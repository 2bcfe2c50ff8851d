from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli.generate import documents
from engine.cli.main import cli


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def generate(root: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["generate", "--root", str(root), *words], prog_name="windsock")


def test_generate_writes_every_document_and_nothing_the_second_time(checkout: Path) -> None:
    assert generate(checkout).exit_code == 0
    assert all((checkout / path).read_text() == text for path, text in documents().items())
    assert generate(checkout).output == "Every generated file is current.\n"


def test_documents_come_from_every_room() -> None:
    folders = {path.partition("/")[0] for path in documents()}
    assert {"exporters", "prometheus", "docs"} <= folders


def test_check_is_content_with_current_files(checkout: Path) -> None:
    generate(checkout)
    assert generate(checkout, "--check").exit_code == 0


def test_check_shows_the_difference_and_changes_nothing(checkout: Path) -> None:
    generate(checkout)
    page = checkout / "docs" / "configuration.md"
    page.write_text(page.read_text() + "scribble\n")
    result = generate(checkout, "--check")
    assert result.exit_code == 1
    assert "-scribble" in result.stdout
    assert "not current: docs/configuration.md" in result.stderr
    assert page.read_text().endswith("scribble\n")


def test_check_misses_a_file_that_is_not_there(checkout: Path) -> None:
    generate(checkout)
    (checkout / "prometheus" / "prometheus.yml").unlink()
    assert generate(checkout, "--check").exit_code == 1


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    result = generate(tmp_path)
    assert result.exit_code == 1
    assert "is not a checkout" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_committed_files_are_current() -> None:
    result = CliRunner().invoke(cli, ["generate", "--check"])
    assert result.exit_code == 0, result.output
