"""SQLite as a destination: its one lock, killed writers, swaps, what hangs on a table, errors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Context, Destination, ReadRequest, StreamRef
from conduit_core.connectors.publish import AppendStaged, NoNewerRecord
from conduit_core.connectors.sqlite import connector
from conduit_core.errors import (
    ConcurrentLoadError,
    ConfigError,
    ConnectionFailedError,
    PublishError,
    SourceDataError,
)
from conduit_core.events import ignore
from conduit_core.state.window import Window
from conduit_core.testing.doubles import TableRows, publish, record, replace
from conduit_core.testing.fixtures import commit, ids, load
from conduit_core.types.dialect import Table
from tests.connectors.sqlite.files import destination_at, query, source_at, sqlite

ROWS = pa.table({"id": [1, 2, 3], "v": ["a", None, "c"]})
TARGET = Table("main", "t")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.sqlite"


@pytest.fixture
def destination(path: Path) -> Iterator[Destination]:
    made = destination_at(path, lock_wait=0.5)
    yield made
    made.close()


# --- the lock -------------------------------------------------------------------------------------

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
for statement in sys.argv[3:]:
    connection.execute(statement).fetchone()
print("held", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Another process with a lock on the file, until it is released."""

    def __init__(self, path: Path, *statements: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(path), *statements],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("go\n")


def test_a_writer_elsewhere_is_waited_for_as_long_as_lock_wait_says(
    destination: Destination, path: Path
) -> None:
    load(destination, "main", "t", ROWS)
    with Holder(path, "BEGIN IMMEDIATE"):
        started = time.monotonic()
        with pytest.raises(PublishError, match=r"wasn't free within 0\.5 s") as error:
            commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
        assert 0.4 < time.monotonic() - started < 10
        assert error.value.retry == "step"
        assert ids(destination, "main", "t") == [1, 2, 3]
        assert [i.name for i in destination.check(("main",)) if not i.ok] == ["write"]
    commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
    assert len(ids(destination, "main", "t")) == 6


def test_a_reader_elsewhere_delays_the_commit_and_nothing_is_lost(
    destination: Destination, path: Path
) -> None:
    load(destination, "main", "t", ROWS)
    with Holder(path, "BEGIN", "SELECT * FROM t"):
        with pytest.raises(PublishError) as error:
            commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
        assert error.value.retry == "step"
    assert ids(destination, "main", "t") == [1, 2, 3]
    assert len(destination.records(None)) == 1


def test_a_reader_of_a_write_ahead_log_delays_nothing(path: Path, destination: Destination) -> None:
    sqlite(path, "PRAGMA journal_mode=WAL")
    load(destination, "main", "t", ROWS)
    with Holder(path, "BEGIN", "SELECT * FROM t"):
        commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert len(query(path, "SELECT * FROM t")) == 6


_RIVAL = """
import sys
from pathlib import Path
import pyarrow as pa
from conduit_core.connectors.publish import AppendStaged, NoNewerRecord
from conduit_core.errors import ConcurrentLoadError
from conduit_core.testing.doubles import TableRows, publish, record
from conduit_core.testing.fixtures import commit
from tests.connectors.sqlite.files import destination_at

destination = destination_at(Path(sys.argv[1]), lock_wait=60.0)
rows = pa.table({"id": list(range(10, 1010))})
made = record("t", "main", load_id=f"rival-{sys.argv[2]}")
plan = publish(made, rows.schema, AppendStaged(), requires=(NoNewerRecord(version=1),))
print("ready", flush=True)
sys.stdin.readline()
try:
    commit(destination, plan, rows)
except ConcurrentLoadError:
    print("lost")
else:
    print("won")
"""


def test_p09_of_two_processes_one_wins_and_nothing_is_lost(
    destination: Destination, path: Path
) -> None:
    load(destination, "main", "t", pa.table({"id": [1]}))
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", _RIVAL, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    assert sorted(rival.communicate()[0] for rival in rivals) == ["lost\n", "won\n"]
    assert ids(destination, "main", "t") == [1, *range(10, 1010)]
    assert [r.version for r in destination.records(None)] == [1, 2]


_KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from conduit_core.connectors.publish import AppendStaged
from conduit_core.events import ignore
from conduit_core.testing.doubles import TableRows, publish, record
from tests.connectors.sqlite.files import destination_at

rows = pa.table({"id": list(range(200_000)), "v": ["x" * 100] * 200_000})

def kill(number):
    if number == 100:
        os.kill(os.getpid(), signal.SIGKILL)

destination = destination_at(Path(sys.argv[1]))
plan = publish(record("t", "main"), rows.schema, AppendStaged())
destination.commit(plan, TableRows(rows, on_batch=kill), ignore)
"""


def test_a_killed_writer_leaves_nothing_and_stands_in_no_ones_way(
    destination: Destination, path: Path
) -> None:
    load(destination, "main", "t", ROWS)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -9
    assert path.with_name(path.name + "-journal").exists()
    assert len(destination.records(None)) == 1
    source = source_at(path)
    schema = source.describe(StreamRef(table="t")).schema
    reading = source.read(ReadRequest(StreamRef(table="t"), schema, Window("full")))
    assert reading.reader.read_all().num_rows == 3
    commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
    assert len(ids(destination, "main", "t")) == 6


# --- replace --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["swap", "in_place"])
def test_replace_keeps_indexes_and_views(
    destination: Destination, path: Path, how: Literal["swap", "in_place"]
) -> None:
    load(destination, "main", "t", ROWS)
    sqlite(
        path,
        'CREATE INDEX "by v" ON t (v); CREATE UNIQUE INDEX by_id ON t (id) WHERE id > 1;'
        "CREATE VIEW w AS SELECT id FROM t; CREATE VIEW broken AS SELECT x FROM gone;",
    )
    new = pa.table({"id": [7, 8], "v": ["x", "y"]})
    done = commit(destination, replace(destination, record("t", "main"), new.schema, how), new)
    assert done.record is not None
    assert query(path, "SELECT id FROM w ORDER BY 1") == [(7,), (8,)]
    names = query(path, "SELECT name FROM sqlite_master WHERE tbl_name = 't' ORDER BY 1")
    assert names == [("by v",), ("by_id",), ("t",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("CREATE TABLE t (id INTEGER); CREATE VIEW w AS SELECT * FROM t", "view w"),
        (
            "CREATE TABLE t (id INTEGER); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
            "trigger g",
        ),
        (
            "CREATE TABLE t (id INTEGER); CREATE TABLE u (t_id REFERENCES T (id))",
            "foreign key of u",
        ),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY)", "its own PRIMARY KEY"),
        ("CREATE TABLE t (id INTEGER CHECK (id > 0))", "its own CHECK"),
        ("CREATE TABLE t (id INTEGER DEFAULT 5)", "the default of id"),
        ('CREATE TABLE "t" ("id" INTEGER, "primary key" TEXT); CREATE INDEX i ON t (id)', ""),
        ("CREATE TABLE t (id INTEGER); CREATE VIEW w AS SELECT 1 AS tt", ""),
    ],
)
def test_what_a_swap_would_lose_is_listed(
    destination: Destination, path: Path, sql: str, name: str
) -> None:
    sqlite(path, sql)
    shape = destination.describe(TARGET)
    assert shape is not None
    assert shape.dependants == ((name,) if name else ())


def test_a_trigger_does_not_change_the_counts(destination: Destination, path: Path) -> None:
    load(destination, "main", "t", ROWS)
    sqlite(
        path,
        "CREATE TABLE log (id); CREATE TRIGGER g AFTER INSERT ON t BEGIN"
        " INSERT INTO log VALUES (new.id); INSERT INTO log VALUES (new.id); END",
    )
    done = commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
    assert done.record is not None
    assert done.record.counts.inserted == 3
    assert query(path, "SELECT count(*) FROM log") == [(6,)]


def test_names_are_found_in_any_case(destination: Destination, path: Path) -> None:
    sqlite(path, "CREATE TABLE Orders (ID INTEGER, g INTEGER AS (ID + 1))")
    shape = destination.describe(Table("main", "ORDERS"))
    assert shape is not None
    assert [c.name for c in shape.columns] == ["ID"]


def test_a_view_is_no_table(destination: Destination, path: Path) -> None:
    sqlite(path, "CREATE VIEW t AS SELECT 1 AS id")
    shape = destination.describe(TARGET)
    assert shape is not None
    assert not shape.is_table


# --- values ---------------------------------------------------------------------------------------


def test_nan_is_an_error_and_not_null(destination: Destination) -> None:
    with pytest.raises(SourceDataError, match="'v' holds NaN"):
        load(destination, "main", "t", pa.table({"id": [1], "v": [float("nan")]}))
    assert destination.records(None) == []


def test_the_end_of_a_day_is_an_error_and_not_a_text_about_it(destination: Destination) -> None:
    """Other systems have a time 24:00:00; Arrow spells it as an error."""
    late = pa.array([86_400_000_000]).cast(pa.time64("us"))
    with pytest.raises(SourceDataError, match="'v' holds the time 24:00:00"):
        load(destination, "main", "t", pa.table({"id": [1], "v": late}))


@pytest.mark.parametrize(
    ("declared", "value", "kept"),
    [
        ("STRING", pa.array(["007"]), False),
        ("STRING", pa.array(["x7"]), True),
        ("VARCHAR(3)", pa.array(["007"]), True),
        ("DECIMAL(20, 10)", pa.array(["1234567.0123456789"]).cast(pa.decimal128(20, 10)), False),
        ("DECIMAL(20, 10)", pa.array(["1.0123456789"]).cast(pa.decimal128(20, 10)), True),
    ],
)
def test_an_affinity_that_would_change_a_value_is_an_error(
    destination: Destination,
    path: Path,
    declared: str,
    value: pa.Array[Any],
    kept: bool,
) -> None:
    sqlite(path, f"CREATE TABLE t (v {declared})")
    shape = destination.describe(TARGET)
    assert shape is not None
    assert shape.columns[0].arrow == value.type
    rows = pa.table({"v": value})
    plan = publish(record("t", "main"), rows.schema, AppendStaged())
    if kept:
        commit(destination, plan, rows)
        assert destination.scan(TARGET).read_all().column("v").to_pylist() == value.to_pylist()
        return
    with pytest.raises(SourceDataError, match="TEXT in its type"):
        commit(destination, plan, rows)
    assert query(path, "SELECT count(*) FROM t") == [(0,)]


def test_a_constraint_of_the_target_is_told(destination: Destination, path: Path) -> None:
    sqlite(path, "CREATE TABLE t (id INTEGER UNIQUE, v TEXT)")
    twice = pa.concat_tables([ROWS, ROWS])
    with pytest.raises(PublishError, match=r"UNIQUE constraint failed: t\.id") as error:
        commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), twice)
    assert error.value.retry == "never"
    assert query(path, "SELECT count(*) FROM t") == [(0,)]


# --- files ----------------------------------------------------------------------------------------


def test_a_read_only_file_is_named(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    destination = destination_at(path)
    load(destination, "main", "t", ROWS)
    path.chmod(0o444)
    with pytest.raises(PublishError, match="read-only"):
        commit(destination, publish(record("t", "main"), ROWS.schema, AppendStaged()), ROWS)
    assert [i.name for i in destination.check(("main",)) if not i.ok] == ["write"]


def test_a_full_disk_publishes_nothing_and_a_retry_helps(
    destination: Destination, path: Path
) -> None:
    """``max_page_count`` fails like a full disk does; it holds for one connection only."""
    from conduit_core.connectors.sqlite.destination import SqliteDestination
    from conduit_core.connectors.sqlite.session import SqliteSession

    load(destination, "main", "t", ROWS)

    class Small(SqliteDestination):
        def session(self) -> SqliteSession:
            session = SqliteSession(path, writes=True, lock_wait=1.0)
            session.rows("PRAGMA max_page_count = 30")
            return session

    big = pa.table({"id": list(range(5000)), "v": ["x" * 200] * 5000})
    with pytest.raises(PublishError, match="the disk is full") as error:
        commit(Small(path, 1.0), publish(record("t", "main"), big.schema, AppendStaged()), big)
    assert error.value.retry == "step"
    assert ids(destination, "main", "t") == [1, 2, 3]


def test_a_file_that_is_no_database_is_named_and_left_alone(
    destination: Destination, path: Path
) -> None:
    path.write_text("precious text\n" * 200)
    before = path.read_bytes()
    plan = publish(record("t", "main"), ROWS.schema, AppendStaged())
    with pytest.raises((PublishError, ConnectionFailedError), match="is not a SQLite database"):
        destination.commit(plan, TableRows(ROWS), ignore)
    with pytest.raises(ConnectionFailedError, match="is not a SQLite database"):
        destination.records(None)
    with pytest.raises(ConnectionFailedError, match="is not a SQLite database"):
        destination.describe(TARGET)
    assert [i.ok for i in destination.check(("main",)) if i.name == "file"] == [False]
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    destination = destination_at(tmp_path / "no" / "such.sqlite")
    assert [i.ok for i in destination.check(("main",))] == [False]
    with pytest.raises(ConnectionFailedError, match="there is no folder"):
        load(destination, "main", "t", ROWS)


def test_an_overtaken_plan_is_refused(destination: Destination) -> None:
    load(destination, "main", "t", ROWS)
    plan = publish(
        record("t", "main"), ROWS.schema, AppendStaged(), requires=(NoNewerRecord(version=0),)
    )
    with pytest.raises(ConcurrentLoadError):
        commit(destination, plan, ROWS)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "internal", "key"), [("raw", None, "schema"), (None, "meta", "internal_schema")]
)
def test_another_schema_is_refused(
    tmp_path: Path, schema: str | None, internal: str | None, key: str
) -> None:
    assert connector.destination is not None
    with pytest.raises(ConfigError, match=f"^{key}: ") as error:
        connector.destination(
            connector.options(path="x.sqlite"), Context(tmp_path), schema, internal, 1.0
        )
    assert "main" in error.value.message


@pytest.mark.parametrize("text", [":memory:", "file:x?mode=memory"])
def test_a_database_in_memory_is_refused(tmp_path: Path, text: str) -> None:
    assert connector.source is not None
    with pytest.raises(ConfigError, match="not the path of a file"):
        connector.source(connector.options(path=text), Context(tmp_path))


def test_no_other_sqlite_library_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from conduit_core.connectors.base import Context;"
        "from conduit_core.connectors.sqlite import connector;"
        "options = connector.options(path='x.sqlite'); here = Context(Path(sys.argv[1]));"
        "assert 'adbc_driver_manager' not in sys.modules;"
        "target = connector.destination(options, here, None, None, 1.0);"
        "target.session().close(); connector.source(options, here).discover();"
        "print({'sqlite3', 'pandas', 'pyarrow.dataset', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], text=True, capture_output=True, check=True
    )
    assert done.stdout == "set()\n"
