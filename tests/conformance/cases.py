"""The pipelines that every runner must load the same, each with the scenes it is played in.

A scene changes the source, the pipeline file or the watermark, and then loads. Nothing here knows a
runner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

COLUMNS = "id INTEGER PRIMARY KEY, at TIMESTAMP, amount SMALLINT, note TEXT, gone INTEGER"
TABLE = (
    f"CREATE TABLE items ({COLUMNS})",
    "CREATE TABLE lost (id INTEGER, lost_at TIMESTAMP)",
)


def rows(*items: tuple[object, ...], table: str = "items") -> str:
    """Return an INSERT of ``(id, at, amount, note, gone)``; a day alone is at noon."""
    return f"INSERT INTO {table} VALUES " + ", ".join(
        f"({i}, '2026-01-{day:02} 12:00:00', {amount}, {_text(note)}, {gone})"
        for i, day, amount, note, gone in items
    )


def _text(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"


SIX = rows(*((n, n, n * 10, f"note {n}", 0) for n in range(1, 7)))
TWO_MORE = rows((7, 7, 70, "note 7", 0), (8, 8, 80, "note 8", 0))
MOVED = "UPDATE items SET amount = 21, at = '2026-01-09 12:00:00' WHERE id = 2"


@dataclass(frozen=True)
class Scene:
    """What happens before a load, and the load.

    Args:
        change: statements for the source.
        keys: keys laid over the first stream from here on.
        edit: the cursor, its columns' values with commas between, that a person writes into the
            runner's state of every stream, before the load.
        replay: dead letters are replayed, in place of a load.
        day: a day of January 2026: the load has this given window.
        full_refresh: everything is read, and the content replaced.
        fails: whether the load ends badly.
        hooks: whether what follows the loads is done.
        files: what files are written beside the pipeline's; a CSV's time is that of its scene.
    """

    change: Sequence[str] = ()
    keys: Mapping[str, object] = field(default_factory=dict)
    edit: str | None = None
    replay: bool = False
    day: int | None = None
    full_refresh: bool = False
    fails: bool = False
    hooks: bool = True
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A pipeline, and the scenes that it is played in.

    Args:
        name: its name, which begins its targets' names too.
        about: what it is, for the page.
        streams: its streams; ``table`` is ``items`` where they don't say.
        scenes: what happens; the first one begins with six rows in ``items``.
        destination: ``sqlite``, ``duckdb`` or ``postgres``, which is its source too.
        source: ``table``, or ``csv``: files in ``data``.
        dbt: whether dbt follows.
        on_error: what becomes of the other streams when one fails.
        daily: whether the suite plays it each time, in every runner.
    """

    name: str
    about: str
    streams: Sequence[Mapping[str, object]]
    scenes: Sequence[Scene]
    destination: str = "sqlite"
    source: str = "table"
    dbt: bool = False
    on_error: str = "continue"
    daily: bool = False

    @property
    def has_windows(self) -> bool:
        """Whether its loads have given windows."""
        return any(scene.day is not None for scene in self.scenes)

    @property
    def is_spread(self) -> bool:
        """Whether its splits are staged by tasks of their own."""
        return any("splits" in stream for stream in self.streams)


KEYED: dict[str, object] = {"mode": "upsert", "unique_key": "id", "cursor": ["at", "id"]}
LOST: dict[str, object] = {"table": "lost", "mode": "upsert", "unique_key": "id"}
APPENDED: dict[str, object] = {"mode": "append", "cursor": ["at", "id"]}
BY_DAY: dict[str, object] = {"cursor": "at", "cursor_timezone": "UTC"}
FIRST, AGAIN = Scene([SIX]), Scene()


def _four(**keys: object) -> list[dict[str, object]]:
    words = ("auto", "warn", "fail", "ignore")
    return [{**KEYED, **keys, "name": word, "on_schema_change": word} for word in words]


def _both(deletes: Mapping[str, object]) -> list[dict[str, object]]:
    return [
        {**KEYED, "name": how, "deletes": {**deletes, "apply": how}} for how in ("soft", "hard")
    ]


def _ruled(name: str, **rule: object) -> dict[str, object]:
    there = {"rule": "not_null", "column": "note", **rule}
    return {**KEYED, "name": name, "quality": [there]}


WIDER = (
    "ALTER TABLE items RENAME TO old",
    f"CREATE TABLE items ({COLUMNS.replace('SMALLINT', 'INTEGER')})",
    "INSERT INTO items SELECT * FROM old",
    "DROP TABLE old",
)
BAD = rows((7, 7, 70, None, 0), (8, 8, 80, None, 0), (9, 9, 90, "note 9", 0))
MENDED = "UPDATE items SET note = 'mended', at = '2026-01-10 12:00:00' WHERE id = 7"
DLQ = [{"rule": "range", "column": "amount", "max": 60, "action": "dlq"}]
LOOSE = [{"rule": "range", "column": "amount", "max": 75, "action": "dlq"}]
ZONED = "ALTER TABLE items ALTER COLUMN at TYPE TIMESTAMPTZ USING at AT TIME ZONE 'UTC'"
RULES = """
import pyarrow as pa
import pyarrow.compute as pc


def is_known(batch: pa.RecordBatch) -> pa.BooleanArray:
    return pc.not_equal(batch.column("note"), "unknown")
"""
PROJECT = {
    "dbt/dbt_project.yml": """
name: shop
version: "1.0"
profile: shop
flags: {send_anonymous_usage_stats: false}
on-run-start: CREATE TABLE IF NOT EXISTS raw.built (model VARCHAR)
models: {+materialized: table, +post-hook: "INSERT INTO raw.built VALUES ('{{ this.name }}')"}
""",
    "dbt/models/sources.yml": """
sources:
  - name: raw
    tables:
      - {name: PREFIX_items, columns: [{name: id, data_tests: [not_null]}]}
      - {name: PREFIX_lost}
""",
    "dbt/models/stg_items.sql": "select id, amount from {{ source('raw', 'PREFIX_items') }}",
    "dbt/models/stg_lost.sql": "select id from {{ source('raw', 'PREFIX_lost') }}",
    "dbt/models/total.sql": "select sum(amount) as amount from {{ ref('stg_items') }}",
}

CASES: tuple[Case, ...] = (
    Case(
        "append", "mode append: new rows, then none",
        [APPENDED], [FIRST, Scene([TWO_MORE]), AGAIN], daily=True,
    ),
    Case(
        "append_whole", "mode append without a cursor: each run adds the whole table",
        [{"mode": "append"}], [FIRST, Scene([TWO_MORE])],
    ),
    Case(
        "insert_only", "mode insert_only: a key that changed stays as it was",
        [{**KEYED, "mode": "insert_only"}], [FIRST, Scene([TWO_MORE, MOVED]), AGAIN],
    ),
    Case(
        "upsert", "mode upsert: a row that changed, new ones, none; at last a full refresh",
        [KEYED], [FIRST, Scene([TWO_MORE, MOVED]), AGAIN, Scene(full_refresh=True)],
        "duckdb", daily=True,
    ),
    Case(
        "replace", "mode replace: no cursor, rows change and go",
        [{"mode": "replace"}],
        [FIRST, Scene([TWO_MORE, MOVED, "DELETE FROM items WHERE id = 3"]), AGAIN], "duckdb",
    ),
    Case(
        "replace_window", "mode replace_window: what is new, with a key that moves",
        [{**KEYED, "mode": "replace_window"}], [FIRST, Scene([TWO_MORE, MOVED]), AGAIN],
    ),
    Case(
        "scd2", "mode scd2: versions of rows that change twice",
        [{**KEYED, "mode": "scd2"}],
        [
            FIRST, Scene([TWO_MORE, MOVED]), AGAIN,
            Scene(["UPDATE items SET note = 'third', at = '2026-01-12 12:00:00' WHERE id = 2"]),
        ],
        daily=True,
    ),
    Case(
        "delete_flag", "deletes by flag, soft and hard; a key comes back",
        _both({"detect": "flag", "column": "gone"}),
        [
            FIRST,
            Scene(["UPDATE items SET gone = 1, at = '2026-01-09 12:00:00' WHERE id IN (2, 4)"]),
            Scene(["UPDATE items SET gone = 0, at = '2026-01-10 12:00:00' WHERE id = 4"]),
        ],
    ),
    Case(
        "delete_snapshot", "deletes by comparing keys, soft and hard; a ceiling stops one",
        _both({"detect": "snapshot", "max_ratio": 0.4}),
        [
            FIRST, Scene(["DELETE FROM items WHERE id IN (2, 4)", TWO_MORE]), AGAIN,
            Scene(["DELETE FROM items WHERE id < 8"], fails=True),
        ],
        daily=True,
    ),
    Case(
        "delete_tracking", "deletes by a tracking table, soft and hard; a key comes back",
        _both({"detect": "tracking_table", "table": "lost", "cursor": "lost_at"}),
        [
            FIRST,
            Scene([
                "DELETE FROM items WHERE id IN (2, 4)",
                "INSERT INTO lost VALUES (2, '2026-01-09 12:00:00'), (4, '2026-01-09 12:00:00')",
            ]),
            Scene([rows((4, 11, 44, "back", 0))]),
        ],
    ),
    Case(
        "column_added", "a column is added: auto, warn, fail and ignore side by side",
        _four(),
        [
            FIRST,
            Scene(["ALTER TABLE items ADD COLUMN more INTEGER",
                   TWO_MORE.replace(", 0)", ", 0, 5)")], fails=True),
            Scene(["UPDATE items SET more = 6, at = '2026-01-11 12:00:00' WHERE id = 1"],
                  fails=True),
        ],
        "duckdb",
    ),
    Case(
        "column_widened", "a column is widened: auto, warn, fail and ignore side by side",
        _four(),
        [
            FIRST,
            Scene([*WIDER, rows((7, 7, 70, "narrow", 0))], fails=True),
            Scene([rows((8, 8, 80000, "wide", 0))], fails=True),
        ],
        "duckdb",
    ),
    Case(
        "rules", "rules that fail, make dead letters, warn, and one past its ceiling",
        [
            _ruled("stops"), _ruled("letters", action="dlq"), _ruled("warns", action="warn"),
            _ruled("ceiling", action="dlq", max_rejected=1),
        ],
        [FIRST, Scene([BAD], fails=True), Scene([MENDED], fails=True),
         Scene(["UPDATE items SET note = 'too', at = '2026-01-11 12:00:00' WHERE id = 8"])],
    ),
    Case(
        "replay", "dead letters, then a looser rule and a replay; one stays, and is superseded",
        [{**KEYED, "quality": DLQ}],
        [
            FIRST, Scene([TWO_MORE]), Scene(keys={"quality": LOOSE}, replay=True),
            Scene([rows((9, 9, 60, "note 9", 0))]), Scene(replay=True),
            Scene(["UPDATE items SET amount = 200, at = '2026-01-12 12:00:00' WHERE id = 8"]),
        ],
        daily=True,
    ),
    Case(
        "splits", "splits that are staged apart, with a rule and dead letters",
        [{**KEYED, "splits": {"count": 3, "column": "id"}, "quality": DLQ}],
        [FIRST, Scene([TWO_MORE, MOVED]), AGAIN],
        "duckdb", daily=True,
    ),
    Case(
        "splits_stopped", "splits that a rule stops as a whole, then mended",
        [{**APPENDED, "splits": {"count": 2, "column": "note"},
          "quality": [{"rule": "unique", "column": "note"}]}],
        [FIRST, Scene([TWO_MORE, "UPDATE items SET note = 'note 7' WHERE id = 8"], fails=True),
         Scene(["UPDATE items SET note = 'note 8' WHERE id = 8"])],
    ),
    Case(
        "windows", "given windows under append, upsert and replace_window; one is loaded again",
        [
            {**BY_DAY, "name": "appended", "mode": "append"},
            {**BY_DAY, "name": "merged", "mode": "upsert", "unique_key": "id"},
            {**BY_DAY, "name": "sliced", "mode": "replace_window"},
        ],
        [
            Scene([SIX], day=2), Scene(day=4),
            Scene(["UPDATE items SET amount = 99 WHERE id = 2", rows((22, 2, 2, "late", 0))],
                  day=2),
            Scene(day=20),
        ],
        "duckdb", daily=True,
    ),
    Case(
        "edit", "a person sets the watermark back in the runner's own store",
        [KEYED],
        [
            FIRST,
            Scene(["UPDATE items SET amount = 55 WHERE id = 5", TWO_MORE],
                  edit="2026-01-04T00:00:00,0"),
            AGAIN,
        ],
        daily=True,
    ),
    Case(
        "edit_scd2", "the same under scd2 and insert_only",
        [{**KEYED, "mode": "scd2", "name": "versions"},
         {**KEYED, "mode": "insert_only", "name": "inserted"}],
        [FIRST, Scene(["UPDATE items SET amount = 55 WHERE id = 5"], edit="2026-01-03T00:00:00,0")],
    ),
    Case(
        "transform", "columns renamed, cast, hashed, masked, left out; no columns of our own",
        [
            {**APPENDED, "metadata": [], "transform": [
                {"rename": {"note": "words"}}, {"cast": {"amount": "int64"}},
                {"mask": {"columns": "words", "keep_last": 1}}, {"drop": ["gone"]},
            ]},
        ],
        [FIRST, Scene([TWO_MORE])],
    ),
    Case(
        "empty", "a source without rows, then with some; an emptied source is refused",
        [{**KEYED, "name": "keyed"}, {"mode": "replace", "name": "whole"}],
        [AGAIN, FIRST, Scene(["DELETE FROM items"], fails=True)],
    ),
    Case(
        "margins", "a lookback, and rows without a cursor",
        [{**KEYED, "lookback": "3d", "null_cursor": "include", "cursor": "at"}],
        [
            FIRST,
            Scene([rows((40, 4, 4, "late", 0)), "UPDATE items SET at = NULL WHERE id = 1"]),
            AGAIN,
        ],
    ),
    Case(
        "dbt", "dbt behind the loads: what changed, nothing, a model that fails and is mended",
        [KEYED, LOST],
        [
            Scene([SIX, "INSERT INTO lost VALUES (1, '2026-01-01')"], files=PROJECT),
            Scene([TWO_MORE]),
            AGAIN,
            Scene([rows((9, 9, 90, "note 9", 0))],
                  files={"dbt/models/total.sql": "select nothing from {{ ref('stg_items') }}"},
                  fails=True),
            Scene(files={"dbt/models/total.sql": PROJECT["dbt/models/total.sql"]}),
        ],
        "duckdb", dbt=True,
    ),
    Case(
        "rule_kinds", "rules of one's own, of the row, of the whole load, and unique rows",
        [
            {**APPENDED, "quality": [
                {"rule": "unique", "column": "note", "action": "dlq"},
                {"rule": "expression", "sql": "amount < 100 OR gone = 0", "action": "warn"},
                {"rule": "custom", "function": "conform_rules:is_known", "action": "dlq"},
                {"rule": "row_count", "min": 1, "max": 7},
                {"rule": "accepted_values", "column": "gone", "values": [0, 1]},
            ]},
        ],
        [
            Scene([SIX], files={"conform_rules.py": RULES}),
            Scene([
                rows((7, 7, 700, "note 7", 1), (8, 8, 5, "note 7", 0), (9, 9, 5, "unknown", 0)),
            ]),
            Scene([rows((10, 10, 5, "note 10", 2))], fails=True),
            Scene(["UPDATE items SET gone = 1 WHERE id = 10"]),
        ],
    ),
    Case(
        "query", "a query as a stream, from a first value on; a column that is left out",
        [{**APPENDED, "name": "large", "cursor": "id", "initial": 3,
          "query": "SELECT id, amount * 2 AS twice, gone FROM items", "columns": ["id", "twice"]}],
        [FIRST, Scene([TWO_MORE]), AGAIN],
    ),
    Case(
        "csv_files", "CSV files: new ones, one that changed, none",
        [{"path": "*.csv", "name": "events", "mode": "append", "metadata": ["load", "file"],
          "cursor": ["_file_modified", "_file_path"]}],
        [
            Scene(files={"data/a.csv": "id,what\n1,x\n2,y\n", "data/b.csv": "id,what\n3,z\n"}),
            Scene(files={"data/c.csv": "id,what\n4,new\n"}),
            Scene(files={"data/a.csv": "id,what\n1,x\n2,other\n5,more\n"}),
            AGAIN,
        ],
        "duckdb", "csv",
    ),
    Case(
        "pg_windows", "PostgreSQL: given windows over times with a zone; one is loaded again",
        [{**BY_DAY, "name": "sliced", "mode": "append"}],
        [
            Scene([SIX, ZONED], day=2),
            Scene(["UPDATE items SET amount = 99 WHERE id = 2"], day=2), Scene(day=3),
        ],
        "postgres",
    ),
    Case(
        "stopped",
        "on_error: stop: a stream that fails leaves the later ones out, until it is mended",
        [{**KEYED, "name": "before"}, _ruled("stops"), {**KEYED, "name": "follows"}],
        [
            Scene([SIX, "UPDATE items SET note = NULL"], fails=True),
            Scene([TWO_MORE], fails=True), Scene(["UPDATE items SET note = 'mended'"]), AGAIN,
        ],
        on_error="stop",
    ),
    Case(
        "pg_upsert", "PostgreSQL: upsert with dead letters, compared keys and an edit",
        [{**KEYED, "deletes": "snapshot", "quality": DLQ}],
        [
            FIRST, Scene([TWO_MORE, MOVED, "DELETE FROM items WHERE id = 3"]), AGAIN,
            Scene(edit="2026-01-02T00:00:00,0"),
        ],
        "postgres", daily=True,
    ),
    Case(
        "pg_splits", "PostgreSQL: splits that are staged apart, versions of rows",
        [{**KEYED, "mode": "scd2", "splits": {"count": 3, "column": "id"}}],
        [FIRST, Scene([TWO_MORE, MOVED]), AGAIN],
        "postgres",
    ),
    Case(
        "pg_columns", "PostgreSQL: a column is added and one widened, on all four words",
        _four(),
        [
            FIRST,
            Scene([
                "ALTER TABLE items ADD COLUMN more INTEGER",
                "ALTER TABLE items ALTER COLUMN amount TYPE INTEGER",
                rows((7, 7, 70000, "wide", 0)).replace(", 0)", ", 0, 5)"),
            ], fails=True),
        ],
        "postgres",
    ),
)  # fmt: skip
STAGED = Case(
    "staged", "splits that a killed command has staged",
    [{**APPENDED, "splits": {"count": 3, "column": "id"}}], [FIRST, Scene([TWO_MORE]), AGAIN],
)  # fmt: skip
BY_NAME: dict[str, Case] = {case.name: case for case in CASES}
HANDED = Case(
    "handed",
    "dead letters, a hook left out, a load that fails, an edit, a replay, a model that fails",
    [
        {**KEYED, "quality": [{"rule": "not_null", "column": "note"}, *DLQ]},
        LOST,
    ],
    [
        Scene([SIX, "INSERT INTO lost VALUES (1, '2026-01-01')"], files=PROJECT),
        Scene([TWO_MORE]),
        Scene([rows((9, 9, 9, "note 9", 0))], hooks=False),
        AGAIN,
        Scene([rows((10, 10, 10, None, 0))], fails=True),
        Scene(["UPDATE items SET note = 'note 10' WHERE id = 10"]),
        Scene(["UPDATE items SET amount = 55 WHERE id = 5"], edit="2026-01-04T00:00:00,0"),
        Scene(keys={"quality": LOOSE}, replay=True),
        Scene([rows((11, 11, 11, "note 11", 0))],
              files={"dbt/models/total.sql": "select nothing from {{ ref('stg_items') }}"},
              fails=True),
        Scene(files={"dbt/models/total.sql": PROJECT["dbt/models/total.sql"]}),
        AGAIN,
    ],
    "duckdb", dbt=True,
)  # fmt: skip
"""What runners play in turn; whoever plays the edit has written it before the scene before."""


def stream_of(case: Case, given: Mapping[str, object], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stream as the pipeline file has it: its target is the case's own."""
    named = {"query", "path"} & given.keys()
    table = str(given.get("table", "items"))
    name = str(given.get("name", table))
    own = {"name": name, "into": f"{case.name}_{name}"}
    if not named:
        own["table"] = f"src.{table}" if case.destination == "postgres" else table
    return {**given, **own, **over}
