"""How changed rows get into a DuckDB table: written anew, or updated where an index asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, stream

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("index", ["", "CREATE UNIQUE INDEX one ON o (id)"])
def test_changed_rows_keep_what_the_load_does_not_set(tmp_path: Path, index: str) -> None:
    import duckdb

    lab = Lab(tmp_path, "duckdb")
    lab.sql(
        "CREATE TABLE o (id INTEGER, ts TIMESTAMP, v TEXT)",
        "INSERT INTO o VALUES (1, '2024-01-01 00:00:00', 'a'), (2, '2024-01-01 00:00:00', 'b')",
    )
    pipeline = lab.pipeline(stream("o", mode="upsert", unique_key="id", cursor="ts"))
    lab.run(pipeline)
    with duckdb.connect(str(lab.file)) as con:
        con.execute("ALTER TABLE o ADD COLUMN note VARCHAR DEFAULT 'none'")
        con.execute("UPDATE o SET note = 'mine' WHERE id = 1")
        if index:
            con.execute(index)
    lab.sql("UPDATE o SET ts = '2024-01-02 00:00:00', v = 'c' WHERE id = 1")

    done = lab.run(pipeline)

    assert done.counts.updated == 1
    with duckdb.connect(str(lab.file)) as con:
        found = con.execute("SELECT id, v, note FROM o ORDER BY id").fetchall()
    assert found == [(1, "c", "mine"), (2, "b", "none")]
