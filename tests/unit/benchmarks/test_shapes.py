from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.shapes import ALL, Shape
from engine.authoring.loader import load_file


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.key)
def test_a_shape_has_the_tasks_that_its_rate_is_reckoned_with(shape: Shape, tmp_path: Path) -> None:
    found = {}
    for name, source in shape.sources.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
        found |= {dag.dag_id: len(dag.tasks) for dag in load_file(tmp_path / name).dags}
    assert tuple(found) == shape.dag_ids
    assert sum(found.values()) == shape.tasks


def test_no_two_shapes_share_a_key_or_a_dag() -> None:
    assert len({shape.key for shape in ALL}) == len(ALL)
    assert len({dag_id for shape in ALL for dag_id in shape.dag_ids}) == sum(len(shape.dag_ids) for shape in ALL)
