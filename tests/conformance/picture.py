"""What a destination looks like after a load, so that two loads can be compared.

Everything that conforming runners must agree on is in it, as plain JSON: rows, columns, ledger,
dead letters, audits, hooks, what dbt built. Three kinds of things aren't: who loaded (ids of runs,
request keys, the runner's JSON), when (times of the load itself), and where (digests that hold a
path). In their place stands what they are compared by: a load's id becomes its place in the
target's ledger, a digest the place where it was first seen.

A person's edit of the watermark is a record of its own when a command writes it, and none when it
is written into a runner's store, from where the next load takes it. So records of edits aren't in
the picture, and loads are counted without them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from tests.crash.systems import System

Picture = dict[str, Any]

_LEDGER = (
    "target_table", "version", "load_id", "pipeline", "stream", "request", "mode", "load_window",
    "cursor", "schema_changes", "schema_fingerprint", "spec_fingerprint", "target_fingerprint",
)  # fmt: skip
_COUNTS = (
    "read", "inserted", "updated", "unchanged", "deleted", "deduplicated", "superseded",
    "rejected", "removed",
)  # fmt: skip
_LETTERS = (
    "target_table", "pipeline", "stream", "status", "attempts", "copies", "row_key", "reasons",
    "payload", "redacted", "schema_fingerprint", "load_id", "first_load_id", "settled_by",
)  # fmt: skip
LEFT_OUT: Mapping[str, frozenset[str]] = {
    "_conduit_ledger": frozenset(
        {"target_schema", "request_key", "runner", "stages", "started_at", "published_at"}
    ),
    "_conduit_dead_letters": frozenset(
        {"letter_id", "target_schema", "first_seen_at", "last_seen_at", "settled_at"}
    ),
    "_conduit_audits": frozenset({"target_schema", "version", "published_at"}),
    "_conduit_hooks": frozenset({"target_schema", "finished_at"}),
}
"""Columns that aren't in the picture; a test holds that all others are."""
_OF_LOADS = ("load_id", "first_load_id", "settled_by")
_TIMES_OF_LOADS = ("_conduit_loaded_at",)
_WHETHER = ("_conduit_deleted_at",)
_ASKED = {"from", "to"}
"""Of a given window, as the runner wrote it; what it means is in ``load_window``."""


@dataclass(frozen=True)
class Chain:
    """A target's ledger: its loads, oldest first, each as the picture has it."""

    table: str
    loads: list[dict[str, Any]]
    place_of: Mapping[str, int]
    """By a load's id, its place among the loads; an edit has that of the load before it."""
    version_of: Mapping[int, int]
    """By a version, the same."""


def picture(system: System) -> Picture:
    """Return what there is in a destination; an empty one is ``{}``."""
    there = system.relations()
    if "_conduit_ledger" not in there:
        return {}
    chains = {chain.table: chain for chain in _chains(system)}
    made: Picture = {
        "ledger": {name: chain.loads for name, chain in sorted(chains.items())},
        "tables": {name: _table(system, chain) for name, chain in sorted(chains.items())},
        "letters": _letters(system, chains),
        "audits": _audits(system, chains),
    }
    if "_conduit_hooks" in there:
        made["hooks"] = _hooks(system, chains)
    if "built" in there:
        models = sorted(name for (name,) in system.query(_from(system, "built", "model")))
        made["built"] = dict(Counter(models))
    return made


def counted(made: Picture) -> dict[str, int]:
    """Return how much there is in a picture: rows, records, dead letters."""
    return {
        "rows": sum(len(each["rows"]) for each in made.get("tables", {}).values()),
        "records": sum(len(loads) for loads in made.get("ledger", {}).values()),
        "letters": len(made.get("letters", ())),
    }


def shortened(value: Any) -> Any:
    """Return JSON without what is empty, and a cursor's columns as texts, for people to read."""
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"column", "type", "value"}:
        return f"{value['column']} {value['value']} {value['type']}"
    return {k: shortened(v) for k, v in value.items() if v not in ("", [], {})}


def since(before: Any, now: Any) -> Any:
    """Return what of JSON is other than before, so that the one and the other give the now.

    Of a mapping it is the keys that have changed (those that are gone under ``-``), of a list that
    has grown what was added (``{"+": [...]}``), of anything else all of it.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        changed = {
            k: since(before.get(k), v) for k, v in now.items() if k not in before or before[k] != v
        }
        gone = sorted(before.keys() - now.keys())
        return {**changed, "-": gone} if gone else changed
    if isinstance(before, list) and isinstance(now, list) and now[: len(before)] == before:
        return {"+": now[len(before) :]}
    return now


def _from(system: System, table: str, columns: str) -> str:
    return f"SELECT {columns} FROM {system.place(table)}"


def _chains(system: System) -> list[Chain]:
    names = (*_LEDGER, *(f"rows_{what}" for what in _COUNTS))
    found = system.query(_from(system, "_conduit_ledger", ", ".join(names)))
    records = [dict(zip(names, row, strict=True)) for row in found]
    records.sort(key=lambda each: (each["target_table"], each["version"]))
    by: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by.setdefault(record["target_table"], []).append(record)
    return [_chain(name, chain) for name, chain in by.items()]


def _chain(table: str, records: list[dict[str, Any]]) -> Chain:
    assert [r["version"] for r in records] == list(range(1, len(records) + 1)), table
    seen: dict[str, list[str]] = {"spec_fingerprint": [], "target_fingerprint": []}
    loads: list[dict[str, Any]] = []
    place_of: dict[str, int] = {}
    version_of: dict[int, int] = {}
    for record in records:
        if not record["mode"].startswith("state_"):
            loads.append(_load(record, seen))
        place_of[record["load_id"]] = version_of[record["version"]] = len(loads)
    return Chain(table, loads, place_of, version_of)


def _load(record: Mapping[str, Any], seen: Mapping[str, list[str]]) -> dict[str, Any]:
    counts = {what: n for what in _COUNTS if (n := record[f"rows_{what}"])}
    made: dict[str, Any] = {"stream": record["stream"], "mode": record["mode"], "counts": counts}
    made["pipeline"] = record["pipeline"]
    made["request"] = {k: v for k, v in json.loads(record["request"]).items() if k not in _ASKED}
    made["load_window"] = shortened(json.loads(record["load_window"]))
    made["cursor"] = shortened(json.loads(record["cursor"] or "null"))
    made["schema_changes"] = json.loads(record["schema_changes"])
    made["schema_fingerprint"] = record["schema_fingerprint"]
    for name, known in seen.items():
        if record[name] not in known:
            known.append(record[name])
        made[name] = known.index(record[name]) + 1
    return made


def _table(system: System, chain: Chain) -> dict[str, Any]:
    types = {n: t for n, t in _columns(system, chain.table) if n not in _TIMES_OF_LOADS}
    quoted = ", ".join(f'"{name}"' for name in types)
    found = system.query(_from(system, chain.table, quoted))
    rows = [[_cell(n, value, chain) for n, value in zip(types, r, strict=True)] for r in found]
    return {"columns": list(map(" ".join, types.items())), "rows": sorted(rows, key=json.dumps)}


def _columns(system: System, table: str) -> list[tuple[str, str]]:
    """Return a table's columns in their order, each with its type."""
    if system.name == "sqlite":
        found = system.query(f'PRAGMA table_info("{table}")')
        return [(str(row[1]), str(row[2])) for row in found]
    found = system.query(
        "SELECT ordinal_position, column_name, data_type FROM information_schema.columns"
        f" WHERE table_schema = '{system.schema}' AND table_name = '{table}'"
    )
    return [(str(name), str(kind)) for _, name, kind in sorted(found)]


def _cell(column: str, value: object, chain: Chain) -> object:
    if value is not None and column == "_conduit_load_id":
        return chain.place_of[str(value)]
    if value is not None and column in _WHETHER:
        return "then"
    return _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _letters(system: System, chains: Mapping[str, Chain]) -> dict[str, dict[str, Any]]:
    """Return each letter by its number, in the order of their loads."""
    made = []
    for row in system.query(_from(system, "_conduit_dead_letters", ", ".join(_LETTERS))):
        letter = dict(zip(_LETTERS, row, strict=True))
        place_of = chains[letter["target_table"]].place_of
        for name in _OF_LOADS:
            letter[name] = place_of[letter[name]] if letter[name] else None
        for name in ("row_key", "reasons", "payload"):
            letter[name] = json.loads(letter[name]) if letter[name] else None
        made.append(letter)
    made.sort(key=lambda each: [each["target_table"], each["first_load_id"], str(each["payload"])])
    return {str(number): letter for number, letter in enumerate(made, 1)}


def _audits(system: System, chains: Mapping[str, Chain]) -> list[list[Any]]:
    found = system.query(_from(system, "_conduit_audits", "target_table, load_id, report"))
    made = [[t, chains[t].place_of[i], shortened(json.loads(report))] for t, i, report in found]
    return sorted(made, key=lambda each: [each[1], each[0]])


def _hooks(system: System, chains: Mapping[str, Chain]) -> list[list[Any]]:
    found = system.query(_from(system, "_conduit_hooks", "pipeline, hook, target_table, version"))
    return sorted([p, hook, t, chains[t].version_of[int(v)]] for p, hook, t, v in found)
