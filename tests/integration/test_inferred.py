"""Types that come from a sample: one odd value is a finding, no reason to rebuild a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conduit_core import ConduitError, Pipeline, plan, run

if TYPE_CHECKING:
    from pathlib import Path


def _events(folder: Path, **source: object) -> Pipeline:
    stream = {
        "path": "*.csv",
        "name": "events",
        "mode": "append",
        "cursor": ["_file_modified", "_file_path"],
        "metadata": ["load", "file"],
    }
    return Pipeline.from_mapping(
        {
            "name": "inbox",
            "source": {"type": "csv", "path": "in", **source},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": [stream],
        },
        folder,
    )


def _type_of_amount(folder: Path) -> str:
    import duckdb

    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        sql = "SELECT data_type FROM duckdb_columns() WHERE column_name = 'amount'"
        return str(connection.sql(sql).fetchall()[0][0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,amount\n1,1.5\n2,2.5\n")
    assert not run(_events(tmp_path)).failures
    return tmp_path


def test_a_value_that_changes_an_inferred_type_never_sends_anyone_to_a_full_refresh(
    folder: Path,
) -> None:
    (folder / "in" / "b.csv").write_text("id,amount\n3,abc\n")
    with pytest.raises(ConduitError) as caught:
        plan(_events(folder))
    assert "full-refresh" not in str(caught.value)
    assert "`types:` finds it" in caught.value.message
    assert caught.value.exit_code == 4
    assert _type_of_amount(folder) == "DOUBLE"


def test_with_types_the_value_itself_is_named(folder: Path) -> None:
    (folder / "in" / "b.csv").write_text("id,amount\n3,3.5\n4,abc\n")
    (failure,) = run(_events(folder, types={"amount": "double"})).failures
    what = failure.lines[0]
    assert "b.csv" in what
    assert "line 3" in what
    assert "abc" in what


def test_a_window_without_rows_tells_the_watermark_that_is_recorded(folder: Path) -> None:
    before = run(_events(folder)).results[0]
    (folder / "in" / "b.csv").write_text("id,amount\n")
    after = run(_events(folder, types={"id": "bigint", "amount": "double"})).results[0]
    assert after.outcome == "empty"
    assert after.watermark == before.watermark
