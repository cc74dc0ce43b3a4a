"""PostgreSQL meets the contract of a source; its splits are balanced, and see one moment."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, ClassVar

import psycopg
import pyarrow as pa
import pytest

from conduit_core.connectors.base import RawBatch, ReadRequest, Snapshots, StreamRef
from conduit_core.connectors.postgres import splitting
from conduit_core.connectors.postgres.source import PostgresSource
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.publish import Column
from conduit_core.connectors.splits import WHOLE, SplitBy
from conduit_core.errors import ConfigError, ConnectionFailedError, SchemaError
from conduit_core.spec.names import quote_name
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing import SourceSuite
from conduit_core.testing.source import Connect, Fill
from conduit_core.testing.splitting import assert_together, read_split, read_splits
from tests.connectors.postgres.support import source_at
from tests.services import sql

_FULL = Window("full")
_ORDERS = StreamRef(table="orders")


@pytest.fixture
def source(postgres_database: str) -> Iterator[PostgresSource]:
    made = source_at(postgres_database)
    yield made
    made.close()


def prepare(url: str, *statements: str) -> None:
    for statement in statements:
        sql(url, statement)


def counted(url: str, query: str) -> int:
    return int(str(sql(url, query)[0][0]))


class TestPostgresSource(SourceSuite):
    # No NUL in texts, nothing finer than microseconds, no float16; nested values travel as JSON.
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {"text_nul", "timestamp_ns", "timestamp_ns_utc", "time_ns", "float16", "duration_us"}
        | {"interval", "null", "list_int64", "list_text", "list_nested", "list_fixed"}
        | {"struct", "map"}
    )

    @pytest.fixture
    def connect(self, postgres_database: str) -> Connect:
        return lambda: source_at(postgres_database)

    @pytest.fixture
    def fill(self, postgres_database: str) -> Fill:
        return lambda name, table: fill(postgres_database, name, table)


def fill(url: str, name: str, table: pa.Table) -> StreamRef:
    """Make a table of the nearest types and COPY the rows as CSV."""
    dialect = PostgresDialect()
    columns = ", ".join(f"{dialect.quote(f.name)} {dialect.landing(f).ddl}" for f in table.schema)
    quoted = dialect.quote(name)
    sql(url, f"DROP TABLE IF EXISTS {quoted}; CREATE TABLE {quoted} ({columns})")
    with (
        closing(psycopg.connect(url, autocommit=True)) as connection,
        connection.cursor().copy(f"COPY {quoted} FROM STDIN (FORMAT csv)".encode()) as copy,
    ):
        copy.write(_csv(table))
    sql(url, f"ANALYZE {quoted}")
    return StreamRef(table=quote_name(name))


def _csv(table: pa.Table) -> str:
    columns = [_texts(column) for column in table.columns]
    rows = (
        ",".join("" if v is None else '"' + v.replace('"', '""') + '"' for v in row)
        for row in zip(*columns, strict=True)
    )
    return "".join(row + "\n" for row in rows)


def _texts(column: pa.ChunkedArray[Any]) -> list[str | None]:
    if "binary" in str(column.type):
        return [None if v is None else "\\x" + v.hex() for v in column.to_pylist()]
    return list(column.cast(pa.string()).to_pylist())


# --- cuts -----------------------------------------------------------------------------------------

_KEYS = {
    "text": "md5(i::text)",
    "long text": "repeat('common prefix ', 20) || md5(i::text)",
    "varchar(40)": "md5(i::text)",
    "char(40)": "CASE WHEN i % 3 = 0 THEN chr(9) ELSE '' END || md5(i::text)",
    "uuid": "md5(i::text)::uuid",
    "numeric(20,2)": "i * 1.25",
    "numeric": "i / 3.0",
    "date": "'2020-01-01'::date + i % 700",
    "timestamptz": "'2020-01-01'::timestamptz + i * interval '1 second'",
    "double precision": "CASE WHEN i % 100 = 0 THEN 'NaN' ELSE sqrt(i) END",
    "bytea": "decode(md5(i::text), 'hex')",
    "bigint": "CASE WHEN i < 1000 THEN i ELSE i + 8000000000000 END",
    "skewed int": "CASE WHEN i % 2 = 0 THEN 7 ELSE i END",
}


@pytest.mark.parametrize("key", _KEYS)
def test_parts_are_balanced_and_together_complete(
    source: PostgresSource, postgres_database: str, key: str
) -> None:
    kind = key.removeprefix("long ").removeprefix("skewed ")
    prepare(
        postgres_database,
        f"CREATE TABLE orders (id int, k {kind})",
        f"INSERT INTO orders SELECT i, {_KEYS[key]} FROM generate_series(1, 2000) i",
        "INSERT INTO orders SELECT -i, NULL FROM generate_series(1, 20) i",
    )
    by = source.cut(_ORDERS, _FULL, "range", "k", 8)
    parts = read_splits(source, _ORDERS, by)
    assert_together(parts, [*range(1, 2001), *range(-20, 0)])
    assert set(range(-20, 0)) <= set(parts[0])
    sizes = [len(part) for part in parts]
    if key == "skewed int":
        assert sorted(sizes)[-2] <= 2020 // 8 + 2
        assert max(sizes) <= 1000 + 2020 // 8 + 2
        return
    assert len(parts) == 8
    assert max(sizes) - min(sizes) <= (30 if key in ("date", "double precision") else 2)
    assert all(len(cut) <= 340 for cut in by.cuts)
    if key == "text":
        assert max(len(cut) for cut in by.cuts) <= 8


def test_a_large_table_is_sampled_and_a_thousand_splits_are_quick(
    source: PostgresSource, postgres_database: str
) -> None:
    prepare(
        postgres_database,
        "CREATE TABLE orders (id bigint, k text, filler text)",
        "INSERT INTO orders SELECT i * 1000, md5(i::text), repeat('x', 60)"
        " FROM generate_series(1, 1000000) i",
        "ANALYZE orders",
        "CREATE VIEW old_orders AS SELECT * FROM orders WHERE id > 0",
    )
    for name, column in (("orders", "id"), ("orders", "k"), ("old_orders", "id")):
        started = time.monotonic()
        by = source.cut(StreamRef(table=name), _FULL, "range", column, 1000)
        assert time.monotonic() - started < 4  # 2 s where nothing else runs
        assert 900 <= by.count <= 1000
        assert len(by.model_dump_json()) < 64_000
        bounds = ", ".join(f"'{cut}'" for cut in by.cuts)
        kind = "bigint" if column == "id" else "text"
        collate = "" if column == "id" else ' COLLATE "C"'
        most = counted(
            postgres_database,
            f"SELECT max(n) FROM (SELECT count(*) n FROM orders GROUP BY width_bucket({column}"
            f"{collate}, ARRAY[{bounds}]::{kind}[])) c",
        )
        assert most < 3000
    again = source.cut(_ORDERS, _FULL, "range", "id", 8)
    assert again == source.cut(_ORDERS, _FULL, "range", "id", 8)
    rows = sum(
        read_split(source, replace(_ORDERS, columns=("id",)), split).num_rows
        for split in again.splits()
    )
    assert rows == 1_000_000


def test_a_table_of_many_pages_is_sampled_by_pages(
    source: PostgresSource, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(
        postgres_database,
        "CREATE TABLE plain (id bigint, filler text)",
        "INSERT INTO plain SELECT i, repeat('x', 60) FROM generate_series(1, 300000) i",
        "CREATE TABLE parted (id bigint, filler text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (200000)",
        "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (200000) TO (400000)",
        "INSERT INTO parted SELECT * FROM plain",
        "ANALYZE plain, parted",
    )
    monkeypatch.setattr(splitting, "_FEW_PAGES", 0)
    for name in ("plain", "parted"):
        by = source.cut(StreamRef(table=name), _FULL, "range", "id", 8)
        assert by == source.cut(StreamRef(table=name), _FULL, "range", "id", 8)
        cuts = [0, *(int(cut) for cut in by.cuts), 300_001]
        widths = [high - low for low, high in itertools.pairwise(cuts)]
        assert len(widths) == 8
        assert max(widths) < 1.3 * 300_000 / 8


def test_a_window_of_a_large_table_is_cut_by_its_own_rows(
    source: PostgresSource, postgres_database: str
) -> None:
    prepare(
        postgres_database,
        "CREATE TABLE orders (id bigint PRIMARY KEY, filler text)",
        "INSERT INTO orders SELECT i, repeat('x', 60) FROM generate_series(1, 300000) i",
        "ANALYZE orders",
    )
    ref = replace(_ORDERS, cursor=("id",))
    low, high = (Cursor(("id",), (pa.scalar(v, pa.int64()),)) for v in (299_000, 300_000))
    window = Window("watermark", low, high)
    by = source.cut(ref, window, "range", "id", 4)
    assert by.cuts == ("299251", "299501", "299751")
    assert [read_split(source, ref, s, window).num_rows for s in by.splits()] == [250] * 4


def test_stale_statistics_do_not_spoil_the_cuts(
    source: PostgresSource, postgres_database: str
) -> None:
    prepare(
        postgres_database,
        "CREATE TABLE orders (id bigint) WITH (autovacuum_enabled = false)",
        "INSERT INTO orders SELECT i FROM generate_series(1, 300000) i",
        "ANALYZE orders",
        "DELETE FROM orders WHERE id > 50",
    )
    by = source.cut(_ORDERS, _FULL, "range", "id", 10)
    assert_together(read_splits(source, _ORDERS, by), list(range(1, 51)))
    assert by.count == 10


def test_queries_and_views_are_split(source: PostgresSource, postgres_database: str) -> None:
    prepare(
        postgres_database, "CREATE TABLE orders (id int)", "INSERT INTO orders VALUES (1), (2), (3)"
    )
    ref = StreamRef(query="SELECT id, id % 2 AS k FROM orders;")
    for by in (
        source.cut(ref, _FULL, "range", "id", 3),
        SplitBy(kind="hash", column="k", buckets=2),
        SplitBy(kind="values", column="k", type="int32", cuts=("1",)),
    ):
        assert_together(read_splits(source, ref, by), [1, 2, 3])


def test_infinities_are_no_cuts(source: PostgresSource, postgres_database: str) -> None:
    prepare(
        postgres_database,
        "CREATE TABLE orders (id int, k date)",
        "INSERT INTO orders SELECT i, '2020-01-01'::date + i FROM generate_series(1, 4) i",
        "INSERT INTO orders SELECT i, 'infinity' FROM generate_series(5, 8) i",
    )
    by = source.cut(_ORDERS, _FULL, "range", "k", 4)
    assert by.cuts == ("2020-01-04",)


def test_values_of_types_that_are_read_as_text(
    source: PostgresSource, postgres_database: str
) -> None:
    prepare(
        postgres_database,
        "CREATE TYPE mood AS ENUM ('ok', 'sad')",
        "CREATE TABLE orders (id int, m mood, u uuid, n numeric, c char(4), b boolean, j json)",
        "INSERT INTO orders VALUES (1, 'ok', 'd546eb86-c18a-4b03-b086-d4c690b0a2ea', 1.10, 'eu',"
        " true, '{}'), (2, 'sad', NULL, 'NaN', 'us', false, NULL), (3, NULL, NULL, 2, 'asia',"
        " NULL, NULL)",
    )
    cuts = {
        "m": ("string", ("ok", "no such mood")),
        "u": ("string", ("d546eb86-c18a-4b03-b086-d4c690b0a2ea",)),
        "n": ("decimal256(76, 38)", ("1.1",)),
        "c": ("string", ("eu  ",)),
        "b": ("bool", ("true",)),
    }
    for column, (kind, values) in cuts.items():
        by = SplitBy(kind="values", column=column, type=kind, cuts=values)
        parts = read_splits(source, _ORDERS, by)
        assert parts[0] == [1]
        assert sorted(parts[-1], key=str) == [2, 3]
    for column in ("m", "b", "j"):
        with pytest.raises(SchemaError, match=f"column '{column}' .* no order to cut by"):
            source.cut(_ORDERS, _FULL, "range", column, 2)
    by = SplitBy(kind="values", column="j", cuts=("{}",))
    with pytest.raises(SchemaError, match="can't be compared"):
        read_splits(source, _ORDERS, by)
    hashed = SplitBy(kind="hash", column="j", buckets=2)
    assert_together(read_splits(source, _ORDERS, hashed), [1, 2, 3])


def test_the_rows_of_a_raw_read_are_the_splits_too(
    source: PostgresSource, postgres_database: str
) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int)")
    sql(postgres_database, "INSERT INTO orders SELECT generate_series(1, 100)")
    columns = (Column(name="id", ddl="integer"), Column(name="load", ddl="text"))
    for by in (
        source.cut(_ORDERS, _FULL, "range", "id", 4),
        SplitBy(kind="hash", column="id", buckets=3),
    ):
        schema = source.describe(_ORDERS).schema
        counts = []
        for split in by.splits():
            rows: list[int] = []
            reading = source.read_raw(
                ReadRequest(_ORDERS, schema, _FULL, split=split), columns, {"load": "x"}
            )
            reading.pump(_counting(rows))
            reading.close()
            counts.append(sum(rows))
        assert sum(counts) == 100
        assert min(counts) > 10


def _counting(rows: list[int]) -> Callable[[RawBatch], bool]:
    def take(batch: RawBatch) -> bool:
        rows.append(batch.num_rows)
        return True

    return take


def test_a_file_split_is_refused(source: PostgresSource, postgres_database: str) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int)")
    with pytest.raises(ConfigError, match="can't be split by file: it can be by hash or range"):
        source.cut(_ORDERS, _FULL, "file", None, 2)


# --- one moment -----------------------------------------------------------------------------------


def test_splits_in_four_threads_see_one_moment(
    source: PostgresSource, postgres_database: str
) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int)")
    sql(postgres_database, "INSERT INTO orders SELECT generate_series(1, 400)")
    assert isinstance(source, Snapshots)
    splits = source.cut(_ORDERS, _FULL, "range", "id", 4).splits()
    found: dict[str, int] = {}

    def stage(position: int, held: str) -> None:
        part = read_split(source, _ORDERS, splits[position], snapshot=held)
        found[splits[position].id] = part.num_rows

    with source.snapshot() as held:
        stage(0, held)
        sql(postgres_database, "INSERT INTO orders SELECT generate_series(1, 400)")
        sql(postgres_database, "DELETE FROM orders WHERE id = 350")
        threads = [threading.Thread(target=stage, args=(n, held)) for n in (0, 1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert Counter(found.values()) == {100: 4}
        assert read_split(source, _ORDERS, splits[3]).num_rows == 198
        assert counted(postgres_database, _HOLDERS) == 1
    assert counted(postgres_database, _HOLDERS) == 0


_HOLDERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND state LIKE 'idle in transaction%'"
)


def test_a_snapshot_that_is_gone_says_to_plan_again(
    source: PostgresSource, postgres_database: str
) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int)")
    with source.snapshot() as held:
        pass
    for snapshot in (held, "00000003-0000001B-9", "x'; DROP TABLE orders; --"):
        with pytest.raises(ConnectionFailedError, match=r"snapshot .* is gone") as caught:
            read_split(source, _ORDERS, WHOLE.splits()[0], snapshot=snapshot)
        assert caught.value.retry == "plan"
    assert read_split(source, _ORDERS, None).num_rows == 0


def test_the_holder_is_closed_after_an_error(
    source: PostgresSource, postgres_database: str
) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(RuntimeError, match="worker"))
        stack.enter_context(source.snapshot())
        raise RuntimeError("worker")
    assert counted(postgres_database, _HOLDERS) == 0
