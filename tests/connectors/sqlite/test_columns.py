"""Widening in SQLite: a new table, declared as the old one was, with all that hung on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import AddColumn, AppendStaged, Column, WidenColumn
from conduit_core.connectors.sqlite.redeclare import redeclared
from conduit_core.errors import ConduitError, SchemaError
from conduit_core.testing.doubles import publish, record
from conduit_core.testing.fixtures import commit
from tests.connectors.sqlite.files import destination_at, query, sqlite

_N = Column(name="n", ddl="DECIMAL TEXT(12, 2)")


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("CREATE TABLE t(n INT)", "(n DECIMAL TEXT(12, 2))"),
        ("CREATE TABLE t(a, n)", "(a, n DECIMAL TEXT(12, 2))"),
        ("CREATE TABLE t(n NOT NULL, a)", "(n DECIMAL TEXT(12, 2) , a)"),
        (
            "CREATE TABLE \"t(\" (a INT CHECK (a IN (1, 2)), [N] VARCHAR(10, 2) DEFAULT '1,0')",
            "(a INT CHECK (a IN (1, 2)), [N] DECIMAL TEXT(12, 2) DEFAULT '1,0')",
        ),
        (
            'CREATE TABLE t(`n` INT -- n, "n"\n CONSTRAINT m NOT NULL ON CONFLICT FAIL UNIQUE)',
            "(`n` DECIMAL TEXT(12, 2) -- n, \"n\"\n  UNIQUE)",
        ),
        (
            "CREATE TABLE t(/* n INT */ a INT NOT NULL, n NOT NULL CHECK (n IS NOT NULL))",
            "(/* n INT */ a INT NOT NULL, n DECIMAL TEXT(12, 2)  CHECK (n IS NOT NULL))",
        ),
        (
            "CREATE TABLE t(n, UNIQUE (n), CHECK(n > 1)) WITHOUT ROWID",
            "(n DECIMAL TEXT(12, 2), UNIQUE (n), CHECK(n > 1)) WITHOUT ROWID",
        ),
    ],
)  # fmt: skip
def test_only_the_column_is_declared_anew(sql: str, wanted: str) -> None:
    assert redeclared(sql, '"new"', (_N,)) == f'CREATE TABLE "new" {wanted}'


def test_a_column_that_stays_not_null() -> None:
    stays = _N.model_copy(update={"nullable": False})
    found = redeclared("CREATE TABLE t(n INT NOT NULL)", "new", (stays,))
    assert found == "CREATE TABLE new (n DECIMAL TEXT(12, 2) NOT NULL)"


@pytest.mark.parametrize("sql", ["CREATE TABLE t(a INT, CHECK (n))", "CREATE VIRTUAL TABLE t"])
def test_a_column_that_is_not_found(sql: str) -> None:
    with pytest.raises(SchemaError, match="n: not found"):
        redeclared(sql, "new", (_N,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.sqlite"


@pytest.fixture
def destination(path: Path) -> Iterator[Destination]:
    made = destination_at(path)
    yield made
    made.close()


_MADE = """
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE T (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  "N" SMALLINT NOT NULL DEFAULT 7 CHECK ("N" < 100000), -- how many, really
  x TEXT COLLATE NOCASE UNIQUE,
  g GENERATED ALWAYS AS (N + 1),
  up INTEGER REFERENCES T (id),
  FOREIGN KEY (up) REFERENCES parent (id)
);
CREATE TABLE child (t INTEGER REFERENCES T (id));
CREATE INDEX by_n ON T (N DESC) WHERE N > 1;
CREATE TABLE log (n);
CREATE TRIGGER tells AFTER INSERT ON T BEGIN INSERT INTO log VALUES (NEW.N); END;
CREATE TRIGGER elsewhere AFTER INSERT ON child BEGIN DELETE FROM T WHERE id = -1; END;
CREATE VIEW v AS SELECT N, g FROM t;
INSERT INTO T (N, x) VALUES (1, 'a'), (2, 'b'), (3, 'c');
DELETE FROM T WHERE id = 3;
"""
_CATALOGUE = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name NOT LIKE '_conduit%'"
    " ORDER BY 1, 2"
)


def widen(destination: Destination, ddl: str = "INTEGER", *more: AddColumn) -> None:
    was = Column(name="N", ddl="SMALLINT", nullable=False)
    change = WidenColumn(column=Column(name="N", ddl=ddl), was=was)
    rows = pa.table({"N": pa.array([70000]), "x": ["z"]})
    plan = publish(record("T", "main"), rows.schema, change, *more, AppendStaged())
    commit(destination, plan, rows)


def test_all_that_hangs_on_the_table_stays(path: Path, destination: Destination) -> None:
    sqlite(path, _MADE)
    before = query(path, _CATALOGUE)
    widen(destination, "INTEGER", AddColumn(column=Column(name="more", ddl="TEXT")))
    after = query(path, _CATALOGUE)
    changed = [row for row in after if row not in before]
    assert [(kind, name) for kind, name, *_ in changed] == [("table", "T")]
    assert len(after) == len(before)
    declared = str(next(row for row in before if row[1] == "T")[3])
    declared = declared.replace("SMALLINT NOT NULL DEFAULT", "INTEGER  DEFAULT")
    declared = declared.replace("TABLE T (", 'TABLE "T" (')
    assert str(changed[0][3]).replace(', "more" TEXT', "") == declared
    assert query(path, "SELECT id, N, x, g, typeof(N) FROM T ORDER BY id") == [
        (1, 1, "a", 2, "integer"),
        (2, 2, "b", 3, "integer"),
        (4, 70000, "z", 70001, "integer"),
    ]
    assert query(path, "SELECT n FROM log ORDER BY rowid") == [(1,), (2,), (3,), (70000,)]
    assert query(path, "SELECT max(g) FROM v") == [(70001,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA foreign_key_check") == []


def test_what_sqlite_refuses_is_told(path: Path, destination: Destination) -> None:
    made = 'CREATE TABLE T ("N" INT NOT NULL, x TEXT) STRICT; INSERT INTO T VALUES (1, 2)'
    sqlite(path, made)
    with pytest.raises(ConduitError, match=r"'N' can't be widened .* unknown datatype"):
        widen(destination, "DECIMAL TEXT(12, 2)")
    assert query(path, "SELECT N, x FROM T") == [(1, "2")]
