"""The real command, killed at each fault point and run again: as if it had never failed."""

from __future__ import annotations

import pytest

from tests import services
from tests.crash.conftest import BOTH, Content, Scene, Unharmed, killed_at
from tests.crash.harness import Loaded
from tests.crash.source import FILES, ROWS
from tests.crash.systems import INTERNAL_TABLES, Postgres

pytestmark = pytest.mark.crash

BEFORE_COMMIT = ("before_plan", "mid_stage:2", "audit", "before_commit")
INTERNAL = INTERNAL_TABLES
NOTHING: Content = {table: Loaded([], []) for table in BOTH}


def kill(scene: Scene, fault: str, expected: Content) -> None:
    """Kill a run; check that its targets show what they must, and that nothing else is there."""
    others = scene.system.relations() - INTERNAL - set(BOTH)
    scene.worker.run(scene.pipeline(BOTH), fault=fault).killed()
    assert {table: scene.loaded(table) for table in BOTH} == expected
    assert scene.system.relations() <= {*BOTH, *INTERNAL, *others}, "something staged was left"


def run_again(scene: Scene, expected: Content) -> None:
    """Run on another machine, which has nothing but the pipeline file; compare."""
    others = scene.system.relations() - INTERNAL - set(BOTH)
    again = scene.worker.fresh()
    again.run(scene.pipeline(BOTH)).fine()
    assert {table: scene.loaded(table) for table in BOTH} == expected
    assert scene.system.relations() >= {*BOTH, *others}
    assert scene.system.relations() <= {*BOTH, *INTERNAL, *others}
    assert scene.worker.files() + again.files() == [], "state on a worker's disk"


@pytest.mark.parametrize(
    ("system", "point"),
    killed_at(
        [*BEFORE_COMMIT, "after_commit"],
        ("mid_stage:2", "after_commit"),
        [("postgres", "mid_stage:2"), ("duckdb", "audit")],
    ),
    indirect=["system"],
)
def test_p01_p13_killed_anywhere_loads_each_row_once(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    """Killed in the stream that appends, run again and killed in the one that replaces, run again.

    First over nothing, then over what is there. Readers see the old rows or the new ones.
    """
    old = NOTHING
    for new in unharmed(scene.system.name):
        between = {"items": new["items"], "snapshot": old["snapshot"]}
        fault = point if ":" in point else f"{point}:1"
        if point in BEFORE_COMMIT:
            kill(scene, f"{fault}:items", old)
            kill(scene, f"{fault}:snapshot", between)
        else:
            kill(scene, f"{fault}:items", between)
            kill(scene, f"{fault}:snapshot", new)
        run_again(scene, new)
        scene.source.grow()
        old = new


def test_p01_killed_when_all_is_done_changes_nothing(scene: Scene, unharmed: Unharmed) -> None:
    first, _ = unharmed(scene.system.name)
    kill(scene, "after_hooks", first)
    run_again(scene, first)


def test_p02_killed_mid_load_then_run_once_leaves_nothing_staged(
    scene: Scene, unharmed: Unharmed
) -> None:
    """At the first batch and at the last; the retry that comes then is the only one."""
    first, _ = unharmed(scene.system.name)
    kill(scene, "mid_stage:1:items", NOTHING)
    kill(scene, f"mid_stage:{FILES}:items", NOTHING)
    run_again(scene, first)


@pytest.mark.parametrize("point", ["mid_stage:2", "before_commit:1", "after_commit:1"])
@pytest.mark.parametrize(
    "system", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_p13_replace_in_place_killed_anywhere_shows_the_old_rows_or_the_new(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    """A view hangs on the table, so it can't be swapped: its rows are replaced where they are."""
    first, second = unharmed(scene.system.name)
    assert isinstance(scene.system, Postgres)
    scene.worker.run(scene.pipeline(BOTH)).fine()
    services.sql(scene.system.url, "CREATE VIEW raw.seen AS SELECT * FROM raw.snapshot")
    scene.source.grow()

    done = point.startswith("after")
    kill(
        scene, f"{point}:snapshot", {**second, "snapshot": (second if done else first)["snapshot"]}
    )
    assert scene.system.query("SELECT count(*) FROM raw.seen") == [((1 + done) * ROWS,)]
    run_again(scene, second)
    assert scene.system.query("SELECT count(*) FROM raw.seen") == [(2 * ROWS,)]


@pytest.mark.parametrize("point", ["mid_stage:2", "after_commit"])
def test_p01_a_request_key_makes_an_append_without_a_cursor_load_once(
    scene: Scene, point: str
) -> None:
    file = scene.pipeline({"items": "append without cursor"})
    scene.worker.run(file, "--request-key", "monday", fault=point).killed()
    again = scene.worker.fresh().run(file, "--request-key", "monday", "--json").fine().document
    outcome = "replayed" if point == "after_commit" else "published"
    assert [r["outcome"] for r in again["results"]] == [outcome]
    found = scene.loaded()
    assert len(found.rows) == ROWS
    assert [r["request_key"] for r in found.chain] == ["monday"]
