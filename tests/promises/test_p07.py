"""p07: rows without a cursor value are counted, and fail or are included: never left in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core import plan
from conduit_core.errors import SourceDataError
from tests.sources import SOURCES, Rows


@pytest.fixture(params=SOURCES)
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Rows:
    source = request.param
    database = request.getfixturevalue("postgres_database") if source == "postgres" else ""
    return Rows(source, "date", tmp_path, database, cursor="at")


def days(*values: str | None) -> list[object]:
    import datetime as dt

    return [None if v is None else dt.date.fromisoformat(v) for v in values]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_p07_rows_without_a_cursor_fail_the_load_with_their_number(rows: Rows, mode: str) -> None:
    rows.stream["mode"] = mode
    rows.add([1, 2, 3], days("2024-01-01", None, None))
    with pytest.raises(SourceDataError, match="2 rows have a NULL in the cursor") as caught:
        rows.run()
    assert "null_cursor" in caught.value.message
    assert "nothing published" in caught.value.lines()[1]


def test_p07_one_that_comes_later_fails_the_next_load(rows: Rows) -> None:
    rows.add([1], days("2024-01-01"))
    rows.run()
    rows.add([2, 3], days("2024-01-02", None))
    with pytest.raises(SourceDataError, match="1 row has a NULL"):
        rows.run()
    assert rows.ids() == [1]


def test_p07_included_they_are_loaded_and_the_plan_counts_them(rows: Rows) -> None:
    rows.stream |= {"mode": "replace", "null_cursor": "include"}
    rows.add([1, 2, 3], days("2024-01-01", None, None))
    (made,) = plan(rows.pipeline())
    assert made.null_rows == 2
    assert "2 rows have a NULL in the cursor, and will be loaded" in made.notes
    assert rows.run().counts.read == 3
    assert rows.ids() == [1, 2, 3]


def test_p07_rows_without_a_cursor_alone_are_loaded_too(rows: Rows) -> None:
    rows.stream |= {"mode": "replace", "null_cursor": "include"}
    rows.add([1, 2], days(None, None))
    assert rows.run().counts.read == 2
