"""Whether a program of the stack was started here, as far as this process may look."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.hosts import was_started


def test_a_program_was_started_where_it_has_written(tmp_path: Path) -> None:
    (tmp_path / "data" / "grafana").mkdir(parents=True)
    assert not was_started(tmp_path, "grafana")
    (tmp_path / "data" / "grafana" / "grafana.db").touch()
    assert was_started(tmp_path, "grafana")


def test_a_folder_that_may_not_be_read_is_none_that_we_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "data" / "grafana").mkdir(parents=True)
    monkeypatch.setattr(Path, "iterdir", refuse)  # whoever runs the tests as root may read everything
    assert not was_started(tmp_path, "grafana")
