"""The real command, killed at each fault point and run again: as if it had never failed."""

from __future__ import annotations

import pytest

from tests import services
from tests.crash.conftest import Scene, Unharmed, change, key
from tests.crash.harness import Loaded
from tests.crash.source import FILES, ROWS, ROWS_PER_FILE
from tests.crash.systems import Postgres

pytestmark = pytest.mark.crash

BEFORE = ("before_plan", "locked", "mid_stage:2", "audit", "before_commit")
AFTER = ("after_commit", "after_hooks")
INTERNAL = {"_conduit_ledger", "_conduit_schemas"}
NOTHING = Loaded([], [])


def kill_and_run_again(
    scene: Scene, mode: str, request: str, point: str, before: Loaded, after: Loaded
) -> None:
    """Kill a load, look, run it again from an empty disk, compare with a load that never failed."""
    file, options = scene.pipeline(mode), key(mode, request)
    views = scene.system.relations() - INTERNAL - {"items"}

    scene.worker.run(file, *options, fault=point).killed()
    assert scene.loaded() == (before if point in BEFORE else after)
    assert scene.system.relations() <= {"items", *INTERNAL, *views}, "something staged was left"

    scene.worker.fresh().run(file, *options).fine()
    assert scene.loaded() == after
    assert scene.system.relations() == {"items", *INTERNAL, *views}


@pytest.mark.parametrize("point", BEFORE + AFTER)
def test_p01_append_killed_anywhere_loads_each_row_once(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    first, second = unharmed(scene.system.name, "append")
    assert (len(first.rows), len(second.rows)) == (ROWS, 2 * ROWS)

    kill_and_run_again(scene, "append", "first", point, NOTHING, first)
    change(scene.source, "append")
    kill_and_run_again(scene, "append", "second", point, first, second)


@pytest.mark.parametrize("point", BEFORE + AFTER)
def test_p13_replace_killed_anywhere_shows_the_old_rows_or_the_new(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    first, second = unharmed(scene.system.name, "replace")
    assert (len(first.rows), len(second.rows)) == (ROWS, ROWS - ROWS_PER_FILE)

    kill_and_run_again(scene, "replace", "first", point, NOTHING, first)
    change(scene.source, "replace")
    kill_and_run_again(scene, "replace", "second", point, first, second)


@pytest.mark.parametrize("point", ["mid_stage:2", "audit", "before_commit", "after_commit"])
@pytest.mark.parametrize(
    "system", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_p13_replace_in_place_killed_anywhere_shows_the_old_rows_or_the_new(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    first, second = unharmed("postgres", "replace")
    assert isinstance(scene.system, Postgres)
    scene.worker.run(scene.pipeline("replace"), *key("replace", "first")).fine()
    services.sql(scene.system.url, "CREATE VIEW raw.seen AS SELECT * FROM raw.items")
    change(scene.source, "replace")

    kill_and_run_again(scene, "replace", "second", point, first, second)
    assert scene.system.query("SELECT count(*) FROM raw.seen") == [(len(second.rows),)]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_p02_killed_mid_load_twice_then_run_once_leaves_nothing_staged(
    scene: Scene, unharmed: Unharmed, mode: str
) -> None:
    first, _ = unharmed(scene.system.name, mode)
    file, options = scene.pipeline(mode), key(mode, "first")
    for point in ("mid_stage:1", f"mid_stage:{FILES}"):
        scene.worker.run(file, *options, fault=point).killed()
        assert scene.system.relations() <= INTERNAL
    scene.worker.run(file, *options).fine()
    assert scene.loaded() == first
    assert scene.system.relations() == {"items", *INTERNAL}


def test_a_run_leaves_nothing_on_the_disk_it_runs_on(scene: Scene) -> None:
    file = scene.pipeline()
    scene.worker.run(file, fault="before_commit").killed()
    scene.worker.run(file).fine()
    assert scene.worker.files() == []


@pytest.mark.parametrize("point", ["mid_stage:2", "after_commit"])
def test_a_request_key_makes_an_append_without_a_cursor_load_once(scene: Scene, point: str) -> None:
    file = scene.pipeline("append_all")
    options = key("append_all", "monday")
    scene.worker.run(file, *options, fault=point).killed()
    again = scene.worker.fresh().run(file, *options, "--json").fine().document
    outcome = "replayed" if point == "after_commit" else "published"
    assert [r["outcome"] for r in again["results"]] == [outcome]
    once = scene.loaded()
    assert len(once.rows) == ROWS
    assert [r["request_key"] for r in once.chain] == ["monday"]

    scene.worker.run(file, *key("append_all", "tuesday")).fine()
    assert len(scene.loaded().rows) == 2 * ROWS
