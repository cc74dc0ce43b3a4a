"""docs/guarantees.md says of each destination and mode what ``plan`` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core import Pipeline, RunRequest, SliceBy, plan
from conduit_core.connectors import registry
from conduit_core.errors import ConfigError
from conduit_core.spec.model import StreamSpec
from tests.docs.pages import ROOT, code, tables
from tests.lab import Lab

PAGE = ROOT / "docs" / "guarantees.md"
TITLES = {
    "PostgreSQL, DuckDB, SQLite": ("postgres", "duckdb", "sqlite"),
    "Parquet, CSV, JSON lines": ("parquet", "csv", "jsonl"),
}
KEYED = {"unique_key": "id", "cursor": "id"}
FILES = "files, `[_file_modified, _file_path]`"
STREAMS: dict[str, dict[str, object]] = {
    "any": {},
    "with a cursor": {"cursor": "id"},
    "with a cursor, window `--from --to`": {"cursor": "id"},
    "a slice by value, `--only`": {"cursor": "id"},
    FILES: {"path": "a.csv", "cursor": ["_file_modified", "_file_path"]},
    "without a cursor": {},
    "with a `unique_key`": {"unique_key": "id"},
    "with a `unique_key` and a cursor": KEYED,
    "with `deletes`": {"unique_key": "id", "cursor": "at", "deletes": "snapshot"},
}
REQUESTS = {
    "with a cursor, window `--from --to`": RunRequest(window_from="1", window_to="3"),
    "a slice by value, `--only`": RunRequest(only=SliceBy(column="v", values=("v1",))),
}


def rows() -> list[list[str]]:
    (found,) = [
        r for h, r in tables(PAGE).items() if h.startswith("By destination, mode") and len(r[0]) > 3
    ]
    return found


def _answer(lab: Lab, row: list[str]) -> str:
    """What ``plan`` says of a row; where any key will do, without one."""
    (mode,), what, key = code(row[0]), row[1], row[2]
    stream = {"table": "orders", "mode": mode, **STREAMS[what]}
    if "path" in stream:
        del stream["table"]
    mapping = {
        "name": "shop",
        "source": {"type": "csv"} if "path" in stream else {"type": "sqlite", "path": "source.db"},
        "destination": lab.destination,
        "streams": [stream],
    }
    request = REQUESTS.get(what, RunRequest())
    if key == "given":
        request = request.model_copy(update={"request_key": "task-1"})
    try:
        (made,) = plan(Pipeline.from_mapping(mapping, lab.folder), request=request)
    except ConfigError as error:
        if "destination can't do `mode:" not in error.message:
            raise
        return "refused"
    return made.guarantee


@pytest.mark.parametrize("kind", [kind for kinds in TITLES.values() for kind in kinds])
def test_each_guarantee_is_what_plan_says(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    given = request.getfixturevalue("postgres_database") if kind == "postgres" else kind
    lab = Lab(tmp_path, given if kind in {"postgres", "duckdb", "sqlite"} else "duckdb")
    if kind in TITLES["Parquet, CSV, JSON lines"]:
        lab.destination = {"type": kind, "path": "lake"}
    lab.orders(range(1, 5))
    (tmp_path / "a.csv").write_text("id,v\n1,a\n")
    title = next(title for title, kinds in TITLES.items() if kind in kinds)
    column = _header().index(title)
    for row in rows():
        assert _answer(lab, row) == row[column], row


def _header() -> list[str]:
    line = next(t for t in PAGE.read_text().splitlines() if "PostgreSQL, DuckDB, SQLite |" in t)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_mode_and_destination_has_its_guarantee() -> None:
    modes = StreamSpec.model_json_schema()["properties"]["mode"]["enum"]
    assert {name for row in rows() for name in code(row[0])} == set(modes)
    listed = {kind for kinds in TITLES.values() for kind in kinds}
    assert listed == {name for name in registry.names() if registry.get(name).destination}
    assert set(TITLES) <= set(_header())
