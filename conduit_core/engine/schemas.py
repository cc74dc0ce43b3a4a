"""Schemas of a pipeline's open ends: a stream's source, its target, a file; and what differs.

Columns that Conduit itself adds (``_conduit_load_id``, a version's ``valid_from``) are in none of
them: a schema here says what a stream brings, and that a target holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from conduit_core.connectors.base import (
    Context,
    Destination,
    Inferred,
    InfersTypes,
    Source,
    StreamRef,
)
from conduit_core.connectors.registry import get
from conduit_core.engine.columns import VERSION_COLUMNS, limits_of
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.shaping import rows_schema
from conduit_core.errors import ConfigError
from conduit_core.spec import StreamSpec
from conduit_core.spec.names import file_stem, file_type
from conduit_core.types.dialect import Dialect
from conduit_core.types.diff import (
    Change,
    at_detail,
    diff,
    landed,
    name_problems,
    preflight,
)
from conduit_core.types.fields import shown

_OURS = "_conduit_"


@dataclass(frozen=True, slots=True)
class Side:
    """One of two schemas to compare.

    Args:
        name: what it is called: ``source``, ``target``, a file's name.
        schema: its columns.
        lands: what a new table of the side's system would hold of another side's columns; None: it
            is of no system.
        loose: whether it leaves open what it doesn't speak of: a text's capacity.
        knows_nulls: whether a column without NOT NULL can really have NULLs.
    """

    name: str
    schema: pa.Schema
    lands: Callable[[pa.Schema], pa.Schema] | None = None
    loose: bool = False
    knows_nulls: bool = True


def source_side(source: Source, stream: StreamSpec) -> Side:
    """Return what the stream brings, after its transform.

    Raises:
        SchemaError: the table, the file or a column isn't there.
    """
    schema = rows_schema(stream, source.describe(stream_ref(stream)).schema)
    knows = "path" not in source.capabilities.kinds
    return Side("source", _without_ours(schema, stream), knows_nulls=knows)


def target_side(pipeline: Pipeline, stream: StreamSpec, destination: Destination) -> Side | None:
    """Return what the stream's target holds; None: there is no table yet."""
    shape = destination.describe(pipeline.target(stream, destination))
    if shape is None:
        return None
    dialect = dialect_of(destination)
    fields = [
        pa.field(c.name, c.arrow, nullable=c.nullable)
        if dialect is None
        else dialect.field_of(c.name, c.ddl, nullable=c.nullable)
        for c in shape.columns
    ]
    schema = _without_ours(pa.schema(fields), stream)
    return Side("target", schema, partial(landed_in, destination))


def dialect_of(destination: Destination) -> Dialect | None:
    """Return how the destination spells types; None where it has no DDL (files)."""
    return destination.dialect if destination.dialect.has_ddl else None


def landed_in(destination: Destination, schema: pa.Schema) -> pa.Schema:
    """Return what a new table of the destination would hold of the schema's columns.

    Raises:
        SchemaError: it has no place for a type.
    """
    dialect = dialect_of(destination)
    if dialect is not None:
        return landed(schema, dialect, destination.landing)
    return pa.schema(
        [pa.field(f.name, destination.landing(f).arrow, nullable=f.nullable) for f in schema]
    )


def differences(old: Side, new: Side) -> tuple[Change, ...]:
    """Return what changed from one to the other: in the types of the system that one of them is of.

    Raises:
        SchemaError: that system has no place for a type.
    """
    before, after = old.schema, new.schema
    if old.lands is not None and new.lands is None:
        after = old.lands(after)
    elif new.lands is not None and old.lands is None:
        before = new.lands(before)
    if old.loose and not new.loose:
        after = at_detail(after, before)
    elif new.loose and not old.loose:
        before = at_detail(before, after)
    if not new.knows_nulls:
        after = _nulls_as(after, before)
    found = diff(before, after, (old.name, new.name))
    return found if old.name == "target" else tuple(map(_of_a_file, found))


def _of_a_file(change: Change) -> Change:
    """Return the change with what to do where no load changes the older side."""
    old, new = change.between
    match change.kind:
        case "added":
            remedy = f"if it is meant to be there, write it into {old}"
        case "removed":
            remedy = f"if it is gone for good, take it out of {old}"
        case "renamed":
            remedy = f"if so, rename it in {old}"
        case "nullability":
            remedy = f"if NULLs are meant to be there, take `nullable: false` out of {old}"
        case "narrowed" | "incompatible":
            remedy = f"if {new} is right, write its type into {old}"
        case _:
            wider = shown(change.wider) if change.wider is not None else "the wider type"
            remedy = f"write {wider} into {old}: it holds both"
    return replace(change, remedy=remedy)


def everything(
    source: Side, target: Side | None, expected: Side | None, destination: Destination
) -> tuple[Change, ...]:
    """Compare a stream's source with its target, and with what is expected of both, at once.

    Raises:
        SchemaError: the destination has no place for a type of the source or of the file.
    """
    dialect = dialect_of(destination)
    limits = limits_of(destination)
    found: tuple[Change, ...] = ()
    if dialect is not None:
        schema = None if target is None else target.schema
        found += preflight(source.schema, dialect, limits, schema, None, destination.landing)
    else:
        found += name_problems(source.schema, limits)
        found += differences(target, source) if target is not None else ()
    if expected is not None:
        found += differences(expected, source)
        found += differences(target, expected) if target is not None else ()
    return found


def infer(source: Source, ref: StreamRef, limit: int | None) -> Inferred:
    """Return a stream's columns with what is known of them.

    Args:
        source: where it is.
        ref: the stream.
        limit: about how many bytes to look at where types are told from values; None: everything.
    """
    if isinstance(source, InfersTypes):
        return source.infer(ref, limit)
    shape = source.describe(ref)
    return Inferred(
        shape.schema, None, whole=True, rows_estimate=shape.rows_estimate, notes=shape.notes
    )


def file_source(path: str) -> tuple[Source, StreamRef, str]:
    """Return the source of data files named by a path, a glob or a URL, and the stream's name.

    Raises:
        ConfigError: the name tells no type.
    """
    kind = file_type(path)
    connector = get(kind) if kind else None
    if connector is None or connector.source is None:
        raise ConfigError(
            f"{path}: its name tells no type: .csv, .json, .jsonl, .parquet",
            command="conduit schema infer",
        )
    parts = path.split("/")
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    folder = "/".join(parts[:fixed]) or ("/" if path.startswith("/") else ".")
    options = connector.options.model_validate({"path": folder})
    source = connector.source(options, Context(Path.cwd()))
    return source, StreamRef(path="/".join(parts[fixed:])), file_stem(path)


def without_ours(inferred: pa.Schema) -> pa.Schema:
    """Return the columns without those that Conduit adds."""
    return pa.schema([f for f in inferred if not f.name.startswith(_OURS)])


def describe_stream(pipeline: Pipeline, name: str, ends: Ends, of: str) -> pa.Schema:
    """Return the columns of a stream's ``source`` or ``target``.

    Raises:
        ConfigError: there is no table yet.
    """
    (stream,) = pipeline.select((name,))
    side = (
        source_side(ends.source, stream)
        if of == "source"
        else target_side(pipeline, stream, ends.destination)
    )
    if side is None:
        target = pipeline.target(stream, ends.destination)
        raise ConfigError(f"there is no table {target} yet", command="conduit run")
    return side.schema


def _without_ours(schema: pa.Schema, stream: StreamSpec) -> pa.Schema:
    versions = VERSION_COLUMNS if stream.mode == "scd2" else frozenset()
    return pa.schema([f for f in without_ours(schema) if f.name not in versions])


def _nulls_as(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    known = {f.name: f.nullable for f in other}
    return pa.schema([f.with_nullable(known.get(f.name, f.nullable)) for f in schema])
