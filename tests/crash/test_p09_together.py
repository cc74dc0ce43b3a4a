"""Two runs at once: one wins, nothing is lost, nothing is there twice."""

from __future__ import annotations

import pytest

from tests.crash.conftest import BOTH, SYSTEMS, Scene, Unharmed
from tests.crash.harness import Running
from tests.crash.source import ROWS, ROWS_PER_FILE
from tests.crash.systems import Parquet

pytestmark = pytest.mark.crash

# A DuckDB file belongs to one process from plan to end: a run there can't meet another one inside.
SHARED = pytest.mark.parametrize("system", [s for s in SYSTEMS if s != "duckdb"], indirect=True)


@SHARED
@pytest.mark.parametrize("table", BOTH)
@pytest.mark.parametrize("point", ["after_plan", "before_commit"])
def test_p09_two_runs_at_once_publish_once(
    scene: Scene, unharmed: Unharmed, table: str, point: str
) -> None:
    """Both have planned the same load; the first stops there, or at the end with the lock held."""
    file = scene.pipeline({table: BOTH[table]})
    one = scene.worker.start(file, "--json", freeze=point).stopped()
    two = scene.worker.start(file, "--json", freeze="after_plan").stopped().go_on()
    if point == "after_plan":  # nothing holds the second one up
        two.wait()
    outcomes = [outcome(one.go_on()), outcome(two)]
    assert sorted(outcomes) == ["published", "replayed"]
    if point == "after_plan" or not isinstance(scene.system, Parquet):  # files: no lock to hold
        assert outcomes.index("published") == (1 if point == "after_plan" else 0)
    assert scene.loaded(table) == unharmed(scene.system.name)[0][table]


def outcome(running: Running) -> str:
    """Return how the only stream of a run ended."""
    (result,) = running.end().fine().document["results"]
    found: str = result["outcome"]
    return found


@SHARED
@pytest.mark.parametrize("attempts", [1, 3])
def test_p09_the_run_that_comes_second_is_refused_or_plans_again(
    scene: Scene, unharmed: Unharmed, attempts: int
) -> None:
    """The two ask for different things, so the loser's rows are not what was published."""
    file = scene.pipeline()
    command = [*scene.worker.driver(file), "--attempts", str(attempts), "--to", str(ROWS_PER_FILE)]
    one = scene.worker.launch(command, freeze="after_plan").stopped()
    scene.worker.run(file).fine()
    ended = one.go_on().end()
    if attempts == 1:
        assert ended.code == 7
        (failure,) = ended.document["failures"]
        assert (failure["error"], failure["retry"]) == ("ConcurrentLoadError", "plan")
    else:
        assert [r["outcome"] for r in ended.fine().document["results"]] == ["empty"]
    assert scene.loaded() == unharmed(scene.system.name)[0]["items"]


def test_p09_a_run_waits_for_another_process(scene: Scene, unharmed: Unharmed) -> None:
    """Whoever holds the lock, or the file, keeps the other one waiting, not failing."""
    file = scene.pipeline()
    one = scene.worker.start(file, freeze="before_commit").stopped()
    others = [scene.worker.start(file) for _ in range(2)]
    one.go_on().end().fine()
    for other in others:
        other.end().fine()
    assert scene.loaded() == unharmed(scene.system.name)[0]["items"]


def test_p09_a_lock_that_never_comes_free_is_an_error_that_says_so(scene: Scene) -> None:
    one = scene.worker.start(scene.pipeline(), freeze="before_commit").stopped()
    impatient = scene.pipeline(lock_wait="1s")
    ended = scene.worker.drive(impatient, "--attempts", "1")
    if isinstance(scene.system, Parquet):  # has no locks: nobody waits for who is frozen
        ended.fine()
        one.go_on().end().fine()
        assert len(scene.loaded().rows) == ROWS
        return
    assert ended.code in {3, 7}
    (failure,) = ended.document["failures"]
    assert "lock_wait" in failure["lines"][0]
    assert failure["retry"] == "step"
    one.go_on().end().fine()
    assert len(scene.loaded().rows) == ROWS


def test_p09_first_runs_at_once_make_the_ledger_once(scene: Scene) -> None:
    """Pipelines meet in an empty destination; schema and internal tables are made by one."""
    names = [f"items{n}" for n in range(3)]
    together = [
        scene.worker.start(scene.pipeline({name: "append"}, name=name), freeze="before_plan")
        for name in names
    ]
    for running in together:
        running.stopped()
    for running in together:
        running.go_on()
    for running in together:
        running.end().fine()
    for name in names:
        assert len(scene.loaded(name).rows) == ROWS


@SHARED
def test_p09_two_pipelines_that_want_one_target(scene: Scene) -> None:
    """Both find it unclaimed; the first to publish owns it."""
    one = scene.worker.start(scene.pipeline(name="one"), freeze="after_plan").stopped()
    scene.worker.run(scene.pipeline(name="two")).fine()
    ended = one.go_on().end()
    assert ended.code == 6
    assert "conduit state adopt" in ended.err
    assert len(scene.loaded().rows) == ROWS
    assert [r["pipeline"] for r in scene.loaded().chain] == ["two"]


def test_p09_a_second_pipeline_is_refused_at_plan(scene: Scene) -> None:
    scene.worker.run(scene.pipeline(name="two")).fine()
    before = scene.loaded()
    ended = scene.worker.run(scene.pipeline(name="one"))
    assert ended.code == 6
    assert "conduit state adopt" in ended.err
    assert scene.loaded() == before


@SHARED
def test_p09_rows_that_came_while_the_other_run_loaded_are_not_lost(scene: Scene) -> None:
    """The first plans up to the last row; then rows come, and a second run takes all of them."""
    file = scene.pipeline()
    one = scene.worker.start(file, freeze="after_plan").stopped()
    scene.source.grow()
    scene.worker.run(file).fine()
    one.go_on().end().fine()
    found = scene.loaded()
    assert [row[1] for row in found.rows] == list(range(2 * ROWS))
    assert len(found.chain) == 1


@SHARED
def test_p09_a_run_ends_at_the_newest_row_it_saw(scene: Scene) -> None:
    """The second run sees more rows than the first, which publishes before it."""
    file = scene.pipeline()
    one = scene.worker.start(file, freeze="before_commit").stopped()
    scene.source.grow()
    two = scene.worker.start(file, freeze="after_plan").stopped()
    one.go_on().end().fine()
    two.go_on().end().fine()
    assert [row[1] for row in scene.loaded().rows] == list(range(2 * ROWS))
