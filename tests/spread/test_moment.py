"""All splits of a run are read at one moment, where the source can hold one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core import Pipeline, read, run
from conduit_core.events import Event, SplitStaged
from tests import services
from tests.lab import only

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_committed_between_two_splits_is_not_seen(
    postgres_database: str, tmp_path: Path, workers: int
) -> None:
    """A transfer from one split to another: its two halves are both there, or neither is."""
    url = postgres_database
    services.sql(
        url, "CREATE TABLE accounts AS SELECT n AS id, 100 AS amount FROM generate_series(1, 80) n"
    )
    pipeline = Pipeline.from_mapping(
        {
            "name": "bank",
            "source": {"type": "postgres", "url": url},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb", "staging": "staging"},
            "streams": [{"table": "accounts", "splits": {"count": 4, "column": "id"}}],
        },
        tmp_path,
    )
    moved: list[str] = []

    def transfer(event: Event) -> None:
        if isinstance(event, SplitStaged) and not moved:
            moved.append(event.split)
            services.sql(url, "UPDATE accounts SET amount = amount - 10 WHERE id = 1")
            services.sql(url, "UPDATE accounts SET amount = amount + 10 WHERE id = 80")
            services.sql(url, "INSERT INTO accounts VALUES (81, 7)")

    result = only(run(pipeline, workers=workers, listeners=(transfer,)))
    assert moved
    assert result.counts.read == 80
    with read(pipeline, "accounts") as reader:
        table = reader.read_all()
    assert table.column("amount").to_pylist() == [100] * 80
