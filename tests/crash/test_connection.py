"""The connection to PostgreSQL is cut while rows or the COMMIT are on their way."""

from __future__ import annotations

import pytest

from tests.crash.conftest import BOTH, Scene, Unharmed
from tests.crash.harness import Loaded
from tests.crash.proxy import Proxy, When
from tests.crash.systems import Postgres

pytestmark = pytest.mark.crash
only_postgres = pytest.mark.parametrize(
    "system", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@only_postgres
@pytest.mark.parametrize("table", BOTH)
@pytest.mark.parametrize("when", When)
def test_a_cut_is_settled_by_the_same_run(
    scene: Scene, unharmed: Unharmed, when: When, table: str
) -> None:
    assert isinstance(scene.system, Postgres)
    with Proxy(scene.system.url, when) as proxy:
        file = scene.pipeline({table: BOTH[table]}, url=proxy.url)
        ended = scene.worker.run(file, "--json").fine()
        assert proxy.cuts == 1
    assert [r["outcome"] for r in ended.document["results"]] == ["published"]
    assert scene.loaded(table) == unharmed("postgres")[0][table]


@only_postgres
@pytest.mark.parametrize("when", [When.BEFORE_COMMIT, When.AFTER_COMMIT])
def test_a_commit_whose_outcome_cannot_be_asked_is_settled_by_the_next_run(
    scene: Scene, unharmed: Unharmed, when: When
) -> None:
    assert isinstance(scene.system, Postgres)
    first = unharmed("postgres")[0]["items"]
    with Proxy(scene.system.url, when, stays_down=True) as proxy:
        file = scene.pipeline(url=proxy.url)
        ended = scene.worker.drive(file, "--attempts", "1")
        assert (ended.code, proxy.cuts) == (7, 1)
        failure = ended.document["failures"][0]
        assert failure["error"] == "PublishUnknownError"
        assert "unknown" in failure["lines"][1]
        assert scene.loaded() == (first if when is When.AFTER_COMMIT else Loaded([], []))

        proxy.come_back()
        scene.worker.run(file).fine()
    assert scene.loaded() == first
