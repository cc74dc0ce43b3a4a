"""Buckets whose keys stand beside the path, at both ends; the keys are never told."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyarrow import fs

from conduit_core import Pipeline, raise_for_failures, read, run
from conduit_core.connectors.files.bucket import open_bucket
from conduit_core.errors import ConfigError, LoadFailedError
from tests.connectors.files.helpers import source
from tests.objects.conftest import SECRET, Place, gcs_server, make_place, s3_server

__all__ = ["gcs_server", "s3_server"]


@pytest.fixture(params=["s3", "gcs"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request.param, request, tmp_path)


def copied(bucket: Place, path: str, **destination: Any) -> Pipeline:
    return Pipeline.from_mapping({
        "name": "shop",
        "source": {"type": "csv", "path": f"{bucket.url}/in", "credentials": bucket.options},
        "destination": {
            "type": "parquet",
            "path": f"{bucket.url}/lake",
            "credentials": bucket.options,
            **destination,
        },
        "streams": [{"path": path, "name": "orders", "mode": "append", "metadata": []}],
    })  # fmt: skip


@pytest.mark.parametrize("path", ["*.csv", ".", "a.csv"])
def test_files_of_a_bucket_are_loaded_into_it(bucket: Place, path: str) -> None:
    for name, text in (("a.csv", b"id,city\n1,Oslo\n2,Lima\n"), ("deep/b.txt", b"id\n3\n")):
        bucket.open("/in").put(name, text)
    pipeline = copied(bucket, path)
    raise_for_failures(run(pipeline))
    with read(pipeline, "orders") as reader:
        rows = reader.read_all().to_pylist()
    assert rows == [{"id": 1, "city": "Oslo"}, {"id": 2, "city": "Lima"}]
    one_file = source("csv", f"{bucket.url}/in/a.csv", credentials=bucket.options)
    assert SECRET not in f"{pipeline!r}{one_file!r}{one_file.identity}"


def test_what_arrow_asks_of_a_file_system(bucket: Place) -> None:
    bucket.open().put("in/a.csv", b"id\n1\n")
    bucket.open().put("in/deep/b.csv", b"id\n2\n")
    system, base = open_bucket(bucket.url, bucket.options)
    kinds = [info.type for info in system.get_file_info([f"{base}/in", f"{base}/in/a.csv", "no"])]
    assert kinds == [fs.FileType.Directory, fs.FileType.File, fs.FileType.NotFound]
    flat, deep = (
        [i.path for i in system.get_file_info(fs.FileSelector(f"{base}/in", recursive=recursive))]
        for recursive in (False, True)
    )
    assert flat == [f"{base}/in/a.csv"]
    assert deep == [f"{base}/in/a.csv", f"{base}/in/deep/b.csv"]
    with system.open_input_file(f"{base}/in/a.csv") as file:
        assert (file.size(), file.read_at(2, 3)) == (5, b"1\n")
    with system.open_input_stream(f"{base}/in/deep/b.csv") as stream:
        assert stream.read() == b"id\n2\n"


def refused(path: str, credentials: dict[str, str]) -> str:
    made = Pipeline.from_mapping({
        "name": "shop",
        "source": {"type": "csv", "path": path, "credentials": credentials},
        "destination": "sqlite:///wh.db",
        "streams": [{"path": "a.csv"}],
    })  # fmt: skip
    with pytest.raises(LoadFailedError) as caught:
        raise_for_failures(run(made))
    (error,) = caught.value.errors
    assert SECRET not in "".join(traceback.format_exception(error))
    return str(error)


def test_wrong_keys_are_told_by_name_alone(
    bucket: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "doesn't know, one of" in refused(bucket.url, {**bucket.options, "colour": SECRET})
    there_is_none = f"{urlsplit(bucket.url).scheme}://no-such-bucket-of-ours/x"
    assert "no-such-bucket-of-ours" in refused(there_is_none, bucket.options)


def test_keys_without_a_bucket_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="credentials are for a bucket"):
        open_bucket("/data", {"access_key_id": "x"})
    assert "credentials are for a bucket" in refused("/data", {"access_key_id": SECRET})
