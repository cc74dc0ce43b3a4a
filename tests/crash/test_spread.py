"""Loads in splits, killed at each fault point and run again: as if nothing had ever failed.

The expected content is that of loads in one piece: how a load is spread changes nothing in the end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import services
from tests.crash.conftest import BOTH, SPREAD, Content, Scene, Unharmed, killed_at
from tests.crash.harness import Loaded
from tests.crash.source import FILES
from tests.crash.systems import Parquet, Postgres

pytestmark = pytest.mark.crash

BEFORE_COMMIT = ("mid_stage:2", f"after_split:{FILES}", "audit", "before_commit")
NOTHING: Content = {table: Loaded([], []) for table in BOTH}


def pipeline(scene: Scene) -> Path:
    """Write the pipeline; rows wait in a folder that all workers share, where files are loaded."""
    if isinstance(scene.system, Postgres | Parquet):
        return scene.pipeline(SPREAD)
    return scene.pipeline(SPREAD, staging=str(scene.folder / "staging"))


def staged(scene: Scene) -> list[str]:
    """List what waits in staging."""
    if isinstance(scene.system, Postgres):
        names = {n for n in scene.system.relations() if n.startswith("_conduit_stage_")}
        tables = {"_conduit_open_loads", "_conduit_receipts"} & scene.system.relations()
        held = [scene.system.query(f"SELECT plan_id FROM {scene.system.place(t)}") for t in tables]
        return sorted(names) + [str(row) for rows in held for row in rows]
    folder = scene.folder / "staging"
    if isinstance(scene.system, Parquet):
        folder = scene.system.path / "_conduit" / "staging"
    files = (p for p in folder.rglob("*") if p.is_file())
    return sorted(p.name for p in files if p.name != "probe.json")


def kill(scene: Scene, fault: str, expected: Content, *args: str) -> None:
    """Kill a run, and check that its targets show what they must."""
    scene.worker.run(pipeline(scene), "--workers", "1", *args, fault=fault).killed()
    assert {table: scene.loaded(table) for table in BOTH} == expected


def run_again(scene: Scene, expected: Content) -> None:
    """Run on another machine, which has nothing but the pipeline file; compare."""
    again = scene.worker.fresh()
    again.run(pipeline(scene)).fine()
    assert {table: scene.loaded(table) for table in BOTH} == expected
    assert staged(scene) == []
    assert scene.worker.files() + again.files() == [], "state on a worker's disk"


@pytest.mark.parametrize(
    ("system", "point"),
    # a folder of staged files is the same beside DuckDB, SQLite and files: all points on one
    killed_at(
        [*BEFORE_COMMIT, "after_commit"],
        ("after_commit",),
        [("postgres", "audit"), ("duckdb", "mid_stage:2")],
    ),
    indirect=["system"],
)
def test_p01_p02_a_load_in_splits_killed_anywhere_loads_each_row_once(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    """In the stream that appends over nothing, in the one that replaces over what is there.

    The other way round is killed without splits, in test_killed.
    """
    fault = point if ":" in point else f"{point}:1"
    done = point == "after_commit"
    first, second = unharmed(scene.system.name)
    between = {"items": first["items"], "snapshot": NOTHING["snapshot"]}
    kill(scene, f"{fault}:items", between if done else NOTHING)
    run_again(scene, first)
    scene.source.grow()
    between = {"items": second["items"], "snapshot": first["snapshot"]}
    kill(scene, f"{fault}:snapshot", second if done else between)
    run_again(scene, second)


def test_p02_killed_by_turns_split_after_split(scene: Scene, unharmed: Unharmed) -> None:
    """Each run stages one split more, is killed, and the last one finishes."""
    first, _ = unharmed(scene.system.name)
    for _ in range(FILES):
        kill(scene, "after_split:1:items", NOTHING)
    run_again(scene, first)


def test_p02_a_frozen_worker_that_wakes_after_the_publish_changes_nothing(
    scene: Scene, unharmed: Unharmed
) -> None:
    """A zombie: it stops in the middle of a split, another run loads all, then it goes on."""
    first, _ = unharmed(scene.system.name)
    zombie = scene.worker.start(
        pipeline(scene), "--workers", "1", "--stream", "items", freeze="after_split:2:items"
    ).stopped()
    run_again(scene, first)
    ended = zombie.go_on().end()
    assert ended.code == 0, ended.err  # its own load is there: nothing is new
    assert {table: scene.loaded(table) for table in BOTH} == first


@pytest.mark.postgres
@pytest.mark.parametrize("system", ["postgres"], indirect=True)
def test_p02_the_server_crashes_between_staging_and_publish(
    scene: Scene, unharmed: Unharmed
) -> None:
    """Staging is as durable as its receipts: what a crash of the server takes, it takes whole.

    The shared server isn't crashed here (its own test does that): its unlogged tables are emptied,
    which is what recovery does.
    """
    first, _ = unharmed(scene.system.name)
    kill(scene, "audit:1:items", NOTHING)
    assert isinstance(scene.system, Postgres)
    gone = [n for n in staged(scene) if n.startswith("_conduit_stage_")]
    tables = [*gone, "_conduit_open_loads", "_conduit_receipts"]
    services.sql(
        scene.system.url, "TRUNCATE " + ", ".join(scene.system.place(table) for table in tables)
    )
    scene.worker.fresh().run(pipeline(scene)).fine()
    assert {table: scene.loaded(table) for table in BOTH} == first
    scene.worker.launch(
        ["-m", "conduit_core.cli", "clean", str(pipeline(scene)), "--older-than", "0d"]
    ).end().fine()
    assert staged(scene) == []
