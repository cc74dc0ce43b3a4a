"""DuckDB's own types, tables that somebody else made, and what its errors say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as changed
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from conduit_core.connectors.base import ReadRequest, StreamRef
from conduit_core.connectors.publish import AppendStaged, CreateTable
from conduit_core.errors import PublishError, SchemaError, SourceDataError
from conduit_core.state.window import Window
from conduit_core.testing.doubles import columns_of, landed, publish, record, replace
from conduit_core.testing.fixtures import commit, ids, load, scan
from conduit_core.testing.source import read
from conduit_core.types.dialect import Table
from conduit_core.types.schema import logical_type
from tests.connectors.test_duckdb import destination_on, source_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conduit_core.connectors.base import Destination, Source

Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def destination(path: Path) -> Iterator[Destination]:
    made = destination_on(path)
    yield made
    made.close()


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    made = source_on(path)
    yield made
    made.close()


@pytest.fixture
def sql(path: Path, destination: Destination, source: Source) -> Sql:
    """Run statements on the file as somebody else would; return the last one's rows."""
    import duckdb

    def run(*statements: str) -> list[tuple[object, ...]]:
        destination.close()
        source.close()
        rows: list[tuple[object, ...]] = []
        with duckdb.connect(path) as con:
            for statement in statements:
                rows = con.execute(statement).fetchall()
        return rows

    return run


# type, a value as SQL, and whether the type itself is kept in another DuckDB table
NATIVE = [
    ("ENUM('a', 'b c', 'd''e')", "'d''e'", True),
    ("ENUM('x')[]", "['x', NULL]", True),
    ("HUGEINT", "-99999999999999999999999999999999999999::HUGEINT", True),
    ("UHUGEINT", "340282366920938463463374607431768211455::UHUGEINT", True),
    ("BIGNUM", "'123456789012345678901234567890123456789012345'::BIGNUM", True),
    ("BIT", "'0101011'::BIT", True),
    ("TIME WITH TIME ZONE", "'12:34:56.789012+02:30'::TIMETZ", True),
    ("TIMESTAMPTZ_NS", "'1969-12-31 23:59:59.123456789+00'::TIMESTAMPTZ_NS", True),
    ("TIMESTAMP", "'infinity'::TIMESTAMP", True),
    ("INTERVAL", "INTERVAL '14 months -3 days 5.000001 seconds'", True),
    ("UUID", "'d546eb86-c18a-4b03-b086-d4c690b0a2ea'", True),
    ("JSON", """'{"a":  [1, null]}'""", True),
    ("INTEGER[2][]", "[[1, 2], [3, NULL]]", True),
    ("STRUCT(\"a b\" ENUM('q'), h HUGEINT)", "{'a b': 'q', 'h': 7}", True),
    ("MAP(VARCHAR, UUID[])", "MAP {'k': ['d546eb86-c18a-4b03-b086-d4c690b0a2ea']}", True),
    ("UNION(n INTEGER, s VARCHAR)", "union_value(n := 5)", False),
]


@pytest.mark.parametrize(("kind", "value", "kept"), NATIVE, ids=[n[0] for n in NATIVE])
def test_native_types_go_from_duckdb_to_duckdb(
    tmp_path: Path, source: Source, sql: Sql, kind: str, value: str, *, kept: bool
) -> None:
    sql(f"CREATE TABLE t (id INT, x {kind})", f"INSERT INTO t VALUES (1, {value}), (2, NULL)")
    expected = sql("SELECT x::VARCHAR, typeof(x) FROM t ORDER BY id")
    shape = source.describe(StreamRef(table="t"))
    rows = read(source, StreamRef(table="t"))
    target = destination_on(tmp_path / "copy.duckdb")
    load(target, "main", "t", rows)
    again = target.describe(Table("main", "t"))
    assert again is not None
    assert again.columns[1].arrow == rows.schema.field("x").type
    target.close()
    import duckdb

    with duckdb.connect(tmp_path / "copy.duckdb") as con:
        found = con.execute("SELECT x::VARCHAR, typeof(x) FROM t ORDER BY id").fetchall()
    if kept:
        assert found == expected
        assert not any("lost" in note for note in shape.notes)
    else:
        assert [text for text, _ in found] == [text for text, _ in expected]
        assert any("x" in note for note in shape.notes)


def test_json_and_uuid_carry_their_tags(source: Source, sql: Sql) -> None:
    sql("CREATE TABLE t (j JSON, u UUID, n BIGNUM, v VARCHAR)")
    schema = source.describe(StreamRef(table="t")).schema
    assert [logical_type(field) for field in schema] == ["json", "uuid", "numeric", None]


def test_a_hugeint_of_39_digits_stops_the_load(source: Source, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT 170141183460469231731687303715884105727::HUGEINT AS h")
    shape = source.describe(StreamRef(table="t"))
    assert any("39 digits" in note for note in shape.notes)
    with pytest.raises(SourceDataError, match="170141183460469231731687303715884105727"):
        read(source, StreamRef(table="t"))


def test_a_query_is_a_stream(source: Source, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT range AS id, range % 3 AS k FROM range(9)")
    query = "SELECT k, count(*) AS n FROM t GROUP BY k ORDER BY k;  -- per k"
    ref = StreamRef(query=query.replace(";", ""), cursor=("k",))
    assert read(source, ref).sort_by("k").to_pydict() == {"k": [0, 1, 2], "n": [3, 3, 3]}
    high = source.bounds(ref, None, None).high
    assert high is not None
    assert high.values[0].as_py() == 2
    for wrong in ("DELETE FROM t", "SELECT nope FROM t", "SELEKT 1"):
        with pytest.raises(SchemaError):
            source.describe(StreamRef(query=wrong))
    assert sql("SELECT count(*) FROM t") == [(9,)]


def test_a_missing_table_lists_what_there_is(source: Source, sql: Sql) -> None:
    sql("CREATE TABLE orders (id INT)", "CREATE SCHEMA s", "CREATE VIEW s.v AS SELECT 1 AS a")
    with pytest.raises(SchemaError, match=r"did you mean main\.orders\?.*s\.v"):
        source.describe(StreamRef(table="main.order"))
    with pytest.raises(SchemaError, match="more than two parts"):
        source.describe(StreamRef(table="a.b.c"))


@pytest.mark.parametrize("kind", ["JSON", "INTEGER[]", "ENUM('b', 'a')", "BOOLEAN", "INTERVAL"])
def test_a_cursor_without_a_faithful_order_is_refused(source: Source, sql: Sql, kind: str) -> None:
    sql(f"CREATE TABLE t (x {kind})")
    with pytest.raises(SchemaError, match="x can't be a cursor"):
        source.describe(StreamRef(table="t", cursor=("x",)))


def test_a_cursor_that_ends_in_nan_is_refused(source: Source, sql: Sql) -> None:
    sql("CREATE TABLE t AS SELECT 1.5::DOUBLE AS x UNION ALL SELECT 'nan'::DOUBLE")
    with pytest.raises(SourceDataError, match="NaN"):
        source.bounds(StreamRef(table="t", cursor=("x",)), None, None)


def test_a_table_that_changed_since_the_plan_is_refused(source: Source, sql: Sql) -> None:
    sql("CREATE TABLE t (id INT, x INT)")
    ref = StreamRef(table="t")
    schema = source.describe(ref).schema
    for change, message in (("ALTER x TYPE VARCHAR", "string now"), ("DROP x", "is gone")):
        sql(f"ALTER TABLE t {change}")
        with pytest.raises(SchemaError, match=message) as error:
            source.read(ReadRequest(ref, schema, Window("full")))
        assert error.value.retry == "plan"


def test_internal_tables_are_not_discovered(
    source: Source, destination: Destination, sql: Sql
) -> None:
    load(destination, "main", "t", pa.table({"id": [1]}))
    assert [r.name for r in source.discover()] == ["main.t"]


# --- targets that somebody made -------------------------------------------------------------------


def test_swap_keeps_indexes_defaults_comments_and_views(destination: Destination, sql: Sql) -> None:
    load(destination, "main", "t", pa.table({"id": [1], "v": ["a"]}))
    sql(
        'CREATE INDEX "by id" ON t (id)',
        "CREATE UNIQUE INDEX u ON t (v)",
        "ALTER TABLE t ALTER v SET DEFAULT 'it''s'",
        "COMMENT ON TABLE t IS 'it''s a table'",
        "COMMENT ON COLUMN t.v IS 'a column'",
        "CREATE VIEW seen AS SELECT * FROM t",
    )
    shape = destination.describe(Table("main", "t"))
    assert shape is not None
    assert shape.dependants == ()
    assert [c.has_default for c in shape.columns] == [False, True]
    rows = pa.table({"id": [7, 8], "v": ["x", "y"]})
    commit(destination, replace(destination, record("t", "main"), rows.schema, "swap"), rows)
    assert sql("SELECT * FROM seen ORDER BY id") == [(7, "x"), (8, "y")]
    assert sql("SELECT index_name, is_unique FROM duckdb_indexes() WHERE table_name = 't'") == [
        ("by id", False),
        ("u", True),
    ]
    assert sql("SELECT comment FROM duckdb_tables() WHERE table_name = 't'") == [("it's a table",)]
    assert sql("INSERT INTO t (id) VALUES (9)", "SELECT v FROM t WHERE id = 9") == [("it's",)]
    found = sql("SELECT comment FROM duckdb_columns() WHERE table_name = 't' ORDER BY column_index")
    assert found == [(None,), ("a column",)]


def test_what_a_swap_would_lose_is_named(destination: Destination, sql: Sql) -> None:
    sql(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, c INT CHECK (c > 0),"
        " g INT GENERATED ALWAYS AS (id + 1))",
        "CREATE TABLE r (t_id INT REFERENCES t (id))",
    )
    shape = destination.describe(Table("main", "t"))
    assert shape is not None
    text = "\n".join(shape.dependants)
    for part in ("PRIMARY KEY(id)", "UNIQUE(u)", "CHECK", "main.r: FOREIGN KEY", "column g"):
        assert part in text


def test_replace_in_place_keeps_a_primary_key(destination: Destination, sql: Sql) -> None:
    sql("CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR)", "INSERT INTO t VALUES (1, 'a')")
    rows = pa.table({"id": [1, 2], "v": ["x", "y"]})
    commit(destination, replace(destination, record("t", "main"), rows.schema, "in_place"), rows)
    assert sql("SELECT * FROM t ORDER BY id") == [(1, "x"), (2, "y")]
    twice = pa.table({"id": [3, 3], "v": ["x", "y"]})
    plan = publish(record("t", "main"), twice.schema, AppendStaged())
    with pytest.raises(PublishError, match=r"main\.t: .*[Dd]uplicate key") as error:
        commit(destination, plan, twice)
    assert error.value.retry == "never"
    assert sql("SELECT count(*) FROM t") == [(2,)]


def test_a_view_is_no_table(destination: Destination, sql: Sql) -> None:
    sql("CREATE VIEW v AS SELECT 1 AS id")
    shape = destination.describe(Table("main", "v"))
    assert shape is not None
    assert not shape.is_table


def test_names_fold_ascii_letters_only(destination: Destination, sql: Sql) -> None:
    sql('CREATE TABLE "Orders" (id BIGINT)', 'CREATE TABLE "É" (id BIGINT)')
    assert destination.describe(Table("MAIN", "orders")) is not None
    assert destination.describe(Table("main", "é")) is None


def test_a_native_type_in_a_table_that_is_there_takes_its_values(
    destination: Destination, sql: Sql
) -> None:
    sql("CREATE TABLE t (id BIGINT, e ENUM('a', 'b'), h HUGEINT, j JSON, t TIMETZ)")
    rows = pa.table({"id": [1], "e": ["b"], "h": [5], "j": ["[1]"], "t": ["10:00:00+02"]})
    shape = destination.describe(Table("main", "t"))
    assert shape is not None
    kinds = [c.arrow for c in shape.columns]
    ready = rows.cast(pa.schema(list(zip(rows.schema.names, kinds, strict=True))))
    commit(destination, publish(record("t", "main"), ready.schema, AppendStaged()), ready)
    assert sql("SELECT e::VARCHAR, h, j::VARCHAR, t::VARCHAR FROM t") == [
        ("b", 5, "[1]", "10:00:00+02")
    ]
    wrong = ready.set_column(1, "e", pa.array(["z"]))
    with pytest.raises(PublishError, match="z"):
        commit(destination, publish(record("t", "main"), wrong.schema, AppendStaged()), wrong)
    assert ids(destination, "main", "t") == [1]


def test_columns_of_a_new_table_may_be_not_null(destination: Destination) -> None:
    rows = landed(destination, pa.table({"id": [1, None]}))
    made = record("t", "main")
    columns = tuple(
        c.model_copy(update={"nullable": False}) for c in columns_of(destination, rows.schema)
    )
    plan = publish(made, rows.schema, CreateTable(columns=columns), AppendStaged())
    with pytest.raises(PublishError, match="NOT NULL"):
        commit(destination, plan, rows)
    assert destination.describe(Table("main", "t")) is None


def test_internal_tables_lie_where_they_are_asked_to(path: Path, sql: Sql) -> None:
    from conduit_core.connectors.duckdb.destination import DuckDBDestination

    apart = DuckDBDestination(path, 1 << 27, "raw", "conduit_internal", 5)
    load(apart, "raw", "t", pa.table({"id": [1]}))
    assert len(apart.records(None)) == 1
    apart.close()
    found = sql("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL")
    assert found == [
        ("conduit_internal", "_conduit_audits"),
        ("conduit_internal", "_conduit_dead_letters"),
        ("conduit_internal", "_conduit_ledger"),
        ("conduit_internal", "_conduit_schemas"),
        ("raw", "t"),
    ]


def test_discovered_names_are_read_back(source: Source, sql: Sql) -> None:
    sql('CREATE SCHEMA "a.b"', 'CREATE TABLE "a.b"."c ""d" AS SELECT 1 AS id')
    (relation,) = source.discover()
    assert read(source, StreamRef(table=relation.name)).to_pydict() == {"id": [1]}
    ref = StreamRef(table=relation.name, cursor=("id",))
    assert changed(ref, columns=("id",)) != ref
    assert source.bounds(ref, None, None).rows_estimate == 1


def test_a_scan_of_a_missing_column_is_named(destination: Destination) -> None:
    load(destination, "main", "t", pa.table({"id": [1]}))
    with pytest.raises(SchemaError, match="nope"):
        destination.scan(Table("main", "t"), ("nope",))
    assert scan(destination, "main", "t").num_rows == 1


def test_rows_wider_than_a_row_group_can_be(destination: Destination) -> None:
    """200 MiB of wide text under a limit of 128 MiB: DuckDB keeps unfinished row groups."""
    text = pa.array([f"{n:0262144}" for n in range(200)]).dictionary_encode()
    row = pa.table({"id": list(range(800)), "v": pa.concat_arrays([text.dictionary] * 4)})
    load(destination, "main", "t", row)
    assert ids(destination, "main", "t") == list(range(800))
