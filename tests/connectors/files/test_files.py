"""Files as such: where they are, how they are packed, and the cursor that loads new ones once."""

from __future__ import annotations

import gzip
import os
import resource
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from conduit_core.connectors.base import ReadRequest, StreamRef, file_digest
from conduit_core.connectors.files import FileSource
from conduit_core.connectors.files.csv import CsvFormat
from conduit_core.connectors.files.listing import Root, glob_regex
from conduit_core.connectors.files.options import CsvOptions
from conduit_core.errors import ConnectionFailedError, SchemaError, SourceDataError, StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from tests.connectors.files.helpers import FILE_CURSOR, load, rows, source, touch

SECOND = 10**9
T0 = 1_700_000_000 * SECOND + 5
TEXT = "a,b\n1,x\n"


def write(folder: Path, name: str, text: str = TEXT, at: int | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if at is not None:
        touch(path, at)
    return path


# --- finding --------------------------------------------------------------------------------------


def test_a_name_that_is_no_text_is_an_error_where_the_file_is_meant(tmp_path: Path) -> None:
    write(tmp_path, "ok.csv")
    odd = tmp_path / os.fsdecode(b"caf\xe9.csv")
    odd.write_text(TEXT)
    root = Root(str(tmp_path), tmp_path)
    assert [f.path for f in root.select("ok*.csv", (".csv",))] == ["ok.csv"]
    assert [f.path for f in root.select(None, (".csv",), only_text=True)] == ["ok.csv"]
    for path in ("*.csv", ".", odd.name):
        with pytest.raises(SourceDataError, match="its name isn't UTF-8 text") as caught:
            root.select(path, (".csv",))
        assert r"caf\xe9.csv in " in caught.value.message
        assert caught.value.command == f"ls -b {tmp_path}"
    with pytest.raises(SchemaError, match=r"there: caf\\xe9\.csv, ok\.csv"):
        root.select("gone.csv", (".csv",))
    assert [r.name for r in source("csv", tmp_path).discover()] == ["ok.csv"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (None, ["a.csv", "b.csv", "in/c.csv", "in/deep/d.csv.gz"]),
        (".", ["a.csv", "b.csv", "in/c.csv", "in/deep/d.csv.gz"]),
        ("./a.csv", ["a.csv"]),
        ("in", ["in/c.csv", "in/deep/d.csv.gz"]),
        ("in/", ["in/c.csv", "in/deep/d.csv.gz"]),
        ("*.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("*/*.csv", ["in/c.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "in/c.csv"]),
        ("in/**/*.gz", ["in/deep/d.csv.gz"]),
        ("in/**", ["in/c.csv", "in/deep/d.csv.gz", "in/deep/readme.txt"]),
        ("[x].csv", ["[x].csv"]),
        ("in/deep/readme.txt", ["in/deep/readme.txt"]),
    ],
)
def test_a_path_means_files(tmp_path: Path, path: str | None, found: list[str]) -> None:
    for name in (
        "a.csv",
        "b.csv",
        "in/c.csv",
        "in/deep/readme.txt",
        "in/.hidden.csv",
        "_tmp/e.csv",
    ):
        write(tmp_path, name)
    (tmp_path / "in/deep/d.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    if path == "[x].csv":
        write(tmp_path, path)
    got = [f.path for f in Root(str(tmp_path), Path()).select(path, (".csv",))]
    assert [f for f in got if not f.startswith("_tmp")] == found


def test_globs_stay_inside_a_folder() -> None:
    assert glob_regex("*.csv").fullmatch("a.csv")
    assert not glob_regex("*.csv").fullmatch("in/a.csv")
    assert not glob_regex("*.csv").fullmatch(".a.csv")
    assert glob_regex("a[.csv").fullmatch("a[.csv")


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    made = source("csv", tmp_path / "a.csv")
    assert rows(made) == rows(made, "a.csv") == [{"a": 1, "b": "x"}]


def test_a_relative_root_is_relative_to_the_pipeline_file(tmp_path: Path) -> None:
    write(tmp_path, "data/a.csv")
    root = Root("data/../data", tmp_path)
    assert root.identity == (tmp_path / "data").as_posix()
    assert Root("", tmp_path).identity == tmp_path.as_posix()
    assert [f.path for f in root.select("a.csv", (".csv",))] == ["a.csv"]


def test_a_missing_file_lists_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "flights.csv")
    write(tmp_path, "in/planes.csv")
    with pytest.raises(
        SchemaError, match=r"no file 'flight.csv' in .*; did you mean 'flights.csv'"
    ):
        source("csv", tmp_path).describe(StreamRef(path="flight.csv"))
    with pytest.raises(SchemaError, match=r"no file 'in/\*\.tsv' in .*; there: in/planes.csv"):
        source("csv", tmp_path).describe(StreamRef(path="in/*.tsv"))
    with pytest.raises(SchemaError, match=r"no \.parquet or \.pq file in .*; there: flights.csv"):
        source("parquet", tmp_path).describe(StreamRef(path="."))


def test_a_missing_root_and_an_unreadable_one(tmp_path: Path) -> None:
    made = source("csv", tmp_path / "none")
    with pytest.raises(ConnectionFailedError, match="none: no such file or folder"):
        made.describe(StreamRef(path="a.csv"))
    item = made.check()[0]
    assert not item.ok
    assert item.remedy


def test_check_counts_and_opens(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv")
    write(tmp_path, "b.csv")
    item = source("csv", tmp_path).check()[0]
    assert (item.ok, item.detail) == (True, f"2 files, {2 * path.stat().st_size} bytes")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_check_names_a_missing_right(tmp_path: Path) -> None:
    write(tmp_path, "a.csv").chmod(stat.S_IWUSR)
    item = source("csv", tmp_path).check()[0]
    assert not item.ok
    assert "no right to read" in item.detail


def test_discover_lists_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    write(tmp_path, "in/b.csv", "n\n1\n2\n")
    found = source("csv", tmp_path).discover()
    assert [(r.name, r.schema.names, r.rows_estimate) for r in found] == [
        ("a.csv", ["a", "b"], 1),
        ("in", ["n"], 2),
    ]


def test_urls_and_other_file_systems(tmp_path: Path) -> None:
    write(tmp_path, "in/a.csv")
    by_url = source("csv", f"file://{tmp_path}/in")
    assert rows(by_url, "*.csv") == [{"a": 1, "b": "x"}]
    assert by_url.identity == f"file://{tmp_path}/in"
    for system, location in (
        (fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "in"),
        (fs.SubTreeFileSystem(str(tmp_path / "in"), fs.LocalFileSystem()), ""),
    ):
        made = FileSource("csv", Root(location, Path(), system), CsvFormat(CsvOptions()))
        assert rows(made, "*.csv") == [{"a": 1, "b": "x"}]
        assert load(made, "**/*.csv")[1] == ["a.csv"]


def test_an_identity_holds_no_secret() -> None:
    assert Root("s3://key:canary@bucket/x?region=y", Path()).identity == "s3://bucket/x"


def test_a_url_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailedError, match="nope://x: can't be opened"):
        source("csv", "nope://x").describe(StreamRef(path="a.csv"))


# --- packed ---------------------------------------------------------------------------------------


def pack(path: Path, text: str) -> None:
    data = text.encode()
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data[:3]) + gzip.compress(data[3:]))
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(data)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data/", "")
            archive.writestr("__MACOSX/._t.csv", "junk")
            archive.writestr("data/t.csv", data)


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zip"])
def test_compressed_files(tmp_path: Path, ending: str) -> None:
    text = "a,b\n" + "".join(f"{i},{i * 7919}\n" for i in range(200_000))
    pack(tmp_path / f"t.csv{ending}", text)
    pack(tmp_path / f"u.jsonl{ending}", '{"a": 1}\n{"a": 2}\n')
    pack(tmp_path / f"v.json{ending}", '[{"a": 1}, {"a": 2}]')
    table, files = load(source("csv", tmp_path), "*.csv*")
    assert files == [f"t.csv{ending}"]
    assert table.num_rows == 200_000
    assert table["b"][-1].as_py() == 199_999 * 7919
    for kind in ("json", "jsonl"):
        assert rows(source(kind, tmp_path)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zip"])
def test_broken_compression(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.csv{ending}"
    pack(path, "a,b\n" + "".join(f"{i},{i * 7919}\n" for i in range(200_000)))
    path.write_bytes(path.read_bytes()[:-60_000])
    with pytest.raises(SourceDataError, match=r"t\.csv"):
        load(source("csv", tmp_path), path.name)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(SourceDataError, match=r"t\.csv.*compression"):
        load(source("csv", tmp_path), path.name)


def test_a_zip_with_several_members_names_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(SourceDataError, match=r"t\.zip: .*holds 2: a\.csv, b\.csv"):
        rows(source("csv", tmp_path), "t.zip")


# --- several files --------------------------------------------------------------------------------


def test_columns_missing_in_a_file_are_null(tmp_path: Path) -> None:
    write(tmp_path, "1.csv", "a,b\n1,x\n")
    write(tmp_path, "2.csv", "c,a\n2.5,2\n")
    write(tmp_path, "3.csv", "")
    table, files = load(source("csv", tmp_path), "*.csv", file_column=True)
    assert files == ["1.csv", "2.csv", "3.csv"]
    assert table.to_pylist() == [
        {"a": 1, "b": "x", "c": None, "_conduit_file": "1.csv"},
        {"a": 2, "b": None, "c": 2.5, "_conduit_file": "2.csv"},
    ]
    only = rows(source("csv", tmp_path), "*.csv", columns=("c",))
    assert only == [{"c": None}, {"c": 2.5}]


def test_a_column_of_the_name_of_ours(tmp_path: Path) -> None:
    write(tmp_path, "1.csv", "_conduit_file\nx\n")
    with pytest.raises(SchemaError, match="_conduit_file"):
        source("csv", tmp_path).describe(StreamRef(path="1.csv", file_column=True))


def many(folder: Path, number: int, odd: str | None = None) -> None:
    for i in range(number):
        text = odd if odd is not None and i == number // 2 else f"a,b\n{i},x\n"
        write(folder, f"{i:05}.csv", text, T0 + i * SECOND)


@pytest.fixture
def _few_open_files() -> Iterator[None]:
    """Let this process open a hundred files more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    newest = max(int(name) for name in os.listdir("/dev/fd"))  # noqa: PTH208 - numbers, no paths
    resource.setrlimit(resource.RLIMIT_NOFILE, (newest + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_few_open_files")
def test_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    many(tmp_path, 2_000)
    made = source("csv", tmp_path)
    ref = StreamRef(path="*.csv", cursor=FILE_CURSOR)
    shape = made.describe(ref)
    bounds = made.bounds(ref, None, None)
    assert bounds.high is not None
    assert bounds.high.values[1].as_py() == "01999.csv"
    assert len(bounds.high.to_json()) < 300  # the state's size doesn't grow with the files
    request = ReadRequest(ref, shape.schema, Window("watermark", None, bounds.high))
    reading = made.read(request)
    assert sum(batch.num_rows for batch in reading.reader) == 2_000
    assert len(reading.files) == 2_000


def test_a_column_in_a_file_that_was_not_sampled(tmp_path: Path) -> None:
    many(tmp_path, 200, odd="a,b,c\n1,2,3\n")
    with pytest.raises(
        SourceDataError, match=r"00100\.csv: has a column 'c' that the files looked"
    ):
        load(source("csv", tmp_path), "*.csv")
    table, _ = load(source("csv", tmp_path, types={"c": "text"}), "*.csv")
    assert table.num_rows == 200
    assert table["c"].null_count == 199
    assert load(source("csv", tmp_path), "*.csv", columns=("a",))[0].num_columns == 1


# --- the file cursor ------------------------------------------------------------------------------


class Folder:
    """A folder loaded again and again by the file cursor, as the engine does."""

    def __init__(self, path: Path, now: int = T0 + 1000 * SECOND) -> None:
        self.path = path
        self.now = now
        self.low: Cursor | None = None
        self.source = FileSource(
            "csv", Root(str(path), Path()), CsvFormat(CsvOptions()), clock=lambda: self.now
        )

    def run(self, known: frozenset[str] = frozenset(), cap: Cursor | None = None) -> list[str]:
        ref = StreamRef(path="*.csv", cursor=FILE_CURSOR)
        bounds = self.source.bounds(ref, self.low, cap)
        if bounds.high is None or (self.low is not None and bounds.high.compare(self.low) <= 0):
            return []
        window = Window("watermark", self.low, bounds.high)
        _, files = load(self.source, "*.csv", window, cursor=FILE_CURSOR, known=known)
        self.low = bounds.high
        return files


def test_new_and_touched_files_load_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(tmp_path, "b.csv", at=T0)
    write(tmp_path, "a.csv", at=T0 + 1)
    assert folder.run() == ["b.csv", "a.csv"]
    assert folder.run() == []
    write(tmp_path, "c.csv", at=T0 + 2)
    assert folder.run() == ["c.csv"]
    touch(tmp_path / "a.csv", T0 + 3)
    assert folder.run() == ["a.csv"]
    assert folder.run() == []


def test_files_of_one_moment_are_told_apart_by_path(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(tmp_path, "a.csv", at=T0)
    assert folder.run() == ["a.csv"]
    write(tmp_path, "b.csv", at=T0)
    assert folder.run() == ["b.csv"]


def test_two_files_in_one_second_of_a_store_that_ticks_in_seconds(tmp_path: Path) -> None:
    second = 1_700_000_000 * SECOND
    folder = Folder(tmp_path, now=second + SECOND // 2)
    write(tmp_path, "old.csv", at=second - SECOND)
    write(tmp_path, "m.csv", at=second)
    assert folder.run() == ["old.csv"]  # m.csv waits until its second is over
    write(tmp_path, "a.csv", at=second)
    folder.now = second + SECOND
    assert folder.run() == ["a.csv", "m.csv"]
    assert folder.run() == []


def test_a_file_of_this_very_tick_is_looked_at_again(tmp_path: Path) -> None:
    write(tmp_path, "b.csv", at=T0)
    clock = count(T0 + 1, 30_000_000)
    made = FileSource(
        "csv", Root(str(tmp_path), Path()), CsvFormat(CsvOptions()), clock=lambda: next(clock)
    )
    high = made.bounds(StreamRef(path="*.csv", cursor=FILE_CURSOR), None, None).high
    assert high is not None
    assert high.values[1].as_py() == "b.csv"


def test_a_file_from_the_future_waits_and_is_named(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(tmp_path, "a.csv", at=T0)
    write(tmp_path, "z.csv", at=folder.now + 3600 * SECOND + 7)
    assert folder.run() == ["a.csv"]
    shape = folder.source.describe(StreamRef(path="*.csv", cursor=FILE_CURSOR))
    assert any("future" in note and "z.csv" in note for note in shape.notes)


def test_a_cap_stops_before_later_files(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(tmp_path, "a.csv", at=T0)
    write(tmp_path, "b.csv", at=T0 + SECOND)
    cap = Cursor(FILE_CURSOR[:1], (pa.scalar(T0, pa.timestamp("ns", tz="UTC")),))
    assert folder.run(cap=cap) == ["a.csv"]
    assert folder.run() == ["b.csv"]


def test_a_changed_file_is_refused_where_append_would_double_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(tmp_path, "a.csv", at=T0)
    known = frozenset(file_digest(f) for f in folder.run())
    assert all(len(d) == 16 for d in known)
    write(tmp_path, "b.csv", at=T0 + 1)
    assert folder.run(known) == ["b.csv"]
    touch(tmp_path / "a.csv", T0 + 2)
    with pytest.raises(StateError, match=r"a\.csv: changed since loaded.*\[load, file\].*replace"):
        folder.run(known)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    write(tmp_path, "b.csv")
    made = source("csv", tmp_path)
    ref = StreamRef(path="*.csv")
    reading = made.read(ReadRequest(ref, made.describe(ref).schema, Window("full")))
    assert reading.reader.read_next_batch().num_rows == 1
    write(tmp_path, "a.csv", "a,b\n1,x\n2,y\n")
    with pytest.raises(SourceDataError, match=r"a\.csv: the file was changed while") as caught:
        reading.reader.read_all()
    assert caught.value.retry == "plan"
    assert reading.files == []
    reading.close()


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    made = source("csv", tmp_path)
    ref = StreamRef(path="*.csv")
    reading = made.read(ReadRequest(ref, made.describe(ref).schema, Window("full")))
    (tmp_path / "a.csv").unlink()
    with pytest.raises(SourceDataError, match="gone") as caught:
        reading.reader.read_all()
    assert caught.value.retry == "plan"


@pytest.mark.parametrize("cursor", [("_file_modified",), ("_file_path", "_file_modified")])
def test_the_file_cursor_is_the_pair(tmp_path: Path, cursor: tuple[str, ...]) -> None:
    write(tmp_path, "a.csv")
    with pytest.raises(SchemaError, match=r"exactly \[_file_modified, _file_path\]"):
        source("csv", tmp_path).describe(StreamRef(path="*.csv", cursor=cursor))


def test_describe_gives_the_virtual_cursors_types(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    shape = source("csv", tmp_path).describe(StreamRef(path="a.csv", cursor=FILE_CURSOR))
    assert shape.cursor_types == (pa.timestamp("ns", tz="UTC"), pa.string())
    assert shape.schema.names == ["a", "b"]


def test_a_cursor_survives_its_json(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(tmp_path, "ü.csv", at=T0 + 123)
    folder.run()
    assert folder.low is not None
    again = Cursor.from_json(folder.low.to_json())
    assert again.compare(folder.low) == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_close_releases_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    made = source("csv", tmp_path)
    ref = StreamRef(path="a.csv")
    reading = made.read(ReadRequest(ref, made.describe(ref).schema, Window("full")))
    reading.reader.read_next_batch()
    reading.close()
    reading.close()
    descriptors = [x for x in Path("/proc/self/fd").iterdir() if x.exists()]
    assert tmp_path / "a.csv" not in [x.resolve() for x in descriptors]


def test_finding_the_connectors_imports_no_driver() -> None:
    script = """
import sys
from conduit_core.connectors import registry
for name in ("csv", "json", "jsonl", "parquet"):
    registry.get(name)
late = {"pandas", "ijson", "pyarrow.csv", "pyarrow.json", "pyarrow.parquet"}
assert not late & set(sys.modules), late & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
