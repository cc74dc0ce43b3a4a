"""p23: the pipeline file says where rows go; state of another target stops the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from conduit_core import RunRequest, run
from conduit_core.errors import StateDivergedError
from conduit_core.state.store import InMemoryStateStore
from tests.lab import DESTINATIONS, Lab, only


@pytest.fixture(params=DESTINATIONS)
def labs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Lab, Lab]]:
    """Two destinations of one kind, with the same schema and table."""
    with ExitStack() as databases:
        made = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            kind = request.param
            if kind == "postgres":
                server = request.getfixturevalue("postgres_server")
                kind = server.create_database()
                databases.callback(server.drop_database, kind)
            lab = Lab(folder, kind)
            lab.orders([1, 2, 3])
            made.append(lab)
        yield made[0], made[1]


def test_p23_a_store_of_another_target_stops_the_run_and_writes_nothing(
    labs: tuple[Lab, Lab],
) -> None:
    one, two = labs
    store = InMemoryStateStore()
    only(run(one.pipeline(), store=store))
    before = dict(store._entries)
    (failure,) = run(two.pipeline(), store=store).failures
    error = failure.to_error()
    assert isinstance(error, StateDivergedError)
    assert "another target" in error.message
    assert failure.exit_code == 6
    assert two.chain() == []
    assert store._entries == before
    assert len(one.chain()) == 1
    assert one.ids() == [1, 2, 3]


@pytest.mark.parametrize(
    "request_", [RunRequest(full_refresh=True), RunRequest(window_from="1", request_key="k")]
)
def test_p23_no_kind_of_request_goes_round_it(labs: tuple[Lab, Lab], request_: RunRequest) -> None:
    one, two = labs
    store = InMemoryStateStore()
    only(run(one.pipeline(), store=store))
    (failure,) = run(two.pipeline(), store=store, request=request_).failures
    assert failure.error == "StateDivergedError"
    assert two.chain() == []


def test_p23_without_its_entry_the_new_target_is_loaded_from_the_start(
    labs: tuple[Lab, Lab],
) -> None:
    one, two = labs
    store = InMemoryStateStore()
    only(run(one.pipeline(), store=store))
    store._entries.clear()
    assert only(run(two.pipeline(), store=store)).counts.read == 3
    assert two.ids() == one.ids() == [1, 2, 3]
