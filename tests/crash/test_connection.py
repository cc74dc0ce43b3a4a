"""The connection to PostgreSQL is cut while rows or the COMMIT are on their way."""

from __future__ import annotations

import pytest

from tests.crash.conftest import Scene, Unharmed
from tests.crash.harness import Loaded
from tests.crash.proxy import Proxy, When
from tests.crash.systems import Postgres

pytestmark = pytest.mark.crash
only_postgres = pytest.mark.parametrize(
    "system", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@only_postgres
@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("when", When)
def test_a_cut_is_settled_by_the_same_run(
    scene: Scene, unharmed: Unharmed, when: When, mode: str
) -> None:
    assert isinstance(scene.system, Postgres)
    with Proxy(scene.system.url, when) as proxy:
        ended = scene.worker.run(scene.pipeline(mode, url=proxy.url), "--json").fine()
        assert proxy.cuts == 1
    assert [r["outcome"] for r in ended.document["results"]] == ["published"]
    assert without_keys(scene.loaded()) == without_keys(unharmed("postgres", mode)[0])


@only_postgres
@pytest.mark.parametrize("when", [When.BEFORE_COMMIT, When.AFTER_COMMIT])
def test_a_commit_whose_outcome_cannot_be_asked_is_settled_by_the_next_run(
    scene: Scene, unharmed: Unharmed, when: When
) -> None:
    assert isinstance(scene.system, Postgres)
    first, _ = unharmed("postgres", "append")
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


def without_keys(found: Loaded) -> Loaded:
    """Return the same without the request keys, which these runs were not given."""
    return Loaded(found.rows, [{**record, "request_key": None} for record in found.chain])
