"""A decision carried out: the catalogue is a fresh table's, and what was there is still there."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.publish import AddColumn
from conduit_core.errors import SchemaError
from conduit_core.spec.schema_changes import SchemaChangeSpec
from conduit_core.sync.schema_changes import Target, decide
from conduit_core.types.casts import cast_column
from conduit_core.types.dialect import Dialect, Table
from conduit_core.types.diff import diff, landed
from conduit_core.types.exports import to_ddl
from tests.unit.types.fields import values
from tests.unit.types.test_casts import array
from tests.unit.types.test_fields import some_fields
from tests.unit.types.test_lattice import same

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTGRES, DUCKDB = PostgresDialect(), DuckDBDialect()
T = Table("", "t")
AUTO = SchemaChangeSpec()


def statements(old: pa.Schema, new: pa.Schema, dialect: Dialect) -> list[str] | None:
    """Return what `auto` does to a table of ``old``; None where it can't be done in place."""
    there = landed(old, dialect)
    ddl = {f.name: dialect.landing(f).ddl for f in there}
    decision = decide(diff(there, landed(new, dialect)), AUTO, Target(dialect, ddl, before=there))
    if decision.problems:
        return None
    done = []
    for action in decision.actions:
        name, column = action.column.name, action.column
        if isinstance(action, AddColumn):
            done.append(f"ALTER TABLE t ADD COLUMN {dialect.quote(name)} {column.ddl}")
            continue
        if column.ddl != action.was.ddl:
            done.append(dialect.alter_type(T, name, column.ddl))
        if column.nullable and not action.was.nullable:
            done.append(str(dialect.drop_not_null(T, name)))
    return done


@st.composite
def two_schemas(draw: st.DrawFn, dialect: Dialect) -> tuple[pa.Schema, pa.Schema]:
    names = ["a", "b", "C c"]
    sides = []
    for _ in range(2):
        chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        sides.append(pa.schema([draw(some_fields()).with_name(n) for n in chosen]))
    try:
        for side in sides:
            landed(side, dialect)
    except SchemaError:
        assume(condition=False)
    return sides[0], sides[1]


def fresh(old: pa.Schema, new: pa.Schema, made: pa.Schema, dialect: Dialect) -> None:
    """Check a catalogue: it holds the source, and the columns that are new are a fresh table's."""
    assert {c.kind for c in diff(made, landed(new, dialect))} <= {"removed", "narrowed", "renamed"}
    assert {c.kind for c in diff(made, landed(old, dialect))} <= {"removed", "narrowed", "renamed"}
    only_new = [f for f in landed(new, dialect) if f.name not in old.names]
    assert {f.name for f in made} == {*old.names, *new.names}
    for field in only_new:
        assert diff(pa.schema([made.field(field.name)]), pa.schema([field])) == ()


@settings(deadline=None, max_examples=60)
@given(two_schemas(DUCKDB))
def test_the_catalogue_of_duckdb(sides: tuple[pa.Schema, pa.Schema]) -> None:
    import duckdb

    old, new = sides
    todo = statements(old, new, DUCKDB)
    assume(todo is not None)
    with closing(duckdb.connect()) as con:
        con.execute(to_ddl(old, DUCKDB, T))
        for statement in todo or ():
            con.execute(statement)
        rows = con.execute(
            "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE"
            " table_name = 't'"
        ).fetchall()
    made = pa.schema([DUCKDB.field_of(n, ddl, nullable=null) for n, ddl, null in rows])
    fresh(old, new, made, DUCKDB)


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, prepare_threshold=None) as connection:
        yield connection
        connection.rollback()


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sides=two_schemas(POSTGRES))
def test_the_catalogue_of_postgres(
    server: psycopg.Connection[Any], sides: tuple[pa.Schema, pa.Schema]
) -> None:
    old, new = sides
    todo = statements(old, new, POSTGRES)
    assume(todo is not None)
    run: Any = server.execute
    run("DROP TABLE IF EXISTS pg_temp.t")
    run(to_ddl(old, POSTGRES, Table("pg_temp", "t")))
    for statement in todo or ():
        run(statement)
    rows = run(
        "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute"
        " WHERE attrelid = 'pg_temp.t'::regclass AND attnum > 0"
    ).fetchall()
    made = pa.schema([POSTGRES.field_of(n, ddl, nullable=null) for n, ddl, null in rows])
    fresh(old, new, made, POSTGRES)


PAIRS = [
    (pa.int8(), pa.uint8()), (pa.int16(), pa.float32()), (pa.int32(), pa.float64()),
    (pa.int64(), pa.uint64()), (pa.uint8(), pa.int64()), (pa.uint32(), pa.decimal128(10, 2)),
    (pa.uint64(), pa.decimal128(12, 2)), (pa.decimal128(10, 2), pa.decimal128(12, 2)),
    (pa.decimal128(12, 2), pa.uint64()), (pa.decimal128(5, 7), pa.decimal128(38, 38)),
    (pa.float32(), pa.float64()), (pa.timestamp("s"), pa.timestamp("us")),
    (pa.timestamp("ms"), pa.timestamp("us")), (pa.date32(), pa.timestamp("us")),
    (pa.time64("us"), pa.time64("ns")),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=str)
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_rows_in_duckdb_survive_the_alter(old: Any, new: Any, data: st.DataObject) -> None:
    import duckdb

    held = landed(pa.schema([("x", old)]), DUCKDB).field(0).type
    rows = array(held, data.draw(st.lists(values(held) | st.none(), max_size=5)))
    todo = statements(pa.schema([("x", old)]), pa.schema([("x", new)]), DUCKDB) or []
    assert todo
    with closing(duckdb.connect()) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(to_ddl(pa.schema([("x", old)]), DUCKDB, T))
        batch = pa.table({"x": rows})
        con.register("batch", batch)
        con.execute("INSERT INTO t SELECT * FROM batch")
        for statement in todo:
            con.execute(statement)
        after = con.sql("SELECT x FROM t").to_arrow_table()["x"].combine_chunks()
    assert same(after, cast_column(rows, after.type, "x"))


_LITERALS: dict[str, st.SearchStrategy[str]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric(10,2)": st.integers(-(10**10) + 1, 10**10 - 1).map(lambda n: f"{Decimal(n) / 100:f}"),
    "real": st.floats(width=32, allow_nan=False).map(repr),
    "date": st.dates().map(str),
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("smallint", "integer"), ("smallint", "real"), ("integer", "bigint"),
        ("integer", "double precision"), ("integer", "numeric(12,2)"), ("bigint", "numeric(21,2)"),
        ("bigint", "numeric"), ("numeric(10,2)", "numeric(12,4)"), ("numeric(10,2)", "numeric"),
        ("real", "double precision"), ("date", "timestamp without time zone"),
    ],
)  # fmt: skip
@settings(
    deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_rows_in_postgres_survive_the_alter(
    server: psycopg.Connection[Any], old: str, new: str, data: st.DataObject
) -> None:
    """They come back by a cast as they were."""
    texts = data.draw(st.lists(_LITERALS[old], max_size=4))
    run: Any = server.execute
    run("DROP TABLE IF EXISTS pg_temp.t")
    run(f"CREATE TEMPORARY TABLE t (n serial, x {old})")
    for text in texts:
        run("INSERT INTO t (x) VALUES (%s)", [text])
    before = run("SELECT x FROM t ORDER BY n").fetchall()
    run(POSTGRES.alter_type(T, "x", new))
    assert run(f"SELECT x::{old} FROM t ORDER BY n").fetchall() == before
    assert [v for (v,) in run("SELECT x FROM t ORDER BY n").fetchall()] == [
        v for (v,) in run(f"SELECT x::{old}::{new} FROM t ORDER BY n").fetchall()
    ]
