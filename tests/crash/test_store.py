"""A runner's state store is a mirror: killed before or after it is written, it is made good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.conftest import Scene, Unharmed

pytestmark = pytest.mark.crash


def mirrored(store: Path) -> dict[str, str] | None:
    """Return the store's only entry, None if there is none."""
    if not store.exists():
        return None
    (text,) = json.loads(store.read_text()).values()
    entry: dict[str, str] = json.loads(text)
    return entry


@pytest.mark.parametrize(
    ("system", "point"),
    [
        pytest.param("postgres", "after_commit", marks=pytest.mark.postgres),
        ("duckdb", "before_commit"),
        ("duckdb", "after_commit"),
        ("sqlite", "after_mirror"),
    ],
    indirect=["system"],
)
def test_p01_killed_around_the_mirror_the_next_run_rolls_it_forward(
    scene: Scene, unharmed: Unharmed, point: str
) -> None:
    first, second = (content["items"] for content in unharmed(scene.system.name))
    file, store = scene.pipeline(), scene.folder / "store.json"
    options = ("--store", str(store))

    scene.worker.drive(file, *options, fault=point).killed()
    assert (mirrored(store) is not None) == (point == "after_mirror")
    ended = scene.worker.fresh().drive(file, *options).fine()
    told = any("state store" in n for n in ended.document["notices"])
    assert told == (point == "after_commit")
    assert scene.loaded() == first
    entry = mirrored(store)
    assert entry is not None
    assert (entry["version"], entry["cursor"]) == ("1", first.chain[-1]["cursor"])

    scene.source.grow()
    scene.worker.drive(file, *options, fault=point).killed()
    ended = scene.worker.fresh().drive(file, *options).fine()
    told = any("at version 1, the ledger at 2" in n for n in ended.document["notices"])
    assert told == (point == "after_commit")
    assert scene.loaded() == second
    entry = mirrored(store)
    assert entry is not None
    assert (entry["version"], entry["cursor"]) == ("2", second.chain[-1]["cursor"])
