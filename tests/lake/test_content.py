"""What a publish does to rows, against a model in plain Python; how files are cut and named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.connectors.lake.destination import LakeDestination
from conduit_core.connectors.publish import (
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Publish,
)
from conduit_core.errors import ConfigError, PublishError, SchemaError
from conduit_core.events import ignore
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import TableRows, create_and_append, publish, record, replace
from conduit_core.testing.fixtures import ids, load, scan
from conduit_core.types.dialect import Table
from tests.lake.worker import destination_at

T = Table("", "t")
_TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "at": pa.float64(), "f": pa.string()}
SCHEMA = pa.schema(_TYPES)
Row = tuple[int, float | None, str | None]
_at = st.one_of(st.none(), st.just(math.nan), st.integers(-4, 4).map(float))
_rows = st.lists(st.tuples(_at, st.sampled_from(["a", "b", "c", None])), max_size=6)


def at(root: Path, system: str = "parquet", **options: object) -> LakeDestination:
    return cast("LakeDestination", destination_at(root / "lake", system, **options))


def table(rows: list[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def window(low: float | None, high: float | None) -> Window:
    bounds = [None if v is None else Cursor(("at",), (pa.scalar(v),)) for v in (low, high)]
    return Window("given", bounds[0], bounds[1])


def inside(value: float | None, low: float | None, high: float | None) -> bool:
    """Compare as SQL does: NULL is nowhere, NaN is the greatest."""
    if low is None and high is None:
        return True
    if value is None:
        return False
    place = math.inf if math.isnan(value) else value
    return (low is None or place >= low) and (high is None or place < high)


@pytest.mark.parametrize("system", ["parquet", "csv", "jsonl"])
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_deletes_do_what_a_list_would(
    tmp_path_factory: pytest.TempPathFactory, system: str, data: st.DataObject
) -> None:
    destination = at(tmp_path_factory.mktemp("model"), system)
    model: list[Row] = []
    numbers = iter(range(10_000))
    for step in range(data.draw(st.integers(2, 5))):
        # A first slice without rows makes no table.
        pairs = data.draw(_rows if step else _rows.filter(bool))
        fresh: list[Row] = [(next(numbers), *pair) for pair in pairs]
        made = record("t", "", window=window(-9.0, 9.0))
        arriving = table(fresh)
        plan: Publish
        if step == 0:
            plan = create_and_append(destination, made, SCHEMA)
            removed = 0
        elif data.draw(st.booleans()):
            low, high = data.draw(
                st.tuples(*[st.one_of(st.none(), st.integers(-5, 5).map(float))] * 2)
            )
            delete = DeleteWindow(window=window(low, high).to_json())
            plan = publish(made, SCHEMA, delete, AppendStaged())
            going = [r for r in model if inside(r[1], low, high)]
            removed, model = len(going), [r for r in model if r not in going]
        else:
            plan = publish(made, SCHEMA, DeleteMatching(columns=("f",)), AppendStaged())
            files = {r[2] for r in fresh} - {None}
            kept = [r for r in model if r[2] not in files]
            removed, model = len(model) - len(kept), kept
        done = destination.commit(plan, TableRows(arriving, batch_rows=2), ignore)
        model += fresh
        found = scan(destination, "", "t")
        assert [repr(r) for r in rows_of(found)] == [repr(r) for r in sorted(model)]
        assert (done.record is None) == (step > 0 and not fresh and not removed)
        newest = destination.files(T)
        assert newest.rows == len(model)


def rows_of(found: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in found.to_pylist()]


def test_files_that_are_wholly_in_or_out_are_not_touched(tmp_path: Path) -> None:
    destination = at(tmp_path)
    spans = [(0, 10), (10, 20), (20, 30)]
    for n, (low, high) in enumerate(spans):
        rows = table([(i, float(i), None) for i in range(low, high)])
        made = record("t", "", window=window(float(low), float(high)))
        plan = (
            create_and_append(destination, made, SCHEMA)
            if n == 0
            else publish(made, SCHEMA, AppendStaged())
        )
        destination.commit(plan, TableRows(rows), ignore)
    before = destination.files(T).paths
    delete = DeleteWindow(window=window(10.0, 25.0).to_json())
    plan = publish(record("t", ""), SCHEMA, delete, AppendStaged())
    destination.commit(plan, TableRows(table([])), ignore)
    after = destination.files(T).paths
    assert after[0] == before[0]
    assert before[1] not in after
    assert before[2] not in after
    assert ids(destination, "", "t") == [*range(10), *range(25, 30)]


# --- sizes and folders ----------------------------------------------------------------------------


def noise(rows: int) -> pa.Table:
    return pa.table(
        {"id": list(range(rows)), "v": [f"{n * 7919 % 999983:0200d}" for n in range(rows)]}
    )


@pytest.mark.parametrize("system", ["parquet", "csv", "jsonl"])
def test_files_are_rolled_over_at_their_size(tmp_path: Path, system: str) -> None:
    options: dict[str, object] = {"target_file_size": "64KiB"}
    if system == "parquet":
        options |= {"row_group_size": 100, "compression": "none"}
    destination = at(tmp_path, system, **options)
    load(destination, "", "t", noise(5000))
    sizes = [Path(path).stat().st_size for path in destination.files(T).paths]
    assert len(sizes) > 5 if system == "parquet" else len(sizes) >= 1
    assert max(sizes) < (4 * 1024 * 1024 if system != "parquet" else 128 * 1024)
    assert [f.bytes for f in destination.files(T).files] == sizes
    assert ids(destination, "", "t") == list(range(5000))


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "lz4", "brotli", "none"])
def test_parquet_is_compressed_in_row_groups_as_asked(tmp_path: Path, codec: str) -> None:
    destination = at(tmp_path, compression=codec, row_group_size=1000)
    load(destination, "", "t", noise(2500))
    (path,) = destination.files(T).paths
    meta = pq.read_metadata(path)
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [1000, 1000, 500]
    wanted = "UNCOMPRESSED" if codec == "none" else codec.upper()
    assert meta.row_group(0).column(1).compression == wanted


def test_partitions_are_folders_that_other_tools_read(tmp_path: Path) -> None:
    destination = at(tmp_path, partition_by=["day", "sh op"])
    days = [None, "2024-01-01", "2024-01-02"]
    rows = pa.table({
        "id": list(range(300)),
        "day": pa.array([days[i % 3] for i in range(300)]).cast(pa.date32()),
        "sh op": [["a/b=c", "", "ünï %41~"][i % 2 if i < 150 else 2] for i in range(300)],
    })  # fmt: skip
    load(destination, "", "t", rows)
    found = destination.files(T)
    folders = {str(Path(p).parent.relative_to(tmp_path / "lake" / "t")) for p in found.paths}
    assert len(folders) == 9
    assert "day=__HIVE_DEFAULT_PARTITION__/sh%20op=a%2Fb%3Dc" in folders
    assert "day=2024-01-01/sh%20op=%C3%BCn%C3%AF%20%2541%7E" in folders
    assert scan(destination, "", "t").to_pydict() == rows.to_pydict()
    import duckdb

    read: Any = duckdb.sql(
        "SELECT * FROM read_parquet($files, hive_partitioning = false) ORDER BY id",
        params={"files": list(found.paths)},
    )
    assert read is not None
    read = read.to_arrow_table()
    assert read.to_pydict() == rows.to_pydict()
    assert pads.dataset(list(found.paths)).to_table().sort_by("id").to_pydict() == rows.to_pydict()
    folders_types: dict[str, pa.DataType] = {"day": pa.date32(), "sh op": pa.string()}
    names = pa.schema(folders_types)
    folders_ = pads.partitioning(names, flavor="hive")
    hive = pads.dataset(str(tmp_path / "lake" / "t"), partitioning=folders_).to_table()
    assert set(hive.column("sh op").to_pylist()) == {"a/b=c", "", "ünï %41~"}


def test_a_thousand_partitions_make_one_file_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = at(tmp_path, partition_by="p")
    rows = pa.table({"id": list(range(20_000)), "p": [n * 7 % 1000 for n in range(20_000)]})
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
    try:
        load(destination, "", "t", rows)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = destination.files(T)
    assert len(found.files) == 1000
    assert {f.rows for f in found.files} == {20}
    assert ids(destination, "", "t") == list(range(20_000))


@pytest.mark.parametrize("kind", [pa.float64(), pa.binary(), pa.list_(pa.int64())])
def test_values_that_name_no_folder_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    destination = at(tmp_path, partition_by="p")
    with pytest.raises(ConfigError, match="'p'"):
        destination.landing(pa.field("p", kind))


def test_a_partition_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    destination = at(tmp_path, partition_by="nope")
    with pytest.raises(ConfigError, match=r"'nope'.*id, v"):
        load(destination, "", "t", noise(3))
    assert destination.records(None) == []
    assert not (tmp_path / "lake" / "t").exists()


def test_a_partition_value_longer_than_a_name_is_refused(tmp_path: Path) -> None:
    destination = at(tmp_path, partition_by="p")
    with pytest.raises(ConfigError, match=r"'p'.*too long"):
        load(destination, "", "t", pa.table({"id": [1], "p": ["x" * 300]}))
    assert not (tmp_path / "lake" / "t").exists()


# --- what can't be written ------------------------------------------------------------------------


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    destination = at(tmp_path)
    theirs = tmp_path / "lake" / "t" / "export.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"export\.parquet"):
        destination.describe(T)
    with pytest.raises(ConfigError, match=r"export\.parquet"):
        load(destination, "", "t", noise(3))
    assert [p for p in (tmp_path / "lake").rglob("*") if p.is_file()] == [theirs]


def test_null_in_a_column_that_takes_none_is_refused(tmp_path: Path) -> None:
    destination = at(tmp_path)
    plan = create_and_append(destination, record("t", ""), pa.schema([("id", pa.int64())]))
    strict = CreateTable(columns=(Column(name="id", ddl="int64", nullable=False),))
    plan = plan.model_copy(update={"actions": (strict, *plan.actions[1:])})
    with pytest.raises(PublishError, match="'id' takes no NULL"):
        destination.commit(
            plan, TableRows(pa.table({"id": pa.array([1, None], pa.int64())})), ignore
        )
    assert destination.describe(T) is None


def test_a_null_in_a_csv_of_one_column_is_refused(tmp_path: Path) -> None:
    destination = at(tmp_path, "csv")
    with pytest.raises(PublishError, match="empty line"):
        load(destination, "", "t", pa.table({"only": ["a", None]}))
    assert destination.records(None) == []


@pytest.mark.parametrize("system", ["csv", "jsonl"])
def test_a_moment_without_iso_text_is_refused(tmp_path: Path, system: str) -> None:
    destination = at(tmp_path, system)
    late = pa.table({"id": [1], "x": pa.array([2**62], pa.timestamp("us"))})
    with pytest.raises(SchemaError, match=r"'x'.*9999"):
        load(destination, "", "t", late)
    assert destination.records(None) == []


def test_a_full_disk_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource
    import signal

    destination = at(tmp_path, compression="none", row_group_size=1000)
    load(destination, "", "t", noise(10))
    before = destination.files(T)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, hard))
    try:
        rows = noise(50_000)
        plan = replace(destination, record("t", ""), rows.schema, "swap")
        with pytest.raises(PublishError, match=r"(?i)file too large|make room"):
            destination.commit(plan, TableRows(rows), ignore)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert destination.files(T) == before
    there = [str(p) for p in (tmp_path / "lake" / "t").rglob("*") if p.is_file()]
    assert there == list(before.paths)


# --- read by others -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "reader"),
    [("csv", "read_csv"), ("jsonl", "read_json"), ("parquet", "read_parquet")],
)
def test_duckdb_reads_what_we_write(tmp_path: Path, system: str, reader: str) -> None:
    import duckdb

    rows = pa.table({
        "id": [1, 2, 3], "t": ['a "q", \\ \n', "", None], "b": [True, None, False],
        "at": pa.array([0, None, 1_700_000_000_123_456], pa.timestamp("us")),
    })  # fmt: skip
    destination = at(tmp_path, system)
    load(destination, "", "t", rows)
    call = f"{reader}($files{', allow_quoted_nulls = false' if system == 'csv' else ''})"
    found = duckdb.sql(
        f'SELECT * REPLACE ("at"::TIMESTAMP AS "at") FROM {call} ORDER BY id',
        params={"files": list(destination.files(T).paths)},
    )
    assert found is not None
    assert found.to_arrow_table().to_pydict() == rows.to_pydict()


def test_a_manifest_of_a_later_format_is_not_guessed_at(tmp_path: Path) -> None:
    from conduit_core.errors import StateError

    load(at(tmp_path), "", "t", noise(3))
    path = tmp_path / "lake" / "_conduit" / "t" / "00000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(StateError, match="format 2"):
        at(tmp_path).describe(T)
    path.write_text("{")
    with pytest.raises(StateError, match="damaged"):
        at(tmp_path).describe(T)
