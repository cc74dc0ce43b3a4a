"""Partitions loaded side by side and again, and two runs of one asset at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from dagster_conduit import ConduitResource
from tests import services
from tests.crash.harness import loaded
from tests.crash.source import ROWS, Source
from tests.crash.systems import SQLite
from tests.dagster.crashing import Launched, at_home, job
from tests.dagster.shop import Shop
from tests.dagster.slices import DAYS, KEY, SOURCE, side_by_side, slices
from tests.waiting import wait_for

RANGE = {
    "dagster/asset_partition_range_start": DAYS[0],
    "dagster/asset_partition_range_end": DAYS[-1],
}


def content(database: str) -> list[tuple[Any, ...]]:
    """Return the days of what was loaded, with each day's count and sum."""
    text = (
        "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*), sum(id)::int"
        " FROM raw.slices GROUP BY 1 ORDER BY 1"
    )
    return services.sql(database, text)


@pytest.mark.slow
@pytest.mark.xdist_group("dagster-forks")
def test_p12_p22_sixteen_partitions_at_once_and_a_backfill_of_them_twice(
    tmp_path: Path, postgres_database: str
) -> None:
    """A day has its first and its last moment, and nothing of the days beside it."""
    folder, database = str(tmp_path), postgres_database
    services.sql(database, SOURCE)
    with at_home(folder) as instance:  # made before sixteen would make it at once
        assert side_by_side(folder, database, DAYS) == [0] * len(DAYS)
        expected = [(day, 3, 3 * (3 * n + 5)) for n, day in enumerate(DAYS)]
        assert content(database) == expected
        windows = "SELECT load_window FROM raw._conduit_ledger"
        assert len(set(services.sql(database, windows))) == len(DAYS)
        assert instance.get_materialized_partitions(KEY) == set(DAYS)
        runs = instance.fetch_materializations(KEY, limit=100).records
        assert sorted(str(r.partition_key) for r in runs) == DAYS

        for backfill in (1, 2):
            result = dg.materialize(
                [slices(database)],
                instance=instance,
                resources={"conduit": ConduitResource()},
                tags=RANGE,
            )
            assert result.success
            assert content(database) == expected
            versions = services.sql(database, "SELECT count(*) FROM raw._conduit_ledger")
            assert versions == [(len(DAYS) + backfill,)]


@pytest.mark.slow
@pytest.mark.xdist_group("dagster-forks")
@pytest.mark.crash
def test_p12_two_runs_of_one_asset_at_once_load_each_row_once(tmp_path: Path) -> None:
    """One is frozen between its plan and its commit; the other one loads all meanwhile."""
    Source(tmp_path / "items").fill()
    folder = str(tmp_path)
    with at_home(folder) as instance:
        tags = {"fault": "after_plan", "signal": "STOP"}
        launched = Launched("in_process", folder, "", instance, tags)
        process = psutil.Process(launched.process.pid)
        try:
            wait_for(lambda: process.status() == psutil.STATUS_STOPPED, "a run that is frozen")
            with dg.execute_job(job("in_process", folder, ""), instance) as other:
                assert other.success
            os.kill(process.pid, signal.SIGCONT)
            assert launched.end() == 0
        finally:
            launched.process.kill()
        assert launched.run.status == dg.DagsterRunStatus.SUCCESS
        found = loaded(SQLite(tmp_path), "items")
        assert len(found.rows) == ROWS
        assert found.versions == [1]
        log = [record.user_message for record in instance.all_logs(launched.run.run_id)]
        assert any("of the same target was published meanwhile" in said for said in log)


def test_one_run_over_a_range_is_one_load(shop: Shop) -> None:
    daily = dg.DailyPartitionsDefinition("2026-01-01")
    shop.streams = (
        {"table": "orders", "mode": "append", "cursor": "updated_at", "cursor_timezone": "UTC"},
    )
    told = shop.materialize(
        shop.assets(partitions_def=daily),
        tags={
            "dagster/asset_partition_range_start": "2026-01-02",
            "dagster/asset_partition_range_end": "2026-01-04",
        },
    )
    assert told.success
    assert shop.rows("SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,), (3,)]
    (record,) = shop.chain()
    assert record.request_key is not None
    assert record.request_key.endswith("/raw/orders/2026-01-02...2026-01-04")
    events = told.result.get_asset_materialization_events()
    assert [e.partition for e in events] == ["2026-01-02", "2026-01-03", "2026-01-04"]


def test_a_days_borders_are_those_of_the_partitions_time_zone(shop: Shop) -> None:
    """A day of 23 hours: from 23:00 to 22:00 of UTC."""
    daily = dg.DailyPartitionsDefinition("2026-03-01", timezone="Europe/Berlin")
    shop.sql("DELETE FROM orders")
    for n, at in enumerate(("28 22:59:59", "28 23:00:00", "29 21:59:59", "29 22:00:00")):
        shop.sql(f"INSERT INTO orders VALUES ({n}, 1, 'eu', '2026-03-{at}')")
    shop.streams = (
        {"table": "orders", "mode": "append", "cursor": "updated_at", "cursor_timezone": "UTC"},
    )
    told = shop.materialize(shop.assets(partitions_def=daily), partition_key="2026-03-29")
    assert told.success
    assert shop.rows("SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"mode": "append", "cursor": "id"}, "not a value of the cursor's type int64"),
        ({"mode": "append", "cursor": "updated_at"}, "cursor_timezone"),
        ({"mode": "append"}, "cursor"),
        ({"mode": "replace"}, "cursor"),
    ],
)
def test_a_stream_that_has_no_slices_of_time_is_refused_by_name(
    shop: Shop, stream: dict[str, object], said: str
) -> None:
    daily = dg.DailyPartitionsDefinition("2026-01-01")
    shop.streams = ({"table": "orders", **stream},)
    told = shop.materialize(shop.assets(partitions_def=daily), partition_key="2026-01-02")
    assert not told.success
    first, state, retry, _ = told.failure().splitlines()
    assert first.startswith("orders (shop): ")
    assert said in first
    assert state.startswith("nothing published")
    assert retry == "a retry will not help"
    assert shop.rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]
    assert told.materialized() == []
