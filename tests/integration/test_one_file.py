"""Source and destination in one SQLite file, which has one lock for all that is in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from conduit_core import Pipeline, run

ROWS = 40_000  # several batches: the read is still open while rows are written


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_streams_of_one_file_wait_for_each_other_not_for_themselves(
    tmp_path: Path, journal: str
) -> None:
    import sqlite3

    with closing(sqlite3.connect(tmp_path / "one.db")) as connection, connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        for name in "abc":
            connection.execute(f"CREATE TABLE {name} (id INTEGER, v TEXT)")
            rows = ((i, "x" * 20) for i in range(ROWS))
            connection.executemany(f"INSERT INTO {name} VALUES (?, ?)", rows)
    file = {"type": "sqlite", "path": "one.db"}
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": file,
            "destination": {**file, "lock_wait": "20s"},
            "streams": [{"table": name, "into": f"{name}_copy"} for name in "abc"],
        },
        tmp_path,
    )
    for _ in range(2):
        result = run(pipeline, jobs=3, attempts=1)
        assert not result.failures
        assert [r.counts.inserted for r in result.results] == [ROWS] * 3
