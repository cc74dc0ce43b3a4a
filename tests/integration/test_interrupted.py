"""An interrupted load doesn't wait for its source."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from conduit_core import Pipeline, RunRequest
from conduit_core.engine.flow import CancelledError
from conduit_core.engine.load import load_stream
from conduit_core.engine.runtime import Runtime
from conduit_core.events import Event, PublishStarted
from tests.services import sql

SECONDS = 60


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT 1 AS id FROM pg_sleep({SECONDS})",
        f"SELECT 1 AS id, pg_sleep({SECONDS})::text AS s FROM generate_series(1, 2)",
    ],
    ids=["before the first row", "at each row"],
)
def test_a_slow_query_is_cancelled(tmp_path: Path, postgres_database: str, query: str) -> None:
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "postgres", "url": postgres_database},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": [{"query": query, "name": "slow"}],
        },
        tmp_path,
    )
    cancel = threading.Event()

    def interrupt(event: Event) -> None:
        if isinstance(event, PublishStarted):
            cancel.set()

    started = time.monotonic()
    runtime = Runtime(interrupt, None, 1 << 20, 1, cancel)
    with pipeline.open() as ends, pytest.raises(CancelledError):
        load_stream(pipeline, pipeline.streams[0], ends, RunRequest(), runtime)
    assert time.monotonic() - started < SECONDS / 2
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname ="
        " current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%'"
    )
    assert sql(postgres_database, busy) == [(0,)]
