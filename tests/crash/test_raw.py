"""A load whose rows pass undecoded is killed at each fault point, and runs again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conduit_core.testing.faults import POINTS
from tests.crash.conftest import Scene
from tests.crash.harness import Loaded
from tests.crash.systems import Postgres
from tests.services import sql

pytestmark = pytest.mark.crash
only_postgres = pytest.mark.parametrize(
    "system", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
MODES = {"replace": {"mode": "replace"}, "append": {"mode": "append", "cursor": "id"}}
ROWS = 16_000  # some batches of a MiB


def make(scene: Scene, mode: str) -> Path:
    """Fill a table of the destination's own database and return the pipeline that loads it."""
    assert isinstance(scene.system, Postgres)
    sql(
        scene.system.url,
        "CREATE TABLE public.source AS SELECT i AS id, i::numeric(12,2) / 4 AS amount,"
        " '2024-01-01Z'::timestamptz + i * interval '1 s' AS at, repeat('x', 300) || i AS note"
        f" FROM generate_series(1, {ROWS}) AS i",
    )
    spec = {
        "name": "raw",
        "source": {"type": "postgres", "url": scene.system.url},
        "destination": scene.system.config(),
        "streams": [{"table": "public.source", "name": "items", "into": "items", **MODES[mode]}],
    }
    file = scene.folder / "raw.yml"
    file.write_text(json.dumps(spec))
    return file


# Every point in one mode; in the other those between the first row and the record's commit.
TRIED = [
    *(("replace", point) for point in POINTS if point not in {"before_hooks", "after_hook"}),
    *(("append", point) for point in ("mid_stage", "before_commit", "after_commit")),
]


@only_postgres
@pytest.mark.parametrize(("mode", "point"), TRIED)
def test_killed_at_a_fault_point_and_run_again(scene: Scene, mode: str, point: str) -> None:
    file = make(scene, mode)
    scene.worker.run(file, fault=f"{point}:2" if point == "mid_stage" else point)
    first = scene.loaded()
    assert first == Loaded([], []) or len(first.rows) == ROWS
    scene.worker.fresh().run(file).fine()
    done = scene.loaded()
    assert len(done.rows) == len({row[1] for row in done.rows}) == ROWS
    assert done.versions == ([1, 2] if first.rows and mode == "replace" else [1])
    assert {name for name in scene.system.relations() if name.startswith("_conduit_new")} == set()
