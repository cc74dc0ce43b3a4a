"""Daily partitions of a table in PostgreSQL, loaded by processes side by side."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from threading import Barrier

import dagster as dg

from dagster_conduit import ConduitResource, conduit_assets
from tests.dagster.crashing import PRELOADED, at_home
from tests.waiting import TIMEOUT_SECONDS

DAYS = [(date(2024, 1, 1) + timedelta(days=n)).isoformat() for n in range(16)]
KEY = dg.AssetKey(["raw", "slices"])
SOURCE = """
CREATE SCHEMA src;
CREATE TABLE src.slices AS
  SELECT (row_number() OVER (ORDER BY day, part))::bigint AS id, day + part AS at
  FROM generate_series('2023-12-31Z'::timestamptz, '2024-01-17Z', '1 day') AS day,
    unnest(ARRAY['0 s', '12 h', '23:59:59.999999']::interval[]) AS part;
"""
"""Three rows a day: at its first moment, in the middle, and at its last moment."""


def slices(database: str) -> dg.AssetsDefinition:
    """Return the partitioned asset."""
    place = {"type": "postgres", "url": database}
    spec = {
        "name": "slices",
        "source": place,
        "destination": {**place, "schema": "raw"},
        "streams": [{"table": "src.slices", "mode": "append", "cursor": "at"}],
    }
    daily = dg.DailyPartitionsDefinition(DAYS[0], timezone="UTC")

    @conduit_assets(pipeline=spec, name="shop", partitions_def=daily)
    def load(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context)

    return load


def side_by_side(folder: str, database: str, days: Sequence[str]) -> list[int | None]:
    """Load each day by a run and a process of its own, all at once; return how each ended."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(PRELOADED)
    start = forks.Barrier(len(days))
    processes = [forks.Process(target=_load, args=(folder, database, day, start)) for day in days]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_SECONDS)
    return [process.exitcode for process in processes]


def _load(folder: str, database: str, day: str, start: Barrier) -> None:
    with at_home(folder) as instance:
        start.wait(TIMEOUT_SECONDS)
        dg.materialize(
            [slices(database)],
            partition_key=day,
            instance=instance,
            resources={"conduit": ConduitResource()},
        )
