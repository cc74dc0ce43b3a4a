"""Widening in DuckDB, which alters no column beside some indexes, keys and generated columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from conduit_core.connectors.publish import AppendStaged, Column, WidenColumn
from conduit_core.errors import SchemaError
from conduit_core.testing.doubles import publish, record
from conduit_core.testing.fixtures import commit
from conduit_core.types.dialect import Table
from tests.connectors.test_duckdb import destination_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conduit_core.connectors.base import Destination


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.duckdb"


@pytest.fixture
def destination(path: Path) -> Iterator[Destination]:
    made = destination_on(path)
    yield made
    made.close()


def make(path: Path, sql: str) -> list[tuple[object, ...]]:
    import duckdb

    with duckdb.connect(path) as con:
        return con.execute(sql).fetchall()


def widen(destination: Destination) -> None:
    """Load a row with ``n`` widened, and let it have NULLs."""
    was = Column(name="n", ddl="INTEGER", nullable=False)
    change = WidenColumn(column=Column(name="n", ddl="BIGINT"), was=was)
    rows = pa.table({"id": pa.array([9], pa.int64()), "n": pa.array([2**40])})
    commit(destination, publish(record("t", "main"), rows.schema, change, AppendStaged()), rows)
    destination.close()


_INDEXES = "SELECT index_name, sql FROM duckdb_indexes() ORDER BY 1"


@pytest.mark.parametrize(
    ("made", "indexes"),
    [
        ("", 'CREATE INDEX i ON t (x); CREATE UNIQUE INDEX "odd ""i" ON t (id);'),
        ("", 'CREATE INDEX i ON t (n); CREATE UNIQUE INDEX "odd ""i" ON t (id, abs(n));'),
        (", PRIMARY KEY (id), CHECK (x > 'a')", "CREATE INDEX i ON t (x);"),
        (", UNIQUE (id), g INTEGER GENERATED ALWAYS AS (id + 1)", ""),
    ],
)  # fmt: skip
def test_indexes_and_what_is_on_other_columns_stay(
    path: Path, destination: Destination, made: str, indexes: str
) -> None:
    make(
        path,
        f"CREATE TABLE t (id BIGINT, n INTEGER NOT NULL DEFAULT 3, x VARCHAR DEFAULT 'b'{made});"
        f"COMMENT ON TABLE t IS 'it''s t'; COMMENT ON COLUMN t.n IS 'n';"
        f"INSERT INTO t (id, n) SELECT range, range FROM range(1) ; {indexes}",
    )
    constraints = (
        "SELECT constraint_type, constraint_text FROM duckdb_constraints()"
        " WHERE table_name = 't' AND constraint_text <> 'NOT NULL' ORDER BY 1, 2"
    )
    before = make(path, _INDEXES), make(path, constraints)
    widen(destination)
    assert (make(path, _INDEXES), make(path, constraints)) == before
    assert make(path, "SELECT id, n, x FROM t ORDER BY 1") == [(0, 0, "b"), (9, 2**40, "b")]
    facts = "SELECT data_type, is_nullable, column_default, comment FROM duckdb_columns() WHERE"
    assert make(path, f"{facts} column_name = 'n' AND table_name = 't'") == [
        ("BIGINT", True, "3", "n")
    ]
    comment = "SELECT comment FROM duckdb_tables() WHERE table_name = 't'"
    assert make(path, comment) == [("it's t",)]


@pytest.mark.parametrize(
    ("columns", "beside", "what"),
    [
        ("id BIGINT, n INTEGER PRIMARY KEY", "", "PRIMARY KEY(n)"),
        ("id BIGINT, n INTEGER CHECK (n < 9)", "", "CHECK((n < 9))"),
        ("id BIGINT, n INTEGER, g INTEGER AS (n + 1)", "", "generated column g"),
        ("id BIGINT, n INTEGER REFERENCES p (a)", "", "FOREIGN KEY (n) REFERENCES p(a)"),
        (
            "id BIGINT PRIMARY KEY, n INTEGER",
            "CREATE TABLE c (a BIGINT REFERENCES t (id))",
            "main.c: FOREIGN KEY (a) REFERENCES t(id)",
        ),
        (
            "id BIGINT PRIMARY KEY, n INTEGER",
            "CREATE INDEX i ON t (n)",
            "index i beside PRIMARY KEY(id)",
        ),
    ],
)
def test_what_duckdb_cannot_alter_beside_is_named(
    path: Path, destination: Destination, columns: str, beside: str, what: str
) -> None:
    make(path, f"CREATE TABLE p (a INTEGER PRIMARY KEY); CREATE TABLE t ({columns}); {beside}")
    assert what in destination.holders(Table("main", "t"), ("n",))
    with pytest.raises(SchemaError, match="put it back") as error:
        widen(destination)
    assert what in error.value.message
    destination.close()
    type_of = "SELECT data_type FROM duckdb_columns() WHERE column_name = 'n' AND table_name = 't'"
    assert make(path, type_of) == [("INTEGER",)]
