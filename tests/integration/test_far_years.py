"""Cursors in years that Python's own times don't have: before 1, after 9999, infinite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline, run, state_show
from conduit_core.engine.standing import status
from tests import services
from tests.lab import only

YEARS = ("0044-03-15 BC", "2024-01-01", "12000-01-01", "290000-05-06", "infinity")
KINDS = ("date", "timestamp", "timestamptz")


@pytest.mark.parametrize("kind", [*KINDS, "timestamp_s"])
def test_duckdb(kind: str, tmp_path: Path) -> None:
    import duckdb

    def add(value: str) -> None:
        value = value.replace(" BC", " (BC)")
        with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS o (ts {kind})")
            connection.execute(f"INSERT INTO o SELECT '{value}'::{kind}")

    walk({"type": "duckdb", "path": "shop.duckdb"}, add, tmp_path)


@pytest.mark.postgres
@pytest.mark.parametrize("kind", KINDS)
def test_postgresql(kind: str, tmp_path: Path, postgres_database: str) -> None:
    def add(value: str) -> None:
        services.sql(postgres_database, f"CREATE TABLE IF NOT EXISTS o (ts {kind})")
        services.sql(postgres_database, f"INSERT INTO o VALUES ('{value}')")

    source = {"type": "postgres", "url": postgres_database}
    walk(source, add, tmp_path, YEARS[:-1])
    add(YEARS[-1])  # Arrow has no infinite time that isn't a time, too
    (failure,) = run(pipeline_of(source, tmp_path)).failures
    assert "column 'ts' of o holds infinity" in failure.lines[0]


def pipeline_of(source: dict[str, object], folder: Path) -> Pipeline:
    """Return a pipeline of one stream into DuckDB."""
    stream = {"table": "o", "mode": "append", "cursor": "ts", "freshness": "1d"}
    mapping = {
        "name": "far",
        "source": source,
        "destination": {"type": "duckdb", "path": "far.duckdb"},
        "streams": [stream],
    }
    return Pipeline.from_mapping(mapping, folder)


def walk(source: dict[str, object], add: Any, folder: Path, years: Sequence[str] = YEARS) -> None:
    """Load row by row; each watermark is the next load's lower bound."""
    pipeline = pipeline_of(source, folder)
    for value in years:
        add(value)
        result = only(run(pipeline))
        assert result.counts.read == result.counts.inserted == 1, value
        at = datetime(2024, 1, 1, tzinfo=UTC) if value == "2024-01-01" else None
        assert result.watermark_at == at
        (seen,) = status(pipeline).streams
        assert (seen.is_behind, seen.watermark_at, seen.lag_seconds) == (False, at, 0.0)
        (view,) = state_show(pipeline)
        assert view.watermark == seen.watermark == seen.source_newest
    assert only(run(pipeline)).outcome == "empty"
