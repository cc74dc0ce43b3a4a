"""Loads with dead letters and changed columns, and replays: killed, run again, as if never.

Beside the target that is killed, the same stream is loaded into a twin that nothing happens to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline, run
from conduit_core.engine import deadletters
from tests.crash.conftest import make_system
from tests.crash.harness import Worker
from tests.crash.systems import Postgres, System
from tests.lab import Lab, only

pytestmark = pytest.mark.crash

STRICT = [
    {"rule": "not_null", "column": "v", "action": "dlq"},
    {"rule": "range", "column": "n", "max": 28, "action": "dlq", "max_rejected": "50%"},
    {"rule": "accepted_values", "column": "v", "values": ["a", "b"], "action": "warn"},
]
LOOSE = [{"rule": "range", "column": "id", "max": 60, "action": "dlq"}]
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
CREATE = "CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, n {kind})"
# What is run at the source before each of the two loads; the second finds other columns.
FIRST = (
    CREATE.format(kind="SMALLINT"),
    f"{NUMBERS} INSERT INTO items SELECT i, i, CASE WHEN i % 10 THEN 'a' END, i % 30 FROM n",
)
SECOND = (
    "ALTER TABLE items RENAME TO was",
    CREATE.format(kind="INTEGER"),
    "INSERT INTO items SELECT * FROM was",
    "DROP TABLE was",
    "ALTER TABLE items ADD COLUMN extra TEXT",
    # Some letters are resolved, some bad rows are bad again, some are new.
    "UPDATE items SET at = 1000 + id, v = 'b', extra = 'x' WHERE id % 20 = 0",
    "UPDATE items SET at = 2000 + id, extra = 'y' WHERE id % 20 = 10",
    "UPDATE items SET at = 3000 + id, v = NULL WHERE id % 50 = 7",
    "INSERT INTO items VALUES (900, 4000, 'b', 27, NULL), (901, 4001, 'c', 70000, NULL)",
)
_LETTERS = "row_key, payload, reasons, status, attempts, copies, settled_by IS NULL"


def letters(system: System, table: str) -> list[tuple[Any, ...]]:
    """Return what is kept of a target's rejected rows, as it is the same for its twin."""
    if "_conduit_dead_letters" not in system.relations():
        return []
    where = f"FROM {system.place('_conduit_dead_letters')} WHERE target_table = '{table}'"
    return sorted(system.query(f"SELECT {_LETTERS} {where}"), key=repr)


def rows(system: System, table: str) -> list[tuple[Any, ...]]:
    """Return a target's rows, with the new column where there is one."""
    if table not in system.relations():
        return []
    given = system.query(f"SELECT * FROM {system.place(table)} WHERE id = 900")
    more = ", extra" if given else ""
    columns = f'id, "at", v, n{more}'
    return sorted(system.query(f"SELECT {columns} FROM {system.place(table)}"), key=repr)


def chain(system: System, table: str) -> list[tuple[Any, ...]]:
    """Return what a target's records say, and the reports that are kept with them."""
    if "_conduit_ledger" not in system.relations():
        return []
    found = system.query(
        "SELECT l.version, l.mode, l.cursor, l.rows_read, l.rows_inserted, l.rows_updated,"
        " l.rows_rejected, l.schema_changes, a.report"
        f" FROM {system.place('_conduit_ledger')} AS l"
        f" JOIN {system.place('_conduit_audits')} AS a ON a.load_id = l.load_id"
        f" WHERE l.target_table = '{table}' ORDER BY l.version"
    )
    return [(*told, reported(text)) for *told, text in found]


def reported(text: str) -> tuple[Any, ...]:
    """Return what a report counts; which values it shows depends on how the rows came."""
    report = json.loads(text)
    rules = [(r["rule"], r["result"], r["checked"], r["failed"]) for r in report["rules"]]
    return report["read"], report["passed"], report["rejected"], rules, report["facts"]


def content(system: System, table: str) -> tuple[list[tuple[Any, ...]], ...]:
    return rows(system, table), letters(system, table), chain(system, table)


def pipeline(lab: Lab, system: System, table: str, rules: Any, *, spread: bool = False) -> Path:
    """Write a pipeline of one stream into ``table``."""
    destination: dict[str, Any] = dict(system.config())
    if spread and not isinstance(system, Postgres):
        destination["staging"] = str(lab.folder / "staging")
    keys = {"splits": {"count": 3, "column": "id"}} if spread else {}
    spec = {
        "name": table,
        "source": {"type": "sqlite", "path": str(lab.source)},
        "destination": destination,
        "streams": [
            {
                "table": "items",
                "into": table,
                "mode": "upsert",
                "unique_key": "id",
                "cursor": "at",
                "quality": rules,
                **keys,
            }
        ],
    }
    file = lab.folder / f"{table}-{len(rules)}-{spread}.yml"
    file.write_text(json.dumps(spec))
    return file


@pytest.mark.parametrize(
    ("kind", "fused", "staged", "again"),
    [
        pytest.param(
            "postgres",
            "before_commit",
            "after_split:2",
            "before_commit",
            marks=pytest.mark.postgres,
        ),
        ("duckdb", "after_commit", "before_commit", "after_commit"),
        ("sqlite", "audit", "after_commit", "mid_stage"),
    ],
)
def test_letters_and_columns_survive_a_kill_as_if_there_was_none(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, fused: str, staged: str, again: str
) -> None:
    system = make_system(kind, tmp_path, lambda: request.getfixturevalue("postgres_database"))
    lab, worker = Lab(tmp_path), Worker(tmp_path / "disk")
    for statements, fault in ((FIRST, fused), (SECOND, staged)):
        spread = statements is SECOND
        lab.sql(*statements)
        only(run(Pipeline.from_file(pipeline(lab, system, "twin", STRICT))))
        before = content(system, "items")
        file = pipeline(lab, system, "items", STRICT, spread=spread)
        ended = worker.run(file, "--workers", "1", fault=fault) if spread else worker.run(
            file, fault=fault
        )  # fmt: skip
        ended.killed()
        after = content(system, "twin") if fault == "after_commit" else before
        assert content(system, "items") == after
        only(run(Pipeline.from_file(file)))
        assert content(system, "items") == content(system, "twin")
    statuses = [(letter[3], letter[4]) for letter in letters(system, "items")]
    assert {s for s, _ in statuses} == {"open", "resolved", "superseded"}
    deadletters.replay(Pipeline.from_file(pipeline(lab, system, "twin", LOOSE)))
    before = content(system, "items")
    file = pipeline(lab, system, "items", LOOSE)
    worker.drive(file, "--replay", fault=again).killed()
    after = content(system, "twin") if again == "after_commit" else before
    assert content(system, "items") == after
    deadletters.replay(Pipeline.from_file(file))
    if again == "after_commit":  # what couldn't be loaded was tried once more, and nothing else
        assert rows(system, "items") == rows(system, "twin")
        assert [x[:4] for x in letters(system, "items")] == [x[:4] for x in letters(system, "twin")]
    else:
        assert content(system, "items") == content(system, "twin")
    assert len(rows(system, "items")) > len(before[0])
