"""Fixtures of whole loads: a lab per destination."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import DESTINATIONS, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """SQLite to SQLite, the quickest: for what is the same wherever it is loaded."""
    return Lab(tmp_path, "sqlite")


@pytest.fixture
def duckdb_lab(tmp_path: Path) -> Lab:
    """SQLite to DuckDB."""
    return Lab(tmp_path, "duckdb")


@pytest.fixture(params=DESTINATIONS)
def each_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """SQLite to each destination."""
    name = request.param
    return Lab(
        tmp_path, request.getfixturevalue("postgres_database") if name == "postgres" else name
    )
