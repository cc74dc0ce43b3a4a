"""A file that was appended changes: what a plan says of it, and what the run then does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline, RunRequest, plan, run
from conduit_core.errors import StateError
from tests.lab import only

T0 = 1_700_000_000


def drop(folder: Path, name: str, *ids: int, at: int) -> None:
    """Write a file as of a moment."""
    file = folder / name
    file.write_text("id\n" + "".join(f"{i}\n" for i in ids), encoding="utf-8")
    os.utime(file, (T0 + at, T0 + at))


def drops(folder: Path, **keys: Any) -> Pipeline:
    stream = {"path": "*.csv", "name": "drops", "mode": "append", **keys}
    stream["cursor"] = ["_file_modified", "_file_path"]
    return Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "csv", "path": "."},
            "destination": "duckdb:///warehouse.duckdb",
            "streams": [stream],
        },
        folder,
    )


def test_a_plan_refuses_what_the_run_would(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", 1, 2, at=0)
    drop(tmp_path, "b.csv", 3, at=1)
    assert only(run(drops(tmp_path))).counts.read == 3
    drop(tmp_path, "c.csv", 4, at=2)
    assert not plan(drops(tmp_path))[0].empty
    drop(tmp_path, "a.csv", 1, 2, 5, at=3)
    with pytest.raises(StateError, match=r"a\.csv: changed since loaded") as planned:
        plan(drops(tmp_path))
    with pytest.raises(StateError) as ran:
        only(run(drops(tmp_path)))
    assert planned.value.lines() == ran.value.lines()
    assert planned.value.lines()[3] == "conduit run --stream drops --full-refresh"
    refreshed = run(drops(tmp_path), request=RunRequest(full_refresh=True))
    assert only(refreshed).counts.read == 5


def test_a_file_whose_rows_are_replaced_is_planned(tmp_path: Path) -> None:
    keys = {"metadata": ["load", "file"]}
    drop(tmp_path, "a.csv", 1, at=0)
    only(run(drops(tmp_path, **keys)))
    drop(tmp_path, "a.csv", 1, 2, at=1)
    assert not plan(drops(tmp_path, **keys))[0].empty
    assert only(run(drops(tmp_path, **keys))).counts.read == 2
