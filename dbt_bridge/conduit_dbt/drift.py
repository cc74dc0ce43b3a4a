"""Whether a dbt project expects the columns that a load will change. Pure.

What a project says of a table: the columns and types that its source declares, the tests on them,
and the contracts of the models that read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from conduit_core import LoadPlan, TableFacts

_ALIASES = {
    "int": "integer", "int4": "integer", "signed": "integer",
    "int8": "bigint", "long": "bigint", "int2": "smallint",
    "string": "varchar", "text": "varchar", "character varying": "varchar", "char": "varchar",
    "float8": "double", "double precision": "double", "float4": "real", "float": "double",
    "decimal": "numeric", "bool": "boolean", "datetime": "timestamp",
    "timestamp without time zone": "timestamp", "timestamptz": "timestamp with time zone",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What a load does to a column: ``type`` is its new type, as the destination spells it.

    One that is ``removed`` stays in the table, without values; one that is ``dropped`` doesn't.
    """

    column: str
    what: Literal["added", "removed", "dropped", "type", "nullable"]
    type: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """What is to be known (``notes``), and what the project doesn't expect (``problems``)."""

    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def remakes(plan: LoadPlan) -> bool:
    """Whether a plan puts a table with other columns, or maybe others, in the target's place."""
    changes = bool(plan.schema_changes) or '"full_refresh"' in plan.request
    return changes and _new_table(plan) is not None


def drifts_of(plan: LoadPlan, before: TableFacts | None = None) -> tuple[ColumnDrift, ...]:
    """Return what a plan changes of its target's columns, or of what they get.

    Args:
        plan: the plan.
        before: the target as it is, where the plan puts another table in its place.
    """
    found: list[ColumnDrift] = []
    for action in plan.publish.actions:
        if action.kind == "add_column":
            found.append(ColumnDrift(action.column.name, "added", action.column.ddl))
        if action.kind == "widen_column":
            if action.column.ddl != action.was.ddl:
                found.append(ColumnDrift(action.column.name, "type", action.column.ddl))
            if action.column.nullable and not action.was.nullable:
                found.append(ColumnDrift(action.column.name, "nullable"))
    now = _new_table(plan)
    if now is not None and before is not None and before.exists:
        found += _remade(before, now)
    gone = (c for c in plan.schema_changes if c["kind"] in {"removed", "renamed"} and "source" in c)
    found += [ColumnDrift(str(c["column"]), "removed") for c in gone]
    return tuple(d for d in dict.fromkeys(found) if not d.column.startswith("_conduit_"))


def _new_table(plan: LoadPlan) -> dict[str, tuple[str, bool]] | None:
    """Return the columns of the table that comes in the target's place: type, and if nullable."""
    for action in plan.publish.actions:
        if action.kind == "replace_with_staged" or action.kind == "start_over":  # noqa: PLR1714 - narrows
            return {c.name: (c.ddl, c.nullable) for c in action.columns}
    return None


def _remade(before: TableFacts, now: Mapping[str, tuple[str, bool]]) -> Iterator[ColumnDrift]:
    """Compare a table with the one that comes in its place: types and whether NULL may be."""
    for old in before.columns:
        if old.name not in now:
            yield ColumnDrift(old.name, "dropped")
            continue
        kind, nullable = now[old.name]
        if not same_type(old.type, kind):
            yield ColumnDrift(old.name, "type", kind)
        if nullable and not old.nullable:
            yield ColumnDrift(old.name, "nullable")
    known = {old.name for old in before.columns}
    yield from (ColumnDrift(n, "added", kind) for n, (kind, _) in now.items() if n not in known)


def drift(
    table: str,
    sources: Sequence[str],
    drifts: Sequence[ColumnDrift],
    manifest: Mapping[str, object],
) -> Drift:
    """Compare a load's changes with what the project says.

    Args:
        table: the target's name, for the texts.
        sources: the unique ids of the sources that are this table.
        drifts: what the load changes.
        manifest: the project's ``manifest.json``.
    """
    notes: list[str] = []
    problems: list[str] = []
    for unique_id in sources:
        source = _entry(manifest, "sources", unique_id)
        declared = _columns(source)
        for item in drifts:
            known = declared.get(item.column.lower())
            notes += _source_notes(table, item, known)
            problems += _source_problems(table, item, known, manifest, unique_id)
            problems += _contract_problems(table, item, manifest, unique_id)
    return Drift(tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(problems)))


def _source_notes(table: str, item: ColumnDrift, known: object) -> Iterator[str]:
    if item.what == "added" and known is None:
        text = f"column {item.column!r} of {table} is new, and no dbt source declares it"
        yield f"{text}: `conduit dbt sources` adds it"


def _source_problems(
    table: str,
    item: ColumnDrift,
    known: Mapping[str, object] | None,
    manifest: Mapping[str, object],
    unique_id: str,
) -> Iterator[str]:
    where = f"column {item.column!r} of {table}"
    if item.what == "removed" and known is not None:
        yield f"{where} is declared in the dbt source, but new rows will have no value in it"
    if item.what == "dropped" and known is not None:
        yield f"{where} is declared in the dbt source, but the table is made anew without it"
    if item.what in {"added", "type"} and known is not None:
        declared = str(known.get("data_type") or "")
        if declared and not same_type(declared, item.type):
            yield (
                f"{where} becomes {item.type}, but the dbt source declares {declared}:"
                " `conduit dbt sources` updates it"
            )
    if item.what in {"removed", "nullable"}:
        for name in _not_null_tests(manifest, unique_id, item.column):
            yield f"{where} may have NULLs from now on, but the dbt test {name} forbids them"


def _contract_problems(
    table: str, item: ColumnDrift, manifest: Mapping[str, object], unique_id: str
) -> Iterator[str]:
    where = f"column {item.column!r} of {table}"
    for model in _contracts(manifest, unique_id):
        name = model.get("name")
        known = _columns(model).get(item.column.lower())
        declared = str(known.get("data_type") or "") if known else ""
        if item.what == "added" and known is None:
            yield (
                f"{where} is new, and model {name} has a contract without it: a `select *` there"
                " fails"
            )
        if item.what == "dropped" and known:
            yield f"{where} is dropped, but the contract of model {name} has it"
        if item.what in {"added", "type"} and declared and not same_type(declared, item.type):
            yield f"{where} becomes {item.type}, but the contract of model {name} says {declared}"
        if item.what in {"removed", "nullable"} and known and _forbids_null(known):
            yield f"{where} may have NULLs from now on, but the contract of model {name} forbids it"


def same_type(one: str, other: str) -> bool:
    """Whether two spellings mean the same type, as far as their texts tell."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> tuple[str, str]:
    """Return a type's name without its aliases, and what stands in brackets."""
    match = re.fullmatch(r"\s*([^(]*?)\s*(?:\((.*)\))?\s*([^()]*?)\s*", text.lower())
    if match is None:
        return text.lower(), ""
    name = " ".join(f"{match[1]} {match[3]}".split())
    return _ALIASES.get(name, name), "".join((match[2] or "").split())


def _entry(manifest: Mapping[str, object], kind: str, unique_id: str) -> Mapping[str, object]:
    found = manifest.get(kind)
    entry = found.get(unique_id) if isinstance(found, Mapping) else None
    return entry if isinstance(entry, Mapping) else {}


def _columns(node: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    found = node.get("columns")
    if not isinstance(found, Mapping):
        return {}
    return {str(name).lower(): c for name, c in found.items() if isinstance(c, Mapping)}


def _children(manifest: Mapping[str, object], unique_id: str) -> list[str]:
    found = manifest.get("child_map")
    children = found.get(unique_id) if isinstance(found, Mapping) else None
    return [str(c) for c in children] if isinstance(children, list) else []


def _contracts(manifest: Mapping[str, object], unique_id: str) -> Iterator[Mapping[str, object]]:
    """Yield the models that read a source themselves and have an enforced contract."""
    for child in _children(manifest, unique_id):
        node = _entry(manifest, "nodes", child)
        config = node.get("config")
        contract = config.get("contract") if isinstance(config, Mapping) else None
        enforced = contract.get("enforced") if isinstance(contract, Mapping) else False
        if node.get("resource_type") == "model" and enforced:
            yield node


def _not_null_tests(
    manifest: Mapping[str, object], unique_id: str, column: str
) -> Iterator[object]:
    for child in _children(manifest, unique_id):
        node = _entry(manifest, "nodes", child)
        test = node.get("test_metadata")
        is_it = isinstance(test, Mapping) and test.get("name") == "not_null"
        if is_it and str(node.get("column_name") or "").lower() == column.lower():
            yield node.get("name")


def _forbids_null(column: Mapping[str, object]) -> bool:
    constraints = column.get("constraints")
    found = constraints if isinstance(constraints, list) else []
    return any(isinstance(c, Mapping) and c.get("type") == "not_null" for c in found)
