"""The staged columns of a load: where each source column lands, and what doesn't fit. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from conduit_core.connectors.base import Destination, TargetShape
from conduit_core.connectors.publish import IS_CURRENT, VALID_FROM, VALID_TO, Column
from conduit_core.engine.flow import LOAD_ID, LOADED_AT
from conduit_core.errors import SchemaError
from conduit_core.spec import StreamSpec
from conduit_core.types.casts import can_hold
from conduit_core.types.dialect import Landing, Table

VERSION_COLUMNS = frozenset({VALID_FROM, VALID_TO, IS_CURRENT})


@dataclass(frozen=True, slots=True)
class Staged:
    """What the destination takes: columns with DDL types, the Arrow schema to hand over, notes."""

    columns: tuple[Column, ...]
    schema: pa.Schema
    notes: tuple[str, ...]
    added: tuple[Column, ...] = ()
    """Those that the existing target is to get."""


def metadata_fields(metadata: tuple[str, ...]) -> list[pa.Field[pa.DataType]]:
    """Return the fields that ``metadata: [load]`` adds; the file's column is read by the source."""
    if "load" not in metadata:
        return []
    return [
        pa.field(LOAD_ID, pa.string(), nullable=False),
        pa.field(LOADED_AT, pa.timestamp("us", "UTC"), nullable=False),
    ]


def stage_columns(
    source: pa.Schema,
    metadata: tuple[str, ...],
    destination: Destination,
    existing: TargetShape | None,
    target: Table,
    *,
    inferred: bool = False,
    key: tuple[str, ...] = (),
    versions: bool = False,
) -> Staged:
    """Fit the source's columns and the metadata columns into the target.

    Args:
        source: the source's schema (with ``_conduit_file`` where asked for).
        metadata: the stream's ``metadata:``.
        destination: gives landings and limits.
        existing: the target to fit into; None for a table that will be made.
        target: its name, for messages.
        inferred: whether the source's types come from a sample: then no type that doesn't fit is a
            reason to rebuild the target.
        key: the columns that tell whether two rows are one: as text, they'd be others.
        versions: whether the target keeps versions: then it can't be loaded anew for a new column,
            which is added, and the columns of a version are not the source's to fill.

    Raises:
        SchemaError: names clash or are too long, a column is missing in the target, a type doesn't
            fit, or the target needs a value the source lacks. All findings at once.
    """
    fields = [*source, *metadata_fields(metadata)]
    problems = _name_problems(fields, destination)
    if problems:
        raise _findings(target, problems, command="conduit plan")
    if existing is None:
        return _new(fields, destination)
    return _fit(
        fields, existing, destination, target, inferred=inferred, key=key, versions=versions
    )


def _new(fields: list[pa.Field[pa.DataType]], destination: Destination) -> Staged:
    landings = [(f, destination.landing(f)) for f in fields]
    columns = tuple(
        Column(name=f.name, ddl=landing.ddl, nullable=f.nullable) for f, landing in landings
    )
    schema = pa.schema([_land(f, landing) for f, landing in landings])
    return Staged(columns, schema, _losses(landings))


def _land(field: pa.Field[pa.DataType], landing: Landing) -> pa.Field[pa.DataType]:
    return field.with_type(landing.arrow)


def _losses(landings: list[tuple[pa.Field[pa.DataType], Landing]]) -> tuple[str, ...]:
    return tuple(f"column {f.name!r}: {landing.loss}" for f, landing in landings if landing.loss)


def _fit(
    fields: list[pa.Field[pa.DataType]],
    existing: TargetShape,
    destination: Destination,
    target: Table,
    *,
    inferred: bool,
    key: tuple[str, ...],
    versions: bool,
) -> Staged:
    by_name = {c.name: c for c in existing.columns}
    problems: list[str] = []
    columns: list[Column] = []
    added: list[Column] = []
    staged: list[pa.Field[pa.DataType]] = []
    for field in fields:
        column = by_name.pop(field.name, None)
        if column is None and versions and not field.name.startswith("_conduit_"):
            landing = destination.landing(field)
            added.append(Column(name=field.name, ddl=landing.ddl))
            columns.append(added[-1])
            staged.append(_land(field, landing))
            continue
        if column is None:
            problems.append(f"column {field.name!r} ({field.type}) is not in the target")
            continue
        landing = destination.landing(field)
        if column.arrow != landing.arrow and not can_hold(field.type, column.arrow):
            hint = "; a value in the files isn't one, and `types:` finds it" if inferred else ""
            problems.append(
                f"column {field.name!r}: the source has {field.type}, the target {column.ddl}{hint}"
            )
            continue
        if field.name in key and _becomes_text(landing.arrow, column.arrow):
            problems.append(
                f"column {field.name!r} of the unique_key changed its type: the source has"
                f" {field.type}, the target {column.ddl}, so that keys don't meet"
            )
            continue
        columns.append(Column(name=column.name, ddl=column.ddl, nullable=column.nullable))
        staged.append(field.with_type(column.arrow))
    problems.extend(
        f"column {c.name!r} ({c.ddl}) of the target is NOT NULL without a default and the source"
        " has no such column"
        for c in by_name.values()
        if not c.nullable and not c.has_default and not (versions and c.name in VERSION_COLUMNS)
    )
    if problems and inferred:
        raise _findings(target, problems, "conduit schema infer")
    if problems:
        raise _findings(target, problems)
    notes = tuple(f"column {c.name!r} is new and is added: it makes no version" for c in added)
    return Staged(tuple(columns), pa.schema(staged), notes, tuple(added))


def _becomes_text(source: pa.DataType, target: pa.DataType) -> bool:
    return pa.types.is_string(target) and not pa.types.is_string(source)


def refuse_missing_key(stream: StreamSpec, source: pa.Schema) -> None:
    """Refuse a key, where the mode goes by one, of columns that the stream hasn't.

    Raises:
        SchemaError: it names them, and the columns there are.
    """
    missing = [name for name in stream.key if name not in source.names]
    if missing:
        raise SchemaError(
            f"unique_key names {', '.join(map(repr, missing))}, which the stream doesn't have; it"
            f" has {', '.join(source.names)}",
            command="conduit plan",
        )


def _name_problems(fields: list[pa.Field[pa.DataType]], destination: Destination) -> list[str]:
    limits = destination.capabilities
    problems: list[str] = []
    seen: dict[str, str] = {}
    for field in fields:
        key = field.name if limits.case_sensitive_names else field.name.lower()
        if key in seen:
            problems.append(_twice(seen[key], field.name, destination.system))
        seen[key] = field.name
        size = len(field.name.encode())
        if limits.max_identifier_bytes is not None and size > limits.max_identifier_bytes:
            problems.append(
                f"column {field.name!r} has {size} bytes; {destination.system} takes"
                f" {limits.max_identifier_bytes}: rename it in a query"
            )
    if limits.max_columns is not None and len(fields) > limits.max_columns:
        problems.append(f"{len(fields)} columns; {destination.system} takes {limits.max_columns}")
    return problems


def _twice(one: str, other: str, system: str) -> str:
    if one != other:
        return f"columns {one!r} and {other!r} are one name in {system}"
    if one in (LOAD_ID, LOADED_AT):
        return f"the source has a column {one!r} already; `metadata: []` keeps it and adds none"
    return f"column {one!r} occurs twice; rename one in the query"


def _findings(
    target: Table, problems: list[str], command: str = "conduit run --full-refresh"
) -> SchemaError:
    text = f" {problems[0]}" if len(problems) == 1 else "\n  ".join(["", *problems])
    return SchemaError(f"{target} doesn't fit the source:{text}", command=command)
