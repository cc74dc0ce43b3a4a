"""p18: memory is bounded by a byte budget, not by the table; a container's limit shrinks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conduit_core import run
from conduit_core.engine import budget
from conduit_core.events import BatchRead, Event
from tests.lab import DESTINATIONS, Lab, only

MIB = 1024 * 1024
ROWS = 60_000
PEAK = """
import json, resource, sys
from pathlib import Path
from conduit_core import Pipeline, run

mapping, folder = json.loads(sys.argv[1])
(result,) = run(Pipeline.from_mapping(mapping, Path(folder))).results
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": result.counts.inserted, "bytes": result.bytes_read, "peak": peak}))
"""


def fill(lab: Lab, table: str, rows: int) -> None:
    lab.sql(
        f"CREATE TABLE {table} (id INTEGER, at TIMESTAMP, amount REAL, name TEXT, note TEXT)",
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        f" INSERT INTO {table} SELECT i, '2024-01-01 00:00:00', i / 7.0, 'name ' || i,"
        " printf('%500d', i) FROM n",
    )


def peak_of(lab: Lab, table: str) -> dict[str, int]:
    mapping = {
        "name": "shop",
        "source": {"type": "sqlite", "path": lab.source.name},
        "destination": lab.destination,
        "streams": [table],
    }
    done = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps([mapping, str(lab.folder)])],
        check=True, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_p18_four_times_the_rows_take_no_more_memory(each_lab: Lab) -> None:
    lab = each_lab
    rows = ROWS * (2 if lab.destination["type"] == "duckdb" else 1)  # its own budget fills first
    fill(lab, "small", rows)
    fill(lab, "large", 4 * rows)
    small, large = peak_of(lab, "small"), peak_of(lab, "large")
    assert (small["rows"], large["rows"]) == (rows, 4 * rows)
    assert large["bytes"] > 100 * MIB
    assert large["peak"] < small["peak"] * 1.15


@pytest.mark.parametrize("destination", [d for d in DESTINATIONS if d != "postgres"])
def test_p18_a_small_container_gets_a_small_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destination: str
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{64 * MIB}\n")
    read_limit = budget.container_limit_bytes
    monkeypatch.setattr(budget, "container_limit_bytes", lambda: read_limit((str(limit),)))
    queue, driver = budget.budgets(1)
    assert (queue, driver) == (8 * MIB, 16 * MIB)
    lab = Lab(tmp_path, destination)
    fill(lab, "orders", 60_000)
    events: list[Event] = []
    pipeline = lab.pipeline({"table": "orders"})
    assert only(run(pipeline, listeners=(events.append,))).counts.inserted == 60_000
    batches = [e for e in events if isinstance(e, BatchRead)]
    assert max(e.queue_bytes for e in batches) <= queue
    assert max(e.bytes for e in batches) <= queue
