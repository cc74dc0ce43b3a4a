"""One file, one process: locks, sharing, permissions, a full disk; errors before writes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from conduit_core import Pipeline
from conduit_core.connectors.base import Context, ReadRequest, StreamRef
from conduit_core.connectors.duckdb.file import shared_file
from conduit_core.errors import ConfigError, ConnectionFailedError, PublishError
from conduit_core.events import ignore
from conduit_core.state.window import Window
from conduit_core.testing.doubles import TableRows, create_and_append, publish, record
from conduit_core.testing.fixtures import commit, ids, load
from conduit_core.testing.source import read
from conduit_core.types.dialect import Table
from tests.connectors.test_duckdb import DUCKDB, destination_on, source_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = pa.table({"id": [1, 2, 3], "v": ["a", None, "c"]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


def python(script: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a script in another process."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the file open until its input is closed."""
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        " sys.stdin.read(); c.close()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def test_a_file_that_another_process_holds_names_its_pid(
    path: Path, holder: subprocess.Popen[str]
) -> None:
    destination = destination_on(path, wait=0.2)
    plan = create_and_append(destination, record("t", "main"), ROWS.schema)
    for work in (
        lambda: destination.records(None),
        lambda: destination.describe(Table("main", "t")),
        lambda: commit(destination, plan, ROWS),
    ):
        with pytest.raises(ConnectionFailedError, match=rf"process {holder.pid} .*0.2 s") as error:
            work()
        assert error.value.retry == "step"
    (wrong,) = [item for item in destination.check(("main",)) if not item.ok]
    assert str(holder.pid) in wrong.detail


def test_a_load_waits_until_the_file_is_free(path: Path, holder: subprocess.Popen[str]) -> None:
    destination = destination_on(path, wait=60)
    assert holder.stdin is not None
    holder.stdin.close()
    load(destination, "main", "t", ROWS)
    assert ids(destination, "main", "t") == [1, 2, 3]
    destination.close()


def test_after_close_another_process_can_write(path: Path) -> None:
    destination, source = destination_on(path), source_on(path)
    load(destination, "main", "t", ROWS)
    assert read(source, StreamRef(table="t")).num_rows == 3
    script = """
        import duckdb, sys
        duckdb.connect(sys.argv[1]).execute("INSERT INTO t VALUES (9, 'z')")
    """
    assert "PID" in python(script, path).stderr
    destination.close()
    assert "PID" in python(script, path).stderr
    source.close()
    done = python(script, path)
    assert done.returncode == 0, done.stderr
    assert ids(destination, "main", "t") == [1, 2, 3, 9]
    destination.close()


def test_closing_in_the_middle_of_a_read_frees_the_file(path: Path) -> None:
    destination, source = destination_on(path), source_on(path)
    load(destination, "main", "t", pa.table({"id": list(range(100_000))}))
    destination.close()
    ref = StreamRef(table="t")
    request = ReadRequest(ref, source.describe(ref).schema, Window("full"), batch_bytes=1024)
    reading = source.read(request)
    reading.reader.read_next_batch()
    source.close()
    done = python("import duckdb, sys; duckdb.connect(sys.argv[1])", path)
    assert done.returncode == 0, done.stderr
    reading.close()


def test_readers_of_other_processes_do_not_hinder_a_plan(path: Path) -> None:
    destination = destination_on(path, wait=1)
    load(destination, "main", "t", ROWS)
    destination.close()
    assert len(destination.records(None)) == 1
    done = python("import duckdb, sys; duckdb.connect(sys.argv[1], read_only=True)", path)
    assert done.returncode == 0, done.stderr
    destination.close()


def test_a_table_is_copied_inside_one_file(path: Path) -> None:
    destination, source = destination_on(path, "copy"), source_on(path)
    load(destination, "main", "t", pa.table({"id": list(range(50_000))}))
    destination.close()
    ref = StreamRef(table="main.t")
    schema = source.describe(ref).schema
    reading = source.read(ReadRequest(ref, schema, Window("full")))

    class Copied(TableRows):
        def reader(self) -> pa.RecordBatchReader:
            return reading.reader

    plan = create_and_append(destination, record("t", "copy"), schema)
    destination.commit(plan, Copied(pa.table({"id": []}), read=50_000), ignore)
    reading.close()
    assert len(ids(destination, "copy", "t")) == 50_000
    destination.close()
    source.close()


def test_planning_leaves_the_folder_and_the_file_as_they_were(path: Path) -> None:
    destination = destination_on(path, "raw")
    plan = create_and_append(destination, record("t", "raw"), ROWS.schema)
    destination.check(("raw",))
    destination.render(plan)
    destination.describe(Table("raw", "t"))
    destination.close()
    assert list(path.parent.iterdir()) == []
    commit(destination, plan, ROWS)
    destination.close()
    before = path.read_bytes()
    destination.check(("raw", "other"))
    destination.render(publish(record("t", "raw"), ROWS.schema))
    destination.describe(Table("raw", "t"))
    destination.records(None)
    destination.close()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def _wrong_files(folder: Path) -> list[tuple[Path, str]]:
    (folder / "text.duckdb").write_text("hello " * 1000)
    (folder / "empty.duckdb").touch()
    (folder / "folder.duckdb").mkdir()
    import sqlite3

    with sqlite3.connect(folder / "sqlite.duckdb") as con:
        con.execute("CREATE TABLE t (a)")
    con.close()
    return [
        (folder / "sqlite.duckdb", "is not a DuckDB file"),
        (folder / "text.duckdb", "is not a DuckDB file"),
        (folder / "empty.duckdb", "is not a DuckDB file"),
        (folder / "folder.duckdb", "is a folder"),
        (folder / "none" / "x.duckdb", "does not exist"),
    ]


def test_what_is_no_database_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for path, message in _wrong_files(tmp_path):
        before = sorted(tmp_path.rglob("*"))
        destination = destination_on(path)
        plan = create_and_append(destination, record("t", "main"), ROWS.schema)
        with pytest.raises(ConnectionFailedError, match=message) as error:
            commit(destination, plan, ROWS)
        assert error.value.retry == "never"
        with pytest.raises(ConnectionFailedError, match=message):
            source_on(path).describe(StreamRef(table="t"))
        for items in (destination.check(("main",)), source_on(path).check()):
            item = items[-1]
            assert not item.ok
            assert message in item.detail
            assert item.remedy
        assert sorted(tmp_path.rglob("*")) == before


def test_a_source_that_does_not_exist_is_not_made(path: Path) -> None:
    with pytest.raises(ConnectionFailedError, match="does not exist"):
        source_on(path).discover()
    assert not path.exists()


def test_a_path_in_memory_is_refused() -> None:
    for text in (":memory:", " "):
        with pytest.raises(ValueError, match="must name a file"):
            DUCKDB.options(path=text)


AS_NOBODY = """
    import os, sys
    from pathlib import Path
    import duckdb
    import pyarrow as pa
    from conduit_core.errors import ConnectionFailedError
    from conduit_core.testing.doubles import create_and_append, record
    from conduit_core.testing.fixtures import commit
    from conduit_core.connectors.duckdb.destination import DuckDBDestination
    from conduit_core.types.dialect import Table
    if os.getuid() == 0:
        os.setgid(65534), os.setuid(65534)
    d = DuckDBDestination(Path(sys.argv[1]), 1 << 27, "main", "main", 1)
    print(d.describe(Table("main", "t")) is not None, len(d.records(None)))
    print([i.detail for i in d.check(("main",)) if not i.ok])
    rows = pa.table({"id": [1]})
    try:
        commit(d, create_and_append(d, record("t", "main"), rows.schema), rows)
    except ConnectionFailedError as error:
        print(error.message)
"""


def test_a_read_only_file_can_be_planned_from_and_is_named_by_a_load(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("read_only")
    path = folder / "warehouse.duckdb"
    destination = destination_on(path)
    load(destination, "main", "t", ROWS)
    destination.close()
    path.chmod(0o444)
    folder.chmod(0o555)
    opened = [p for p in folder.parents if not p.stat().st_mode & 0o001]
    for parent in opened:
        parent.chmod(parent.stat().st_mode | 0o011)
    done = python(AS_NOBODY, path)
    for parent in opened:
        parent.chmod(0o700)
    folder.chmod(0o755)
    assert done.stdout.splitlines()[0] == "True 1", done.stderr
    assert done.stdout.count("is read-only for this user") == 2


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import pyarrow as pa
    from conduit_core.errors import PublishError
    from conduit_core.events import ignore
    from conduit_core.testing.doubles import TableRows, publish, record
    from conduit_core.connectors.publish import AppendStaged
    from conduit_core.connectors.duckdb.destination import DuckDBDestination
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
    d = DuckDBDestination(Path(sys.argv[1]), 1 << 27, "main", "main", 1)
    rows = pa.table({"id": range(100_000), "v": [f"{i:0200}" for i in range(100_000)]})
    try:
        d.commit(publish(record("t", "main"), rows.schema, AppendStaged()), TableRows(rows), ignore)
    except PublishError as error:
        print(error.retry, error.message)
    sys.stdout.flush()
    import os
    os._exit(0)
"""


def test_a_full_disk_is_named_and_leaves_the_target_unchanged(path: Path) -> None:
    destination = destination_on(path)
    load(destination, "main", "t", ROWS)
    destination.close()
    done = python(FULL_DISK, path)
    assert done.stdout.startswith("step "), done.stdout + done.stderr
    assert "the disk is full" in done.stdout
    assert ids(destination, "main", "t") == [1, 2, 3]
    assert len(destination.records(None)) == 1
    destination.close()


def test_a_lock_of_this_process_is_waited_for_and_named(path: Path) -> None:
    destination = destination_on(path, wait=0.05)
    load(destination, "main", "t", ROWS)
    with shared_file(path).lock("main:main.t"), pytest.raises(PublishError, match="lock_wait"):
        commit(destination, publish(record("t", "main"), ROWS.schema), ROWS)
    destination.close()


def test_a_missing_driver_names_the_line_that_installs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match="duckdb") as error:
        destination_on(path).describe(Table("main", "t"))
    assert "conduit-load[duckdb]" in str(error.value.command)


def test_times_are_utc_wherever_the_process_runs(path: Path) -> None:
    destination = destination_on(path)
    load(destination, "main", "t", pa.table({"id": pa.array([0], pa.timestamp("us", tz="UTC"))}))
    destination.close()
    script = """
        import sys
        from pathlib import Path
        from conduit_core.connectors.base import StreamRef
        from conduit_core.connectors.duckdb.source import DuckDBSource
        from conduit_core.testing.source import read
        s = DuckDBSource(Path(sys.argv[1]), 1 << 27, 1)
        print(s.describe(StreamRef(table="t")).schema.field("id").type)
        print(read(s, StreamRef(table="t")).column("id"))
    """
    done = python(script, path, env={**os.environ, "TZ": "Asia/Tokyo"})
    assert done.stdout.startswith("timestamp[us, tz=UTC]"), done.stderr
    assert "1970-01-01 00:00:00.000000Z" in done.stdout


def test_relative_paths_are_of_the_pipeline_file(tmp_path: Path) -> None:
    assert DUCKDB.destination is not None
    options = DUCKDB.options(path="data/../x.duckdb")
    made = DUCKDB.destination(options, Context(tmp_path), None, None, 1)
    assert made.identity == f"duckdb:{tmp_path / 'x.duckdb'}"


@pytest.mark.parametrize("path", ["md:shop?motherduck_token=canary", "s3://key:canary@bucket/a.db"])
def test_a_service_is_no_file_and_its_token_is_not_shown(tmp_path: Path, path: str) -> None:
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "duckdb", "path": path},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": ["orders"],
        },
        tmp_path,
    )
    with pytest.raises(ConfigError, match="on this machine") as caught, pipeline.open():
        pass
    assert "canary" not in str(caught.value)
