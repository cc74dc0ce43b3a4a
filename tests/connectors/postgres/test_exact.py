"""A value that PostgreSQL would round or cut off to fit a column stops the load."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core import Pipeline, run
from conduit_core.errors import SchemaError, SourceDataError
from tests.lab import only
from tests.services import sql


def load(url: str, folder: Path, query: str, **keys: object) -> None:
    made = {"query": query, "name": "t", "mode": "append", "metadata": [], **keys}
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "postgres", "url": url},
            "destination": {"type": "postgres", "url": url},
            "streams": [made],
        },
        folder,
    )
    only(run(pipeline, attempts=1))


@pytest.mark.parametrize(
    ("kind", "fits", "too_fine"),
    [
        ("time(0)", "time '12:00:00'", "time '12:00:00.7'"),
        ("time(0)[]", "array[time '12:00']", "array[time '12:00:00.7']"),
        ("timestamp(1)", "timestamp '2024-01-01 00:00:00.1'", "timestamp '2024-01-01 00:00:00.12'"),
        ("timestamptz(5)", "timestamptz '2024-01-01 00:00:00.12345+02'",
         "timestamptz '2024-01-01 00:00:00.123456+02'"),
        ("timestamp(3)[]", "array[timestamp '2024-01-01 00:00:00.123']",
         "array[timestamp '2024-01-01 00:00:00.1234']"),
        ("interval(0)", "interval '1 mon 2 days 3 s'", "interval '1 mon 2 days 3.5 s'"),
        ("interval year to month", "interval '14 mons'", "interval '14 mons 3 days'"),
        ("bit(3)", "B'101'", "B'10101'"),
        ("bit varying(3)", "B'10'::varbit", "B'10101'::varbit"),
    ],
)  # fmt: skip
def test_nothing_is_rounded_or_cut_off(
    tmp_path: Path, postgres_database: str, kind: str, fits: str, too_fine: str
) -> None:
    sql(postgres_database, f"CREATE TABLE t (x {kind})")
    with pytest.raises(SchemaError, match=r"'x'.*rounded or cut off"):
        load(postgres_database, tmp_path, f"SELECT {too_fine} AS x", on_schema_change="ignore")
    assert sql(postgres_database, "SELECT count(*) FROM t") == [(0,)]
    fine = f"SELECT {fits} AS x UNION ALL SELECT NULL"
    load(postgres_database, tmp_path, fine, on_schema_change="ignore")
    found = sql(postgres_database, f"SELECT count(*) FILTER (WHERE x = {fits}), count(*) FROM t")
    assert found == [(1, 2)]


def test_a_cursor_that_holds_nan_is_refused(tmp_path: Path, postgres_database: str) -> None:
    """It sorts above every number: with it as the watermark nothing would ever be new."""
    query = "SELECT 1::float8 AS id UNION ALL SELECT 'NaN'"
    with pytest.raises(SourceDataError, match=r"'id'.*NaN"):
        load(postgres_database, tmp_path, query, cursor="id")
