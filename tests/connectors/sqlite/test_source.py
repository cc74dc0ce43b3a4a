"""SQLite as a source: declared types, values that don't fit them, cursors, queries, big rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core.connectors.base import ReadRequest, Source, StreamRef
from conduit_core.errors import ConnectionFailedError, SchemaError, SourceDataError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from tests.connectors.sqlite.files import source_at, sqlite

FULL = Window("full")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop #1 %20.sqlite"


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    made = source_at(path)
    yield made
    made.close()


def read(source: Source, ref: StreamRef, window: Window = FULL) -> pa.Table:
    reading = source.read(ReadRequest(ref, source.describe(ref).schema, window))
    try:
        return reading.reader.read_all()
    finally:
        reading.close()


def column(source: Source, table: str = "t", name: str = "c") -> list[object]:
    return list(read(source, StreamRef(table=table, columns=(name,))).column(name).to_pylist())


# --- types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "literal", "kind", "value"),
    [
        ("BIGINT", "9223372036854775807", pa.int64(), 2**63 - 1),
        ("INT", "-1", pa.int64(), -1),
        ("SMALLINT", "32767", pa.int16(), 32767),
        ("VARCHAR(20)", "'007'", pa.string(), "007"),
        ("NVARCHAR(5) COLLATE NOCASE", "'ü'", pa.string(), "ü"),
        ("DOUBLE PRECISION", "1", pa.float64(), 1.0),
        ("FLOAT", "9e999", pa.float64(), float("inf")),
        ("BOOLEAN", "1", pa.bool_(), True),
        ("DECIMAL(10,2)", "1.10", pa.decimal128(10, 2), Decimal("1.10")),
        ("NUMERIC(12, 3)", "'123456789.125'", pa.decimal128(12, 3), Decimal("123456789.125")),
        ("NUMERIC", "12.5", pa.string(), "12.5"),
        ("BLOB", "x'00ff'", pa.binary(), b"\0\xff"),
        ("DATE", "'2013-07-01'", pa.date32(), datetime(2013, 7, 1).date()),  # noqa: DTZ001
        ("DATETIME", "'2013-07-01T01:02:03.5'", pa.timestamp("us"), datetime(2013, 7, 1, 1, 2, 3, 500_000)),  # noqa: DTZ001, E501
        ("TIMESTAMP WITH TIME ZONE", "'2013-07-01 02:00:00+02:00'", pa.timestamp("us", "UTC"), datetime(2013, 7, 1, tzinfo=UTC)),  # noqa: E501
        ("JSON", "'{\"a\":1}'", pa.string(), '{"a":1}'),
        ("GUID", "'d546eb86-c18a-4b03-b086-d4c690b0a2ea'", pa.string(), "d546eb86-c18a-4b03-b086-d4c690b0a2ea"),  # noqa: E501
        ("", "5", pa.int64(), 5),
        ("", "'x'", pa.string(), "x"),
        ("", "x'01'", pa.binary(), b"\1"),
        ("", "1.5", pa.float64(), 1.5),
        ("", "NULL", pa.string(), None),
        ("ANY", "2", pa.int64(), 2),
    ],
)  # fmt: skip
def test_declared_types_give_arrow_types(
    source: Source, path: Path, declared: str, literal: str, kind: pa.DataType, value: object
) -> None:
    sqlite(path, f"CREATE TABLE t (c {declared}); INSERT INTO t VALUES (NULL), ({literal})")
    assert source.describe(StreamRef(table="t")).schema.field("c").type == kind
    assert column(source) == [None, value]


@pytest.mark.parametrize(
    ("declared", "literal", "shown"),
    [
        ("INTEGER", "'abc'", "'abc'"),
        ("INTEGER", "1.5", "1.5"),
        ("INTEGER", "x'00'", "blob"),
        ("SMALLINT", "70000", "70000"),
        ("REAL", "'abc'", "'abc'"),
        ("BOOLEAN", "2", "'2'"),
        ("BOOLEAN", "'true'", "'true'"),
        ("TEXT", "x'616263'", "blob"),
        ("BLOB", "'text'", "'text'"),
        ("BLOB", "5", "'5'"),
        ("DATE", "'tomorrow'", "'tomorrow'"),
        ("DATE", "20130701", "'20130701'"),
        ("DATETIME", "1372636800", "'1372636800'"),
        ("DATETIME", "'2013-07-01T00:00:00Z'", "2013-07-01T00:00:00Z"),
        ("TIMESTAMPTZ", "'2013-07-01 00:00:00'", "'2013-07-01 00:00:00'"),
        ("TIME", "'noon'", "'noon'"),
        ("DECIMAL(4,2)", "'abc'", "'abc'"),
        ("DECIMAL(4,2)", "1.234", "data loss"),
        ("NUMERIC", "'abc'", "'abc'"),
        ("TEXT", "CAST(x'ff' AS TEXT)", "c"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_that_names_column_and_value(
    source: Source, path: Path, declared: str, literal: str, shown: str
) -> None:
    sqlite(
        path,
        f"CREATE TABLE t (id INTEGER, c {declared});"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        "INSERT INTO t SELECT i, NULL FROM n;"
        f"INSERT INTO t VALUES (3001, {literal})",
    )
    with pytest.raises(SourceDataError) as error:
        read(source, StreamRef(table="t"))
    assert "'c'" in error.value.message
    assert shown in error.value.message


def test_mixed_values_without_a_declared_type_are_refused_at_plan(
    source: Source, path: Path
) -> None:
    sqlite(path, "CREATE TABLE t (c); INSERT INTO t VALUES (1), ('x')")
    with pytest.raises(SchemaError, match=r"'c' has no declared type and holds integer and text"):
        source.describe(StreamRef(table="t"))
    ref = StreamRef(query="SELECT CAST(c AS TEXT) AS c FROM t")
    assert read(source, ref).to_pydict() == {"c": ["1", "x"]}


def test_big_integers_among_reals_without_a_declared_type_are_refused(
    source: Source, path: Path
) -> None:
    sqlite(path, "CREATE TABLE t (c); INSERT INTO t VALUES (1.5), (9007199254740993)")
    with pytest.raises(SourceDataError, match="9007199254740993"):
        column(source)


def test_a_column_whose_first_values_are_null_keeps_its_type(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (c TEXT);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
        "INSERT INTO t SELECT NULL FROM n; INSERT INTO t VALUES ('last')",
    )
    assert column(source)[-1] == "last"
    assert len(column(source)) == 40001


def test_generated_columns_are_read(source: Source, path: Path) -> None:
    sqlite(path, "CREATE TABLE t (a INTEGER, c INTEGER AS (a * 2)); INSERT INTO t VALUES (2)")
    assert column(source) == [4]


def test_a_utf16_file(source: Source, path: Path) -> None:
    sqlite(path, "PRAGMA encoding='UTF-16'; CREATE TABLE t (c TEXT); INSERT INTO t VALUES ('ü😀')")
    assert column(source) == ["ü😀"]


# --- relations ------------------------------------------------------------------------------------


def test_views_and_queries_are_streams(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);"
        "INSERT INTO t VALUES (1, '2013-07-01 00:00:00'), (2, NULL);"
        "CREATE VIEW v AS SELECT id, at FROM t WHERE at IS NOT NULL",
    )
    assert read(source, StreamRef(table="v")).num_rows == 1
    ref = StreamRef(query="SELECT at, id * 10 AS ten FROM t -- the end\n;")
    shape = source.describe(ref)
    assert [str(f.type) for f in shape.schema] == ["timestamp[us]", "int64"]
    assert shape.rows_estimate is None
    assert read(source, ref).column("ten").to_pylist() == [10, 20]
    found = {r.name: r for r in source.discover()}
    assert list(found) == ["t", "v"]
    assert (found["t"].primary_key, found["t"].rows_estimate) == (("id",), 2)


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM nothing", "SELECT 1 +", "DELETE FROM t", "SELECT 1; DROP TABLE t"]
)
def test_a_query_that_is_none_is_an_error_and_changes_nothing(
    source: Source, path: Path, sql: str
) -> None:
    sqlite(path, "CREATE TABLE t (c INTEGER); INSERT INTO t VALUES (1)")
    with pytest.raises((SchemaError, SourceDataError)) as error:
        source.describe(StreamRef(query=sql))
    assert "Traceback" not in str(error.value)
    assert column(source) == [1]


def test_what_is_not_there_is_named_with_what_is(source: Source, path: Path) -> None:
    sqlite(path, "CREATE TABLE orders (id INTEGER, at DATE)")
    with pytest.raises(SchemaError, match=r"'order'; there are: orders"):
        source.describe(StreamRef(table="order"))
    with pytest.raises(SchemaError, match=r"no column 'When'; there are: id, at"):
        source.describe(StreamRef(table="orders", columns=("When",)))
    with pytest.raises(SchemaError, match=r"no column 'x'"):
        source.describe(StreamRef(table="orders", cursor=("x",)))
    assert source.describe(StreamRef(table="main.orders")).schema.names == ["id", "at"]


def test_a_table_that_changed_since_the_plan_is_refused(source: Source, path: Path) -> None:
    sqlite(path, "CREATE TABLE t (a INTEGER)")
    schema = source.describe(StreamRef(table="t")).schema
    sqlite(path, "ALTER TABLE t ADD COLUMN b TEXT")
    with pytest.raises(SchemaError, match=r"\+b string") as error:
        source.read(ReadRequest(StreamRef(table="t"), schema, FULL))
    assert error.value.retry == "plan"


def test_five_hundred_columns(source: Source, path: Path) -> None:
    columns = ", ".join(f"c{i} INTEGER" for i in range(500))
    values = ", ".join(str(i) for i in range(500))
    sqlite(path, f"CREATE TABLE t ({columns}); INSERT INTO t VALUES ({values})")
    assert read(source, StreamRef(table="t")).to_pylist() == [{f"c{i}": i for i in range(500)}]


def test_long_rows_come_in_small_batches(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (id INTEGER, c TEXT);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
        "INSERT INTO t SELECT i, printf('%.*c', 500000, 'x') FROM n;",
    )
    schema = source.describe(StreamRef(table="t")).schema
    request = ReadRequest(StreamRef(table="t"), schema, FULL, batch_bytes=1024 * 1024)
    reading = source.read(request)
    sizes = [batch.nbytes for batch in reading.reader]
    reading.close()
    assert max(sizes) < 10 * 1024 * 1024
    assert sum(sizes) > 50_000_000


# --- cursors --------------------------------------------------------------------------------------

MOMENTS = (
    "'2013-07-01', '2013-07-01 00:00', '2013-07-01T00:00:00.5', '2013-07-01 00:00:00.499999',"
    " '2013-06-30 23:59:59.999999', '2013-07-01 00:00:01'"
)


def test_time_text_of_several_forms_is_ordered_as_time(source: Source, path: Path) -> None:
    rows = ", ".join(f"({m})" for m in MOMENTS.split(","))
    sqlite(path, f"CREATE TABLE t (at DATETIME); INSERT INTO t VALUES {rows}, (NULL)")
    ref = StreamRef(table="t", cursor=("at",))
    found = source.bounds(ref, None, None)
    assert found.high is not None
    assert found.high.display() == "2013-07-01T00:00:01.000000"
    assert (found.null_rows, found.rows_estimate) == (1, 6)
    low = Cursor(("at",), (pa.scalar(datetime(2013, 7, 1), pa.timestamp("us")),))  # noqa: DTZ001
    rows_after = read(source, ref, Window("watermark", low, found.high)).column("at").to_pylist()
    assert sorted(str(r) for r in rows_after) == [
        "2013-07-01 00:00:00.499999",
        "2013-07-01 00:00:00.500000",
        "2013-07-01 00:00:01",
    ]
    capped = source.bounds(ref, None, low)
    assert capped.high is not None
    assert capped.high.compare(low) == 0
    assert capped.rows_estimate == 3


def test_time_text_with_offsets_is_ordered_as_instants(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (id INTEGER, at TIMESTAMPTZ); INSERT INTO t VALUES"
        " (1, '2013-07-01T02:00:00+02:00'), (2, '2013-07-01 00:00:00.5Z'),"
        " (3, '2013-06-30T23:00:00-02:00'), (4, '2013-07-01 00:00:00.123456+00:00')",
    )
    ref = StreamRef(table="t", cursor=("at", "id"))
    found = source.bounds(ref, None, None)
    assert found.high is not None
    assert found.high.display() == "2013-07-01T01:00:00.000000Z, 3"
    instant = pa.scalar(datetime(2013, 7, 1, tzinfo=UTC), pa.timestamp("us", "UTC"))
    low = Cursor(("at", "id"), (instant, pa.scalar(1, pa.int64())))
    window = Window("watermark", low, found.high)
    assert set(read(source, ref, window).column("id").to_pylist()) == {2, 3, 4}


def test_composite_cursors_break_ties(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t"
        " VALUES (1, 'a'), (1, 'b'), (2, 'a'), (2, NULL), (NULL, 'z')",
    )
    ref = StreamRef(table="t", cursor=("a", "b"))
    found = source.bounds(ref, None, None)
    assert found.high is not None
    assert (found.high.display(), found.null_rows, found.rows_estimate) == ("2, a", 2, 3)
    low = Cursor(("a", "b"), (pa.scalar(1, pa.int64()), pa.scalar("a")))
    assert source.bounds(ref, low, None).rows_estimate == 2
    window = Window("watermark", low, found.high, null_cursor=True)
    assert read(source, ref, window).num_rows == 4
    given = Window("given", Cursor(("a",), (pa.scalar(1, pa.int64()),)), None)
    assert read(source, ref, given).num_rows == 4


def test_a_null_behind_a_time_on_the_bound_is_in_no_window(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (at DATETIME, id INTEGER); INSERT INTO t VALUES"
        " ('2013-07-01', 1), ('2013-07-01', 2), ('2013-07-01', NULL), (NULL, 3)",
    )
    ref = StreamRef(table="t", cursor=("at", "id"))
    moment = pa.scalar(datetime(2013, 7, 1), pa.timestamp("us"))  # noqa: DTZ001
    low = Cursor(("at", "id"), (moment, pa.scalar(1, pa.int64())))
    found = source.bounds(ref, low, None)
    assert (found.null_rows, found.rows_estimate) == (2, 1)
    window = Window("watermark", low, found.high)
    assert read(source, ref, window).column("id").to_pylist() == [2]
    with_nulls = Window("watermark", low, found.high, null_cursor=True)
    assert read(source, ref, with_nulls).num_rows == 3


@pytest.mark.parametrize("bad", ["2013-99-01 00:00:00Z", "2013-07-45T00:00:00+02:00", "2013-07-01"])
def test_an_instant_that_is_none_is_an_error(source: Source, path: Path, bad: str) -> None:
    sqlite(path, f"CREATE TABLE t (at TIMESTAMPTZ); INSERT INTO t VALUES ('{bad}')")
    with pytest.raises(SourceDataError, match="'at'"):
        source.bounds(StreamRef(table="t", cursor=("at",)), None, None)


def test_times_at_the_ends_of_the_calendar(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (at TIMESTAMPTZ); INSERT INTO t VALUES"
        " ('0001-01-01 00:00:00Z'), ('9999-12-31 23:59:59.999999Z')",
    )
    ref = StreamRef(table="t", cursor=("at",))
    last = source.bounds(ref, None, None).high
    assert last is not None
    assert last.display() == "9999-12-31T23:59:59.999999Z"
    assert read(source, ref, Window("watermark", last, None)).num_rows == 0
    assert read(source, ref, Window("watermark", None, last)).num_rows == 2


def test_decimals_as_cursors_are_ordered_as_numbers_up_to_15_digits(
    source: Source, path: Path
) -> None:
    sqlite(
        path,
        "CREATE TABLE t (c DECIMAL TEXT(15, 2), big DECIMAL TEXT(20, 0), j JSON);"
        "INSERT INTO t VALUES ('9.00', '9', '1'), ('10.00', '10', '2')",
    )
    found = source.bounds(StreamRef(table="t", cursor=("c",)), None, None)
    assert found.high is not None
    assert found.high.display() == "10.00"
    for name in ("big", "j"):
        with pytest.raises(SchemaError, match="no order"):
            source.describe(StreamRef(table="t", cursor=(name,)))


def test_a_cursor_value_without_an_order_is_an_error(source: Source, path: Path) -> None:
    sqlite(path, "CREATE TABLE t (at DATETIME); INSERT INTO t VALUES ('2013-07-01'), (1372636800)")
    with pytest.raises(SourceDataError, match="'at'"):
        source.bounds(StreamRef(table="t", cursor=("at",)), None, None)


def test_bounds_of_nothing(source: Source, path: Path) -> None:
    sqlite(path, "CREATE TABLE t (a INTEGER)")
    found = source.bounds(StreamRef(table="t", cursor=("a",)), None, None)
    assert (found.high, found.null_rows, found.rows_estimate) == (None, 0, 0)
    assert found.clock is not None


# --- files ----------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_named_and_not_made(source: Source, path: Path) -> None:
    for call in (source.discover, lambda: source.describe(StreamRef(table="t"))):
        with pytest.raises(ConnectionFailedError, match="there is no file") as error:
            call()
        assert str(path) in error.value.message
    assert [i.ok for i in source.check()] == [False]
    assert not path.exists()


def test_a_file_that_is_no_database_is_named(source: Source, path: Path) -> None:
    path.write_text("id,name\n1,x\n" * 1000)
    with pytest.raises(ConnectionFailedError, match="is not a SQLite database"):
        source.discover()
    path.unlink()
    path.mkdir()
    with pytest.raises(ConnectionFailedError, match="is a folder"):
        source.discover()


def test_a_damaged_file_is_named(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (c TEXT);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        "INSERT INTO t SELECT 'some text of some length' FROM n;",
    )
    schema = source.describe(StreamRef(table="t")).schema
    data = bytearray(path.read_bytes())
    data[8192:20480] = b"\x55" * 12288
    path.write_bytes(data)
    with pytest.raises(ConnectionFailedError, match="damaged"):
        source.read(ReadRequest(StreamRef(table="t"), schema, FULL)).reader.read_all()


def test_reading_changes_nothing_in_the_file(source: Source, path: Path) -> None:
    sqlite(path, "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)")
    before = path.read_bytes()
    read(source, StreamRef(query="SELECT a FROM t"))
    source.bounds(StreamRef(table="t", cursor=("a",)), None, None)
    source.discover()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_write_ahead_log_is_read(source: Source, path: Path) -> None:
    sqlite(path, "PRAGMA journal_mode=WAL; CREATE TABLE t (c INTEGER); INSERT INTO t VALUES (1)")
    assert column(source) == [1]


def test_a_reading_closed_early_gives_the_file_back(source: Source, path: Path) -> None:
    sqlite(
        path,
        "CREATE TABLE t (c INTEGER);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90000)"
        "INSERT INTO t SELECT i FROM n;",
    )
    schema = source.describe(StreamRef(table="t")).schema
    reading = source.read(ReadRequest(StreamRef(table="t"), schema, FULL))
    assert reading.reader.read_next_batch().num_rows > 0
    reading.close()
    reading.close()
    sqlite(path, "DROP TABLE t")
