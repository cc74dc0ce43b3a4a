"""Deletes in PostgreSQL: rows that stay as they are, partitions, keys of another collation."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from conduit_core.connectors.postgres.destination import PostgresDestination
from conduit_core.testing.deleting import Upserts
from tests.connectors.postgres.support import destination_at
from tests.services import sql

_VERSIONS = "SELECT id, xmin::text, ctid::text FROM t ORDER BY id"
_DELETED = "_conduit_deleted_at timestamptz"


@pytest.fixture
def destination(postgres_database: str) -> Iterator[PostgresDestination]:
    made = destination_at(postgres_database)
    yield made
    made.close()


@pytest.mark.parametrize("detect", ["flag", "missing", "listed"])
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_a_load_that_finds_the_same_makes_no_row_version(
    postgres_database: str, destination: PostgresDestination, detect: str, *, soft: bool
) -> None:
    it = Upserts(destination, "public", soft=soft)
    it.flag((1, 1, "a", None), (2, 1, "b", None), (3, 1, "c", None))

    def load() -> dict[str, int]:
        if detect == "flag":
            flagged = pa.scalar(0, pa.timestamp("us", "UTC")).as_py()
            return it.flag((1, 1, "a", None), (2, 1, "b", flagged))
        if detect == "missing":
            return it.missing([(1, 1, "a")], [(1, 1), (3, 1)])
        return it.listed([(1, 1, "a")], [(2, 1)])

    assert load()["deleted"] == 1
    before = sql(postgres_database, _VERSIONS)
    assert len(before) == (3 if soft else 2)
    found = load()
    assert found.get("deleted", 0) == (1 if detect == "flag" else 0)
    assert found["unchanged"] == 1
    assert sql(postgres_database, _VERSIONS) == before


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_rows_of_partitions_are_deleted_where_they_lie(
    postgres_database: str, destination: PostgresDestination, *, soft: bool
) -> None:
    deleted = f", {_DELETED}" if soft else ""
    sql(
        postgres_database,
        f"CREATE TABLE t (id bigint, at bigint, v text{deleted}) PARTITION BY LIST (id);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);"
        "CREATE TABLE t3 PARTITION OF t DEFAULT;",
    )
    it = Upserts(destination, "public", soft=soft)
    it.missing([(n, 1, "a") for n in range(1, 6)], [(n, 1) for n in range(1, 6)])
    # Each partition's first row has the same ctid.
    assert it.missing([], [(1, 1), (3, 1), (4, 1), (5, 1)]) == {"deleted": 1}
    assert it.content()[:2] == [(1, 1, "a"), *(it.gone(2, 1, "a") or [(3, 1, "a")])]
    flagged = pa.scalar(0, pa.timestamp("us", "UTC")).as_py()
    assert it.flag((1, 1, "a", flagged)) == {"read": 1, "deleted": 1}
    assert len(it.content()) == (5 if soft else 3)
    assert it.listed([], [(4, 9)]) == {"deleted": 1}


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_keys_of_another_collation_than_the_databases_own(
    postgres_database: str, destination: PostgresDestination, *, soft: bool
) -> None:
    deleted = f", {_DELETED}" if soft else ""
    sql(postgres_database, f'CREATE TABLE t (id text COLLATE "POSIX", n bigint{deleted})')
    rows = pa.table({"id": [""], "n": [0]}).schema
    it = Upserts(destination, "public", soft=soft, rows=rows, order=())
    it.missing([("a", 1), ("B", 1), ("c", 1)], [("a",), ("B",), ("c",)])
    assert it.missing([("c", 2)], [("a",), ("b",)], again=[("b", 3)]) == {
        "read": 2, "inserted": 1, "updated": 1, "deleted": 1,
    }  # fmt: skip
    alive = [row for row in it.content() if len(row) == 2]
    assert alive == [("a", 1), ("b", 3), ("c", 2)]
