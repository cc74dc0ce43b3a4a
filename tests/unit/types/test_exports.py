"""Each export is executed, and what comes of it differs in nothing from what was exported."""

from __future__ import annotations

import doctest
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.sqlite.types import SqliteDialect
from conduit_core.errors import SchemaError
from conduit_core.types import pandera as exporter
from conduit_core.types.dialect import Dialect, Table
from conduit_core.types.diff import diff, landed
from conduit_core.types.exports import from_arrow, from_dbt, to_arrow, to_dbt, to_ddl
from conduit_core.types.pandera import from_pandera, python_of, to_pandera
from conduit_core.types.schema import tagged
from tests.unit.types.fields import FLAT, some_types
from tests.unit.types.test_fields import some_fields

if TYPE_CHECKING:
    from pathlib import Path

POSTGRES, DUCKDB, SQLITE = PostgresDialect(), DuckDBDialect(), SqliteDialect()
DIALECTS: list[Dialect] = [POSTGRES, DUCKDB, SQLITE]
T = Table("", "made")

WIDE = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        *(pa.field(f"f{i} é \"'{{}}", kind) for i, kind in enumerate(FLAT)),
        tagged(pa.field("uuid", pa.string()), logical="uuid"),
        tagged(pa.field("json", pa.string(), nullable=False), logical="json"),
        tagged(pa.field("numeric", pa.string()), logical="numeric"),
        tagged(pa.field("short", pa.string()), native="postgres:character varying(5)"),
        tagged(pa.field("shorter", pa.string()), max_length=3),
        pa.field("list", pa.list_(pa.int16())),
        pa.field("struct", pa.struct([("a", pa.int8()), ("b b", pa.string())])),
        pa.field("map", pa.map_(pa.string(), pa.int32())),
    ]
)


def fitting(dialect: Dialect, schema: pa.Schema) -> pa.Schema:
    """Leave out what the system has no place for."""
    kept = []
    for field in schema:
        try:
            dialect.landing(field)
        except SchemaError:
            continue
        kept.append(field)
    assert len(kept) >= len(schema) - 6
    return pa.schema(kept)


@st.composite
def some_schemas(draw: st.DrawFn) -> pa.Schema:
    kinds = some_fields() | some_types.map(lambda kind: pa.field("x", kind))
    fields = draw(st.lists(kinds, min_size=1, max_size=4))
    names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=6)
    chosen = draw(st.lists(names, min_size=len(fields), max_size=len(fields), unique=True))
    return pa.schema([f.with_name(n) for f, n in zip(fields, chosen, strict=True)])


# --- SQL ------------------------------------------------------------------------------------------


def test_ddl_in_duckdb() -> None:
    import duckdb

    schema = fitting(DUCKDB, WIDE)
    with closing(duckdb.connect()) as con:
        con.execute(to_ddl(schema, DUCKDB, T))
        query = (
            "SELECT column_name, data_type, is_nullable FROM duckdb_columns()"
            " WHERE table_name = 'made'"
        )
        made = pa.schema(
            [
                DUCKDB.field_of(name, ddl, nullable=null)
                for name, ddl, null in con.execute(query).fetchall()
            ]
        )
    assert diff(made, landed(schema, DUCKDB)) == ()
    assert made.names == schema.names


def test_ddl_in_sqlite(tmp_path: Path) -> None:
    from adbc_driver_sqlite import dbapi

    schema = fitting(SQLITE, WIDE)
    with closing(dbapi.connect(str(tmp_path / "x.db"))) as con, con.cursor() as cursor:
        cursor.execute(to_ddl(schema, SQLITE, T))
        cursor.execute("SELECT name, type, \"notnull\" FROM pragma_table_info('made')")
        made = pa.schema(
            [
                SQLITE.field_of(str(name), str(ddl), nullable=not not_null)
                for name, ddl, not_null in cursor.fetchall()
            ]
        )
    assert diff(made, landed(schema, SQLITE)) == ()
    assert made.names == schema.names


def test_ddl_in_postgres(postgres_url: str) -> None:
    schema = fitting(POSTGRES, WIDE)
    with psycopg.connect(postgres_url) as con:
        run: Any = con.execute
        run(to_ddl(schema, POSTGRES, Table("pg_temp", "made")))
        rows = run(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute"
            " WHERE attrelid = 'pg_temp.made'::regclass AND attnum > 0 ORDER BY attnum"
        ).fetchall()
        con.rollback()
    made = pa.schema([POSTGRES.field_of(name, ddl, nullable=null) for name, ddl, null in rows])
    assert diff(made, landed(schema, POSTGRES)) == ()
    assert made.names == schema.names


def test_ddl_reads_well_and_quotes_names() -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ('a"; DROP', pa.string())])
    assert to_ddl(schema, DUCKDB, Table("raw", "orders")) == (
        'CREATE TABLE "raw"."orders" (\n  "id" BIGINT NOT NULL,\n  "a""; DROP" VARCHAR\n);\n'
    )
    with pytest.raises(ValueError, match="needs a column"):
        to_ddl(pa.schema([]), DUCKDB, T)


# --- Arrow ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(some_schemas())
def test_arrow(schema: pa.Schema) -> None:
    assert from_arrow(to_arrow(schema)).equals(schema, check_metadata=True)


def test_the_head_of_an_arrow_stream_is_a_schema() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, WIDE):
        pass
    assert from_arrow(sink.getvalue().to_pybytes()).equals(WIDE, check_metadata=True)
    for data in (b"", b"nonsense", b"\xff" * 40):
        with pytest.raises(ValueError, match="not an Arrow schema"):
            from_arrow(data)


# --- pandera --------------------------------------------------------------------------------------


def made_by(module: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(module, "schema.py", "exec"), names)  # noqa: S102 - the export is a module
    return names["schema"]


def test_a_pandera_module_is_imported_and_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "shop_schema.py").write_text(to_pandera(WIDE, "orders"), encoding="utf-8")
    code = (
        "import sys, shop_schema; from conduit_core.types.pandera import from_pandera;"
        "from conduit_core.types.exports import to_arrow;"
        "sys.stdout.buffer.write(to_arrow(from_pandera(shop_schema.schema)))"
    )
    command = [sys.executable, "-c", code]
    path = [str(tmp_path), *sys.path]
    done = subprocess.run(
        command, capture_output=True, check=True, env={"PYTHONPATH": ":".join(path)}
    )
    back = from_arrow(done.stdout)
    assert diff(back, WIDE) == diff(WIDE, back) == ()
    assert back.equals(WIDE, check_metadata=True)


@settings(deadline=None, max_examples=60)
@given(some_schemas())
def test_pandera(schema: pa.Schema) -> None:
    pytest.importorskip("pandera")
    back = from_pandera(made_by(to_pandera(schema, 'a """ name')))
    assert diff(back, schema) == diff(schema, back) == ()
    assert back.equals(schema, check_metadata=True)


def test_the_pandera_schema_validates_what_it_says() -> None:
    pytest.importorskip("pandera")
    import pandas as pd
    from pandera.errors import SchemaErrors

    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            tagged(pa.field("code", pa.string()), max_length=3),
            pa.field("wide", pa.decimal256(50, 2)),
        ]
    )
    checks = made_by(to_pandera(schema, "orders"))

    def frame(**columns: list[object]) -> Any:
        table = pa.table({"id": [1], "code": ["abc"], "wide": [None]} | columns)
        kinds = [f.with_nullable(nullable=True) for f in schema if f.name in table.column_names]
        return table.cast(pa.schema(kinds)).to_pandas(types_mapper=pd.ArrowDtype)

    checks.validate(frame(), lazy=True)
    for bad in ({"id": [None]}, {"code": ["abcd"]}):
        with pytest.raises(SchemaErrors):
            checks.validate(frame(**bad), lazy=True)


def test_a_pandera_schema_of_others() -> None:
    pandera = pytest.importorskip("pandera.pandas")
    schema = pandera.DataFrameSchema(
        {
            "id": pandera.Column(int),
            "price": pandera.Column(float, nullable=True),
            "at": pandera.Column("datetime64[ns]", nullable=True),
            "name": pandera.Column(str),
            "ok": pandera.Column("boolean", nullable=True),
        }
    )
    assert from_pandera(schema).equals(
        pa.schema(
            [
                pa.field("id", pa.int64(), nullable=False),
                pa.field("price", pa.float64()),
                pa.field("at", pa.timestamp("ns")),
                pa.field("name", pa.string(), nullable=False),
                pa.field("ok", pa.bool_()),
            ]
        )
    )
    with pytest.raises(ValueError, match="column 'x'"):
        from_pandera(pandera.DataFrameSchema({"x": pandera.Column()}))
    with pytest.raises(ValueError, match="not a pandera"):
        from_pandera(object())


@given(some_types)
def test_a_type_as_python(kind: Any) -> None:
    assert eval(python_of(kind), {"pa": pa}) == kind  # noqa: S307 - it is ours


def test_its_examples_run() -> None:
    assert doctest.testmod(exporter).failed == 0


# --- dbt ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_dbt_columns(dialect: Dialect) -> None:
    schema = fitting(dialect, WIDE)
    (name, back), *others = from_dbt(to_dbt(schema, dialect, "orders"), dialect).items()
    assert (name, others) == ("orders", [])
    assert diff(back, landed(schema, dialect)) == ()
    assert back.names == schema.names


def test_dbt_columns_of_others() -> None:
    text = """
    sources:
      - name: raw
        tables:
          - name: orders
            columns:
              - {name: id, data_type: bigint, constraints: [{type: not_null}]}
              - {name: note}
          - name: empty
    """
    found = from_dbt(text, POSTGRES)
    assert found["orders"].equals(pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    assert found["empty"].names == []
    for bad in ("[]", "models: orders", "a: b: c", "models: [{columns: []}]"):
        with pytest.raises(ValueError, match="not"):
            from_dbt(bad, POSTGRES)
