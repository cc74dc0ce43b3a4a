"""The benchmarks run from end to end, with a hundredth of their sizes; no number is asserted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.__main__ import PAGE, RESULTS
from benchmarks.peers.environment import HOME, replication, sling
from tests.services import local_binaries

SOME = ("pg", "csv-duckdb", "append")
PEERS = ("peers-csv-pg", "peers-upsert")


def quick(*arguments: str) -> str:
    binaries = local_binaries()
    if binaries is None or not (binaries / "psql").exists():
        pytest.skip("no PostgreSQL of its own with psql")
    before = PAGE.read_bytes(), RESULTS.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (PAGE.read_bytes(), RESULTS.read_bytes()) == before
    assert "NOT EQUAL" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.slow
def test_some_cases_run() -> None:
    told = quick(*SOME)
    assert told.count("10k rows") == len(SOME), told
    assert told.count("| equal |") == len(SOME), told


@pytest.mark.deep
@pytest.mark.slow
def test_every_case_runs() -> None:
    told = quick()
    assert "Airflow: a task that loads ten rows" in told, told


@pytest.mark.slow
@pytest.mark.skipif(sling() is None, reason=f"no {HOME.name}: make bench-peers makes it")
def test_peers_run() -> None:
    told = quick("--peers", *PEERS)
    assert told.count("| equal |") == 7, told  # ours, and dlt and Sling; dlt has two ways


def test_sling_is_told_to_replace_a_table_directly_and_to_merge_by_key() -> None:
    full = {"object": "bench.t", "mode": "full-refresh"}
    assert replication("public.s", full) == {
        "source": "BENCH",
        "target": "BENCH",
        "streams": {"public.s": full},
        "env": {"SLING_DIRECT_INSERT": "true"},
    }
    merge = {"object": "bench.t", "mode": "incremental", "primary_key": ["id"]}
    assert replication("file:///data.csv", merge) == {
        "source": "local",
        "target": "BENCH",
        "streams": {"file:///data.csv": merge},
        "env": {},
    }
