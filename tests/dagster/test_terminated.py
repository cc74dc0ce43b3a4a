"""Runs that are terminated while their loads read: rolled back, and the next run goes on."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from tests import services
from tests.dagster.crashing import (
    GATE,
    HELD,
    POSTGRES_SOURCE,
    Launched,
    at_home,
    job,
)
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.xdist_group("dagster-forks")]

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%held%' AND datname = current_database()
  AND pid <> pg_backend_pid()
"""
ROWS = [(2000, 2000, 1999000)]


def waiting(database: str) -> int:
    """Return how many sessions hang in the source's query."""
    return int(services.sql(database, WAITING)[0][0])


def receipts(database: str) -> int:
    """Return how many splits are staged."""
    if services.sql(database, "SELECT to_regclass('raw._conduit_receipts')") == [(None,)]:
        return 0
    return int(services.sql(database, "SELECT count(*) FROM raw._conduit_receipts")[0][0])


@pytest.mark.parametrize(
    ("name", "hang"), [("held", ["whole", "split"]), ("held_in_process", ["whole"])]
)
def test_p12_a_run_that_is_terminated_publishes_nothing_and_the_next_one_loads_all(
    tmp_path: Path, postgres_database: str, name: str, hang: list[str]
) -> None:
    """By a user, or with its machine. A load in splits keeps what was staged.

    What a launcher does for the user: the run is marked, and its process gets SIGINT.
    """
    by_user = name == "held"
    database, folder = postgres_database, str(tmp_path)
    services.sql(database, POSTGRES_SOURCE + HELD)
    staged = 3 if "split" in hang else 0
    with at_home(folder) as instance:
        with closing(psycopg.connect(database, autocommit=True)) as gate:
            gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
            launched = Launched(name, folder, database, instance, {})
            wait_for(
                lambda: waiting(database) == len(hang) and receipts(database) == staged,
                "loads that hang",
            )
            if by_user:
                instance.report_run_canceling(launched.run)
            os.kill(launched.process.pid or 0, signal.SIGINT if by_user else signal.SIGTERM)
            launched.end()
            assert waiting(database) == 0
        run = instance.get_run_by_id(launched.run.run_id)
        assert run is not None
        ended = dg.DagsterRunStatus.CANCELED if by_user else dg.DagsterRunStatus.FAILURE
        assert run.status == ended
        for table in hang:
            assert services.sql(database, f"SELECT to_regclass('raw.{table}')") == [(None,)]
            key = dg.AssetKey(["raw", table])
            assert instance.fetch_materializations(key, limit=1).records == []
        assert receipts(database) == staged

        of = None if by_user else dg.ReexecutionOptions.from_failure(run.run_id, instance)
        made = job(name, folder, database)
        with dg.execute_job(made, instance, reexecution_options=of) as again:
            assert again.success
        log = [record.user_message for record in instance.all_logs(again.run_id)]
        assert any("takes up the open load" in said for said in log) == ("split" in hang)
    for table in hang:
        found = f"SELECT count(*), count(DISTINCT id), sum(id) FROM raw.{table}"
        assert services.sql(database, found) == ROWS
    chain = "SELECT target_table, version FROM raw._conduit_ledger ORDER BY 1 DESC"
    assert services.sql(database, chain) == [(table, 1) for table in hang]
