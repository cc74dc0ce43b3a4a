"""Every mode that goes by a key, and every way to find deletes: killed, run again, as if never.

Beside the target that is killed, the same stream is loaded into a twin that nothing happens to.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline, run
from tests.crash.conftest import make_system
from tests.crash.harness import Worker
from tests.crash.systems import Postgres, System
from tests.lab import Lab, only

pytestmark = pytest.mark.crash

FLAG = {"detect": "flag", "column": "gone"}
SNAPSHOT = {"detect": "snapshot"}
TRACKED = {"detect": "tracking_table", "table": "buried", "cursor": "at"}
WAYS = {"flag": FLAG, "snapshot": SNAPSHOT, "tracking_table": TRACKED}

CASES: dict[str, dict[str, Any]] = {
    "insert_only": {"mode": "insert_only"},
    "replace_window": {"mode": "replace_window"},
    "upsert": {"mode": "upsert"},
    "scd2": {"mode": "scd2", "ignore_columns": "gone"},
    **{
        f"{mode} {way} {apply}": {"mode": mode, "deletes": {**deletes, "apply": apply}}
        for mode in ("upsert", "scd2")
        for way, deletes in WAYS.items()
        for apply in ("soft", "hard")
    },
}
CASES = {
    name: {"table": "items", "unique_key": "id", "cursor": ["at", "id"], "cursor_timezone": "UTC"}
    | case
    for name, case in CASES.items()
}
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
TIME = "'2024-01-01 00:00:' || printf('%02d', i % 60)"
# The history of the source: what is run before each load.
HISTORY = (
    [
        "CREATE TABLE items (id INTEGER, at TIMESTAMP, v TEXT, gone BOOLEAN)",
        "CREATE TABLE buried (id INTEGER, at TIMESTAMP)",
        f"{NUMBERS} INSERT INTO items SELECT i, {TIME}, 'a' || i, i % 50 = 0 FROM n",
    ],
    [
        "UPDATE items SET v = 'b' || id, at = '2024-01-02 00:00:00' WHERE id % 7 = 0",
        "UPDATE items SET gone = TRUE, at = '2024-01-02 00:00:01' WHERE id % 11 = 0",
        "INSERT INTO buried SELECT id, '2024-01-02 00:00:02' FROM items WHERE id % 13 = 0",
        "DELETE FROM items WHERE id % 13 = 0",
        "INSERT INTO items VALUES (1000, '2024-01-02 00:00:03', 'new', FALSE)",
    ],
    [
        "INSERT INTO items SELECT id, '2024-01-03', 'again', FALSE FROM buried WHERE id < 99",
        "UPDATE items SET gone = FALSE, at = '2024-01-03 00:00:01' WHERE id % 11 = 0",
        "INSERT INTO buried SELECT id, '2024-01-03 00:00:02' FROM items WHERE id % 17 = 0",
        "DELETE FROM items WHERE id % 17 = 0",
    ],
)
FAULTS = ("before_commit:1", "before_commit:1", "after_commit:1")


def content(system: System, table: str, case: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return a target's rows in order: all columns that two loads of the same rows share."""
    columns = ["id", '"at"', "v", "gone"]
    timed = case.get("deletes", {}).get("detect") == "snapshot"  # versions end at the load's time
    if case["mode"] == "scd2":
        end = "valid_to IS NULL" if timed else "valid_to"
        columns += ["valid_from", end, "is_current"]
    if case.get("deletes", {}).get("apply") == "soft":
        columns.append("_conduit_deleted_at IS NULL")
    listed = ", ".join(columns)
    rows = system.query(f"SELECT {listed} FROM {system.place(table)}")
    return sorted(rows, key=repr)


def chain(system: System, table: str) -> list[tuple[Any, ...]]:
    """Return what a target's records count."""
    return system.query(
        "SELECT version, mode, cursor, rows_read, rows_inserted, rows_updated, rows_unchanged,"
        " rows_deleted, rows_deduplicated, rows_superseded"
        f" FROM {system.place('_conduit_ledger')} WHERE target_table = '{table}' ORDER BY version"
    )


def pipeline(lab: Lab, system: System, case: dict[str, Any], table: str, **keys: Any) -> Path:
    """Write a pipeline of one stream into ``table``."""
    destination: dict[str, Any] = dict(system.config())
    if "splits" in keys and not isinstance(system, Postgres):
        destination["staging"] = str(lab.folder / "staging")
    spec = {
        "name": table,
        "source": {"type": "sqlite", "path": str(lab.source)},
        "destination": destination,
        "streams": [{**case, "into": table, **keys}],
    }
    file = lab.folder / f"{table}-{'-'.join(keys)}.yml"
    file.write_text(json.dumps(spec))
    return file


# The statements are the same everywhere: each case is tried on one system at least, and each system
# has every two of a mode, a way and soft or hard. What has no deletes is tried on PostgreSQL alone
# (test_merge kills an upsert on each). Outside of the deep tier each system has every mode, every
# way, soft and hard, and all three together every two of them.
ONE_HALF = {
    "upsert flag soft", "upsert snapshot hard", "upsert tracking_table soft",
    "scd2 flag hard", "scd2 snapshot soft", "scd2 tracking_table hard",
}  # fmt: skip
PLAIN = {name for name in CASES if not name.endswith(("soft", "hard"))}
OTHER_HALF = CASES.keys() - ONE_HALF - PLAIN
SHALLOW = {
    "postgres": {*PLAIN, "upsert flag soft", "scd2 snapshot soft", "scd2 tracking_table hard"},
    "duckdb": {"scd2 flag soft", "upsert snapshot soft", "upsert tracking_table hard"},
    "sqlite": {"upsert snapshot hard", "scd2 flag hard", "upsert tracking_table soft"},
}
TRIED = [
    pytest.param(
        kind,
        name,
        marks=[
            *([pytest.mark.postgres] if kind == "postgres" else []),
            *([] if name in SHALLOW[kind] else [pytest.mark.deep]),
        ],
    )
    for kind, names in (
        ("postgres", PLAIN | ONE_HALF),
        ("duckdb", OTHER_HALF),
        ("sqlite", ONE_HALF),
    )
    for name in CASES
    if name in names
]


@pytest.mark.parametrize(("kind", "name"), TRIED)
def test_p01_p02_killed_and_run_again_is_as_never_killed(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, name: str
) -> None:
    case = CASES[name]
    system = make_system(kind, tmp_path, lambda: request.getfixturevalue("postgres_database"))
    lab, worker = Lab(tmp_path), Worker(tmp_path / "disk")
    for number, (statements, fault) in enumerate(zip(HISTORY, FAULTS, strict=True)):
        lab.sql(*statements)
        only(run(Pipeline.from_file(pipeline(lab, system, case, "twin"))))
        splits = {"splits": {"count": 3, "column": "id"}} if number == 1 else {}
        file = pipeline(lab, system, case, "items", **splits)
        before = content(system, "items", case) if number else None
        worker.run(file, fault=f"{fault}:items").killed()
        if number and fault.startswith("before"):
            assert content(system, "items", case) == before
        only(run(Pipeline.from_file(file)))
        assert content(system, "items", case) == content(system, "twin", case)
        assert chain(system, "items") == chain(system, "twin")
    assert len(chain(system, "items")) == len(HISTORY)


@pytest.mark.postgres
@pytest.mark.parametrize("fault", ["before_commit:1", "after_commit:1"])
def test_p01_p02_a_slice_by_value_killed_and_run_again_is_there_once(
    tmp_path: Path, request: pytest.FixtureRequest, fault: str
) -> None:
    case = {"table": "items", "mode": "append"}
    system = make_system("postgres", tmp_path, lambda: request.getfixturevalue("postgres_database"))
    lab, worker = Lab(tmp_path), Worker(tmp_path / "disk")
    file, asked = pipeline(lab, system, case, "items"), ("--only", "v=even", "--only", "v=odd")
    lab.sql(*HISTORY[0], "UPDATE items SET v = CASE id % 2 WHEN 0 THEN 'even' ELSE 'odd' END")
    worker.run(file, *asked).fine()
    lab.sql(*HISTORY[1], "UPDATE items SET gone = TRUE WHERE v = 'odd'")
    before = content(system, "items", case)
    worker.run(file, "--only", "v=odd", fault=f"{fault}:items").killed()
    if fault.startswith("before"):
        assert content(system, "items", case) == before
    worker.fresh().run(file, "--only", "v=odd").fine()
    rows = content(system, "items", case)
    assert [r for r in rows if r[2] == "even"] == [r for r in before if r[2] == "even"]
    import sqlite3

    with closing(sqlite3.connect(lab.source)) as con:
        there = con.execute("SELECT id FROM items WHERE v = 'odd' ORDER BY id").fetchall()
    assert sorted(r[0] for r in rows if r[2] == "odd") == [n for (n,) in there]
    assert len({r[0] for r in rows}) == len(rows)
