"""Whole pipelines into files: run, read back by our own sources, spread over workers."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from conduit_core import Pipeline, files, raise_for_failures, read, run
from conduit_core.cli import main
from conduit_core.errors import ConfigError, LoadFailedError

ROWS = pa.table({
    "id": list(range(40)),
    "name": [None if n % 7 == 0 else "" if n % 7 == 1 else f'n "{n}",\n' for n in range(40)],
    "price": pa.array([n / 4 for n in range(40)], pa.float64()),
    "ok": [None if n % 5 == 0 else n % 2 == 0 for n in range(40)],
    "day": pa.array([19_000 + n for n in range(40)], pa.int32()).cast(pa.date32()),
    "at": pa.array([n * 1_000_001 for n in range(40)], pa.timestamp("us")),
    "zoned": pa.array([n * 1_000_001 for n in range(40)], pa.timestamp("us", tz="UTC")),
})  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for n in range(4):
        pq.write_table(ROWS.slice(n * 10, 10), folder / f"part-{n}.parquet")
    return folder


def pipeline(tmp_path: Path, destination: dict[str, Any], **stream: Any) -> Pipeline:
    spec = {
        "name": "shop",
        "source": {"type": "parquet", "path": "source"},
        "destination": {"path": "lake", **destination},
        "streams": [{"path": "*.parquet", "name": "orders", "metadata": [], **stream}],
    }
    (tmp_path / "pipeline.yml").write_text(json.dumps(spec))
    return Pipeline.from_file(tmp_path / "pipeline.yml")


@pytest.mark.parametrize("system", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_our_own_sources_read_back_what_was_written(
    tmp_path: Path, source: Path, system: str, compression: str
) -> None:
    raise_for_failures(run(pipeline(tmp_path, {"type": system, "compression": compression})))
    back = Pipeline.from_mapping(
        {
            "name": "back",
            "source": {"type": system, "path": "lake"},
            "destination": {"type": "duckdb", "path": "back.duckdb"},
            "streams": [{"path": "orders", "metadata": []}],
        },
        tmp_path,
    )
    raise_for_failures(run(back))
    with read(back, "orders") as batches:
        found = batches.read_all().sort_by("id")
    assert found.to_pydict() == ROWS.to_pydict()


@pytest.mark.parametrize("system", ["parquet", "jsonl"])
def test_splits_are_written_in_place_by_workers(tmp_path: Path, source: Path, system: str) -> None:
    loaded = pipeline(tmp_path, {"type": system}, mode="append", cursor="id", splits=4)
    with ThreadPoolExecutor(2) as pool:
        raise_for_failures(run(loaded, executor=pool))
    published = files(loaded, "orders")
    assert published.rows == 40
    assert len(published.files) == 4
    with read(loaded, "orders", ("id",)) as batches:
        assert batches.read_all().sort_by("id").column("id").to_pylist() == list(range(40))
    left = [p for p in (tmp_path / "lake" / "_conduit" / "staging").rglob("*") if p.is_file()]
    assert [p.name for p in left] == ["probe.json"]
    raise_for_failures(run(loaded))
    assert files(loaded, "orders") == published


def test_the_command_lists_the_published_files(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = pipeline(tmp_path, {"type": "parquet"})
    file = str(tmp_path / "pipeline.yml")
    assert main(["files", file, "--stream", "orders"]) == 4
    assert "doesn't exist" in capsys.readouterr().err
    raise_for_failures(run(loaded))
    (tmp_path / "lake" / "orders" / "stray.parquet").write_bytes(b"not ours")
    assert main(["files", file, "--stream", "orders", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (path,) = document["paths"]
    assert (document["version"], document["rows"], document["format"]) == (1, 40, "parquet")
    assert os.path.getsize(path) == document["bytes"]  # noqa: PTH202
    assert pq.read_table(path).num_rows == 40
    assert main(["files", file, "--stream", "orders"]) == 0
    told = capsys.readouterr().out
    assert path in told
    assert "orders version 1: 1 files, 40 rows" in told


def test_a_destination_with_tables_has_no_files(tmp_path: Path, source: Path) -> None:
    loaded = pipeline(tmp_path, {"type": "duckdb", "path": "x.duckdb"})
    with pytest.raises(ConfigError, match="duckdb destination has tables"):
        files(loaded, "orders")


@pytest.mark.parametrize(
    ("end", "options", "named"),
    [
        (
            "destination",
            {"type": "csv", "types": {"id": "text"}, "header": False},
            "`header`, `types`",
        ),
        ("source", {"type": "parquet", "compression": "zstd"}, "only a destination takes"),
        ("source", {"type": "csv", "partition_by": "id"}, "partition_by"),
        ("destination", {"type": "parquet", "internal_schema": "x"}, "internal_schema"),
        ("destination", {"type": "json"}, "json can't be a destination"),
        ("destination", {"type": "parquet", "compression": "lzma"}, "compression"),
        (
            "destination",
            {"type": "parquet", "target_file_size": "8 apples"},
            "a size such as 64MiB",
        ),
        ("destination", {"type": "parquet", "target_file_size": 1}, "must be at least 65536"),
        ("destination", {"type": "parquet", "row_group_size": 0}, "must be at least 1"),
        ("destination", {"type": "csv", "row_group_size": 10}, "row_group_size"),
        ("destination", {"type": "parquet", "target_file_size": "many"}, "a size such as 64MiB"),
        ("destination", {"type": "parquet", "path": ""}, "path"),
        ("destination", {"type": "parquet", "path": "ftp://x/y"}, "ftp://"),
    ],
)
def test_an_option_of_the_other_end_or_of_none_is_named(
    tmp_path: Path, source: Path, end: str, options: dict[str, Any], named: str
) -> None:
    spec: dict[str, Any] = {
        "name": "shop",
        "source": {"type": "parquet", "path": "source"},
        "destination": {"type": "parquet", "path": "lake"},
        "streams": ["orders.parquet"],
    }
    spec["streams"] = [{"path": "*.parquet", "name": "orders"}]
    spec[end] = {**({"path": "lake"} if end == "destination" else {}), **options}
    with pytest.raises(ConfigError) as error, Pipeline.from_mapping(spec, tmp_path).open():
        raise AssertionError("it was taken")
    assert named in str(error.value)
    assert not (tmp_path / "lake").exists()


def test_a_read_only_folder_is_named_before_anything_is_read(tmp_path: Path, source: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "lake").write_text("a file where the folder should be")
    else:
        (tmp_path / "lake").mkdir(mode=0o500)
    loaded = pipeline(tmp_path, {"type": "parquet"})
    with loaded.open() as ends:
        (item,) = ends.destination.check(("",))
        assert not item.ok
        assert "lake" in item.detail
    result = run(loaded)
    with pytest.raises(LoadFailedError) as error:
        raise_for_failures(result)
    (cause,) = error.value.errors
    assert isinstance(cause, ConfigError)
    assert "lake" in cause.message


def test_a_csv_written_is_a_csv_to_others(tmp_path: Path, source: Path) -> None:
    loaded = pipeline(tmp_path, {"type": "csv", "delimiter": ";"})
    raise_for_failures(run(loaded))
    (path,) = files(loaded, "orders").paths
    options = pacsv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = pacsv.ParseOptions(delimiter=";", newlines_in_values=True)
    found = pacsv.read_csv(path, parse_options=parse, convert_options=options)
    assert found.column("name").to_pylist() == ROWS.column("name").to_pylist()
    assert found.column("day").to_pylist() == ROWS.column("day").to_pylist()
