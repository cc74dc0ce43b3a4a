"""Two processes, two streams, one destination: each target ends as if it had been alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.conftest import make_system
from tests.crash.harness import Worker
from tests.crash.systems import Parquet
from tests.lab import Lab

pytestmark = pytest.mark.crash

ROUNDS, ROWS = 2, 500
MODES: dict[str, dict[str, object]] = {
    "one": {"mode": "upsert", "unique_key": "id", "deletes": {"detect": "flag", "column": "gone"}},
    "two": {"mode": "scd2", "unique_key": "id", "ignore_columns": "gone"},
}
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"


@pytest.mark.parametrize(
    "kind", [pytest.param("postgres", marks=pytest.mark.postgres), "duckdb", "sqlite", "parquet"]
)
def test_two_streams_in_two_processes_do_not_disturb_each_other(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    system = make_system(kind, tmp_path, lambda: request.getfixturevalue("postgres_database"))
    lab, worker = Lab(tmp_path), Worker(tmp_path / "disk")
    append: dict[str, object] = {"mode": "append"}
    lab.sql("CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, gone BOOLEAN)")
    files = []
    for name, mode in MODES.items():
        keys = append if isinstance(system, Parquet) else mode
        spec = {
            "name": name,
            "source": {"type": "sqlite", "path": str(lab.source)},
            "destination": system.config(),
            "streams": [{"table": "items", "into": name, "cursor": ["at", "id"], **keys}],
        }
        files.append(tmp_path / f"{name}.yml")
        files[-1].write_text(json.dumps(spec))
    for number in range(ROUNDS):
        lab.sql(f"{NUMBERS} INSERT INTO items SELECT i, {number}, 'v{number}', i % 5 = 0 FROM n")
        for running in [worker.start(file) for file in files]:
            running.end().fine()
    if isinstance(system, Parquet):
        for name in MODES:
            assert len(system.query(f"SELECT id FROM {system.place(name)}")) == ROUNDS * ROWS
        return
    alive = f"SELECT v, count(*) FROM {system.place('one')} WHERE _conduit_deleted_at IS NULL"
    assert system.query(f"{alive} GROUP BY v") == [(f"v{ROUNDS - 1}", ROWS * 4 // 5)]
    current = f"SELECT v, count(*) FROM {system.place('two')} WHERE is_current GROUP BY v"
    assert system.query(current) == [(f"v{ROUNDS - 1}", ROWS)]
    count = f"SELECT count(*) FROM {system.place('two')}"
    assert system.query(count) == [(ROUNDS * ROWS,)]
