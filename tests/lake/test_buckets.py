"""The contract's core in buckets: S3 and GCS, each by its stand-in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import pyarrow as pa
import pytest

from conduit_core.connectors.lake.destination import LakeDestination
from conduit_core.connectors.objects import ObjectStore
from conduit_core.errors import (
    ConcurrentLoadError,
    ConnectionFailedError,
    PublishError,
    PublishUnknownError,
)
from conduit_core.events import ignore
from conduit_core.testing.doubles import TableRows
from conduit_core.testing.fixtures import Connect, ids, load
from conduit_core.testing.publishing import PublishContract, _append, _more
from conduit_core.types.dialect import Table
from tests.lake.test_contract import Optimistic
from tests.lake.worker import destination_at
from tests.objects.conftest import make_place


class TestBuckets(Optimistic, PublishContract):
    """Publishing; values and names are the formats' own and don't change with the store."""

    @pytest.fixture(params=["s3", "gcs"])
    def connect(self, request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
        place = make_place(request.param, request, tmp_path)
        url = f"{place.url}?{urlencode(place.options)}"
        return lambda: destination_at(url, "parquet", partition_by="id")


# --- answers that get lost ------------------------------------------------------------------------


class Flaky(ObjectStore):
    """A store whose answer to the put of a manifest is lost, before it arrives or after."""

    def __init__(self, inner: ObjectStore, *, arrives: bool, readable: bool) -> None:
        self.inner, self.arrives, self.readable = inner, arrives, readable
        self.identity = inner.identity
        self.lost = False

    def put(self, path: str, data: bytes, *, create: bool = False) -> bool:
        if create and path.endswith("00000002.json") and not self.lost:
            self.lost = True
            if self.arrives:
                self.inner.put(path, data, create=True)
            raise ConnectionFailedError("the answer was lost on command")
        return self.inner.put(path, data, create=create)

    def get(self, path: str) -> bytes | None:
        if self.lost and not self.readable:
            raise ConnectionFailedError("out of reach on command")
        return self.inner.get(path)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def entries(self, prefix: str = "") -> list:  # type: ignore[type-arg]
        return self.inner.entries(prefix)

    def delete(self, paths) -> None:  # type: ignore[no-untyped-def]
        self.inner.delete(paths)

    def writer(self, path: str):  # type: ignore[no-untyped-def]
        return self.inner.writer(path)

    def reader(self, path: str):  # type: ignore[no-untyped-def]
        return self.inner.reader(path)


def flaky(root: Path, *, arrives: bool, readable: bool) -> LakeDestination:
    made = cast("LakeDestination", destination_at(root))
    place = made._place
    store = Flaky(place.store, arrives=arrives, readable=readable)
    from conduit_core.connectors.lake.formats import ParquetFormat

    return LakeDestination("parquet", store, ParquetFormat("zstd"), place.options, str(root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    load(destination_at(tmp_path / "lake"), "", "t", _more(1, 2, 3))
    return tmp_path / "lake"


def test_a_commit_whose_answer_is_lost_is_found_to_be_ours(root: Path) -> None:
    done = flaky(root, arrives=True, readable=True).commit(_append(""), TableRows(_more(4)), ignore)
    assert done.record is not None
    assert not done.replayed
    assert ids(destination_at(root), "", "t") == [1, 2, 3, 4]


def test_a_commit_that_never_arrived_says_so_and_runs_again(root: Path) -> None:
    plan = _append("")
    with pytest.raises(PublishError, match="commit failed") as error:
        flaky(root, arrives=False, readable=True).commit(plan, TableRows(_more(4)), ignore)
    assert error.value.retry == "step"
    assert ids(destination_at(root), "", "t") == [1, 2, 3]
    destination_at(root).commit(plan, TableRows(_more(4)), ignore)
    assert ids(destination_at(root), "", "t") == [1, 2, 3, 4]


@pytest.mark.parametrize("arrives", [True, False])
def test_an_outcome_that_cannot_be_asked_for_is_settled_by_the_next_run(
    root: Path, arrives: bool
) -> None:
    plan = _append("")
    with pytest.raises(PublishUnknownError):
        flaky(root, arrives=arrives, readable=False).commit(plan, TableRows(_more(4)), ignore)
    done = destination_at(root).commit(plan, TableRows(_more(4)), ignore)
    assert done.replayed == arrives
    assert ids(destination_at(root), "", "t") == [1, 2, 3, 4]


def test_a_number_that_was_cleaned_away_is_not_taken_again(root: Path) -> None:
    """A process slept for days between its look at the chain and its put."""
    destination = cast("LakeDestination", destination_at(root))
    other = destination_at(root)
    logs = destination._place.logs
    append = logs.append

    def late(target: Table, manifest: object) -> bool:
        for number in (10, 11):
            other.commit(_append(""), TableRows(_more(number)), ignore)
        other.clean(timedelta(seconds=-1), dry_run=False)  # type: ignore[attr-defined]
        return append(target, manifest)  # type: ignore[arg-type]

    logs.append = late  # type: ignore[method-assign]
    with pytest.raises(ConcurrentLoadError, match="long before"):
        destination.commit(_append(""), TableRows(_more(4)), ignore)
    assert ids(other, "", "t") == [1, 2, 3, 10, 11]
    assert [r.version for r in other.records(None)] == [3]


def test_schemas_are_folders_and_targets_keep_apart(tmp_path: Path) -> None:
    destination = destination_at(tmp_path)
    for schema, name in (("", "a"), ("a", "b"), ("a", "a"), ("b/c", "_x")):
        rows = pa.table({"id": [len(schema), len(name)]})
        load(destination, schema, name, rows)
    assert (tmp_path / "b%2Fc" / "%5Fx").is_dir()
    assert {(r.target_schema, r.target_table) for r in destination.records(None)} == {
        ("", "a"), ("a", "b"), ("a", "a"), ("b/c", "_x")
    }  # fmt: skip
    for path in tmp_path.rglob("*.parquet"):
        import os

        os.utime(path, (0, 0))
    assert destination.clean(timedelta(0), dry_run=False) == []  # type: ignore[attr-defined]
    assert ids(destination, "a", "b") == [1, 1]
