"""An upsert, killed before and after its commit and run again: each key once."""

from __future__ import annotations

import pytest

from tests.crash.conftest import Scene
from tests.crash.harness import Loaded

pytestmark = pytest.mark.crash

UPSERT = {"items": "upsert"}


@pytest.mark.parametrize("point", ["before_commit:1:items", "after_commit:1:items"])
@pytest.mark.parametrize(
    "system", [pytest.param("postgres", marks=pytest.mark.postgres), "duckdb", "sqlite"],
    indirect=True,
)  # fmt: skip
def test_p01_an_upsert_killed_around_its_commit_has_each_key_once(scene: Scene, point: str) -> None:
    old = Loaded([], [])
    for version in (1, 2):
        scene.worker.run(scene.pipeline(UPSERT), fault=point).killed()
        after = scene.loaded()
        assert (after == old) == point.startswith("before")
        scene.worker.fresh().run(scene.pipeline(UPSERT)).fine()
        done = scene.loaded()
        assert point.startswith("before") or done == after
        assert [record["version"] for record in done.chain] == list(range(1, version + 1))
        ids = [row[1] for row in done.rows]
        assert len(ids) == len(set(ids)) > len(old.rows)
        scene.source.grow()
        old = done
