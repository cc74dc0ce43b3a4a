"""The staged columns of a load: where each column of its rows lands, and what of it changes. Pure.

The target is compared with the rows; ``on_schema_change`` says what becomes of each difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import pyarrow as pa

from conduit_core.connectors.base import Destination, TargetColumn, TargetShape
from conduit_core.connectors.publish import (
    DELETED_AT,
    IS_CURRENT,
    VALID_FROM,
    VALID_TO,
    AddColumn,
    Column,
    WidenColumn,
)
from conduit_core.engine.flow import LOAD_ID, LOADED_AT
from conduit_core.errors import SchemaError
from conduit_core.spec import StreamSpec
from conduit_core.spec.schema_changes import SchemaChangeSpec
from conduit_core.sync.schema_changes import Decision, Target, decide
from conduit_core.types.dialect import Landing, Table
from conduit_core.types.diff import Change, Limits, landed, preflight
from conduit_core.types.schema import max_length, tagged

VERSION_COLUMNS = frozenset({VALID_FROM, VALID_TO, IS_CURRENT})
_COMMAND = "conduit run --full-refresh"


@dataclass(frozen=True, slots=True)
class Staged:
    """What the destination takes of a load's rows.

    Args:
        columns: columns with DDL types, as they are or will be in the target.
        schema: the Arrow schema to hand over; a text says how many characters its column takes.
        notes: for the plan.
        changes: what happens to the existing target's columns.
        warnings: changes that are not applied.
        findings: every difference that was found, for people and files.
    """

    columns: tuple[Column, ...]
    schema: pa.Schema
    notes: tuple[str, ...] = ()
    changes: tuple[AddColumn | WidenColumn, ...] = ()
    warnings: tuple[str, ...] = ()
    findings: tuple[Change, ...] = ()

    @property
    def added(self) -> tuple[Column, ...]:
        """Columns that the existing target is to get."""
        return tuple(c.column for c in self.changes if isinstance(c, AddColumn))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a stream says of its columns.

    Args:
        policy: ``on_schema_change``.
        metadata: ``metadata``.
        key: the unique key.
        cursor: the cursor.
        versions: whether the target keeps versions.
        inferred: whether the source's types come from a sample: then no type that doesn't fit is a
            reason to rebuild the target.
        recreate: whether views that keep a column as it is are made anew.
    """

    policy: SchemaChangeSpec
    metadata: tuple[str, ...] = ("load",)
    key: tuple[str, ...] = ()
    cursor: tuple[str, ...] = ()
    versions: bool = False
    inferred: bool = False
    recreate: bool = False

    @classmethod
    def of(cls, stream: StreamSpec, *, inferred: bool) -> Wishes:
        """Return a stream's."""
        return cls(
            stream.on_schema_change,
            stream.metadata,
            stream.key,
            stream.cursor,
            stream.mode == "scd2",
            inferred,
            stream.dependents == "recreate",
        )


def metadata_fields(metadata: tuple[str, ...]) -> list[pa.Field[pa.DataType]]:
    """Return the fields that ``metadata: [load]`` adds; the file's column is read by the source."""
    if "load" not in metadata:
        return []
    return [
        pa.field(LOAD_ID, pa.string(), nullable=False),
        pa.field(LOADED_AT, pa.timestamp("us", "UTC"), nullable=False),
    ]


def stage_columns(
    rows: pa.Schema,
    wishes: Wishes,
    destination: Destination,
    existing: TargetShape | None,
    target: Table,
    *,
    before: Callable[[], pa.Schema | None] = lambda: None,
    expected: pa.Schema | None = None,
) -> Staged:
    """Fit the rows' columns and the metadata columns into the target.

    Args:
        rows: the rows' schema after ``transform`` (with ``_conduit_file`` where asked for).
        wishes: the stream's.
        destination: gives landings and limits.
        existing: the target to fit into; None for a table that will be made.
        target: its name, for messages.
        before: finds the rows' schema of the last load, where it is needed.
        expected: the schema of an ``expected:`` file.

    Raises:
        SchemaError: names clash or are too long, a column can't be fitted, or a change isn't
            wanted. All findings at once.
    """
    wanted = pa.schema([*rows, *metadata_fields(wishes.metadata)])
    there = _held(existing, wanted, destination, wishes) if existing is not None else None
    found = preflight(
        wanted if there is None else _typed(wanted, there),
        destination.dialect,
        limits_of(destination),
        there,
        _with_metadata(expected, wanted),
        destination.landing,
    )
    if wishes.inferred:
        found = tuple(_of_sample(change) for change in found)
    if problems := [_named(c) for c in found if c.kind in ("case", "too_long", "too_many")]:
        raise _refusal(target, problems, "conduit plan")
    if existing is None:
        decided = decide(found, wishes.policy, Target(destination.dialect, {}))
        if decided.problems:
            raise _refusal(target, list(decided.problems), "conduit schema diff")
        staged = _new(wanted, destination)
        return replace(staged, warnings=decided.warnings, findings=found)
    needs_past = any(c.kind in ("removed", "nullability") for c in found)
    past = before() if needs_past else None
    decided = decide(
        found, wishes.policy, _target(existing, destination, wishes, _landed(past, destination))
    )
    problems = [*decided.problems, *_lost_keys(wanted, existing, destination, wishes)]
    if problems:
        anew = any("--full-refresh" in problem for problem in problems)
        command = "conduit schema infer" if wishes.inferred else _COMMAND
        command = command if wishes.inferred or anew else "conduit schema diff"
        raise _refusal(target, problems, command)
    staged = _fitted(wanted, existing, destination, wishes, decided)
    return replace(staged, warnings=decided.warnings, findings=found)


def altered(
    columns: tuple[Column, ...], changes: tuple[AddColumn | WidenColumn, ...]
) -> tuple[Column, ...]:
    """Return a table's columns as they are after the changes."""
    wider = {c.column.name: c.column for c in changes if isinstance(c, WidenColumn)}
    added = (c.column for c in changes if isinstance(c, AddColumn))
    return (*(wider.get(c.name, c) for c in columns), *added)


def change_records(change: AddColumn | WidenColumn) -> list[dict[str, str | None]]:
    """Return a change as the ledger keeps it: column, each kind of change, and both types."""
    column = change.column
    if isinstance(change, AddColumn):
        return [{"column": column.name, "change": "added", "was": None, "now": column.ddl}]
    kinds = ["widened"] if column.ddl != change.was.ddl else []
    kinds += ["nullable"] if column.nullable and not change.was.nullable else []
    return [
        {"column": column.name, "change": kind, "was": change.was.ddl, "now": column.ddl}
        for kind in kinds
    ]


def cursor_columns(stream: StreamSpec, names: Collection[str]) -> tuple[str, ...]:
    """Return the cursor's columns that are among the staged ones: a file's own are not."""
    return tuple(column for column in stream.cursor if column in names)


def refuse_missing_key(stream: StreamSpec, rows: pa.Schema) -> None:
    """Refuse a key, where the mode goes by one, of columns that the rows haven't.

    Raises:
        SchemaError: it names them, and the columns there are.
    """
    missing = [name for name in stream.key if name not in rows.names]
    if missing:
        raise SchemaError(
            f"unique_key names {', '.join(map(repr, missing))}, which the stream doesn't have; it"
            f" has {', '.join(rows.names)}",
            command="conduit plan",
        )


# --- both sides -----------------------------------------------------------------------------------


def _held(
    existing: TargetShape, wanted: pa.Schema, destination: Destination, wishes: Wishes
) -> pa.Schema:
    """Return what the target's columns hold, but for those that no rows bring."""
    own = {DELETED_AT} | (VERSION_COLUMNS if wishes.versions else frozenset())
    return pa.schema(
        [
            _field_of(column, destination)
            for column in existing.columns
            if column.name in wanted.names or column.name not in own
        ]
    )


def _typed(wanted: pa.Schema, there: pa.Schema) -> pa.Schema:
    """Let a column without a type, as all its values are NULL, be of its target's type."""
    return pa.schema(
        [
            there.field(f.name).with_nullable(nullable=True)
            if pa.types.is_null(f.type) and f.name in there.names
            else f
            for f in wanted
        ]
    )


def _field_of(column: TargetColumn, destination: Destination) -> pa.Field[pa.DataType]:
    try:
        return destination.dialect.field_of(column.name, column.ddl, nullable=column.nullable)
    except SchemaError:  # a declaration that says nothing to the dialect; the values' type does
        return pa.field(column.name, column.arrow, column.nullable)


def limits_of(destination: Destination) -> Limits:
    """Return what a destination allows of names."""
    said = destination.capabilities
    return Limits(
        destination.system, said.case_sensitive_names, said.max_identifier_bytes, said.max_columns
    )


def _with_metadata(expected: pa.Schema | None, wanted: pa.Schema) -> pa.Schema | None:
    """Return what is expected of the rows, who also have what Conduit adds to them."""
    if expected is None:
        return None
    own = (f for f in wanted if f.name.startswith("_conduit_") and f.name not in expected.names)
    return pa.schema([*expected, *own])


def _landed(schema: pa.Schema | None, destination: Destination) -> pa.Schema | None:
    if schema is None:
        return None
    try:
        return landed(schema, destination.dialect, destination.landing)
    except SchemaError:  # of a release that had a place for its types
        return None


def _target(
    existing: TargetShape, destination: Destination, wishes: Wishes, before: pa.Schema | None
) -> Target:
    return Target(
        destination.dialect,
        {c.name: c.ddl for c in existing.columns},
        frozenset(c.name for c in existing.columns if c.has_default),
        wishes.key,
        wishes.cursor,
        before,
        destination.landing,
    )


def _lost_keys(
    wanted: pa.Schema, existing: TargetShape, destination: Destination, wishes: Wishes
) -> list[str]:
    """Return key columns that the target keeps as text, so that keys wouldn't meet."""
    kinds = {c.name: c for c in existing.columns}
    out = []
    for name in wishes.key:
        column = kinds.get(name)
        if column is None or not pa.types.is_string(column.arrow):
            continue
        kind = destination.landing(wanted.field(name)).arrow
        if not pa.types.is_string(kind):
            out.append(
                f"column {name!r} of the unique_key changed its type: the source has"
                f" {wanted.field(name).type}, the target {column.ddl}, so that keys don't meet"
            )
    return out


# --- fitting --------------------------------------------------------------------------------------


def _new(wanted: pa.Schema, destination: Destination) -> Staged:
    landings = [(f, destination.landing(f)) for f in wanted]
    columns = tuple(
        Column(name=f.name, ddl=landing.ddl, nullable=f.nullable) for f, landing in landings
    )
    schema = pa.schema([_land(f, landing.ddl, landing, destination) for f, landing in landings])
    losses = tuple(f"column {f.name!r}: {at.loss}" for f, at in landings if at.loss)
    return Staged(columns, schema, losses)


def _fitted(
    wanted: pa.Schema,
    existing: TargetShape,
    destination: Destination,
    wishes: Wishes,
    decided: Decision,
) -> Staged:
    there = {c.name: c for c in existing.columns}
    changes = {c.column.name: c for c in decided.actions}
    columns: list[Column] = []
    fields: list[pa.Field[pa.DataType]] = []
    for field in wanted:
        if field.name in decided.left_out:
            continue
        change = changes.get(field.name)
        if change is None:
            column = there[field.name]
            columns.append(Column(name=column.name, ddl=column.ddl, nullable=column.nullable))
            at = Landing(column.ddl, column.arrow)
        else:
            columns.append(change.column)
            held = destination.dialect.field_of(field.name, change.column.ddl)
            same = isinstance(change, WidenColumn) and change.column.ddl == change.was.ddl
            kind = there[field.name].arrow if same else destination.landing(held).arrow
            at = Landing(change.column.ddl, kind)
        fields.append(_land(field, at.ddl, at, destination))
    made = (*decided.actions, *_version_times(existing, wishes, changes))
    made = tuple(_recreating(c) for c in made) if wishes.recreate else made
    notes = tuple(_told(c, versions=wishes.versions) for c in decided.actions)
    return Staged(tuple(columns), pa.schema(fields), notes, made)


def _land(
    field: pa.Field[pa.DataType], ddl: str, landing: Landing, destination: Destination
) -> pa.Field[pa.DataType]:
    landing_field = field.with_type(landing.arrow)
    if not pa.types.is_string(landing.arrow):
        return landing_field
    try:
        most = max_length(destination.dialect.field_of(field.name, ddl))
    except SchemaError:
        most = None
    return landing_field if most is None else tagged(landing_field, max_length=most)


def _version_times(
    existing: TargetShape, wishes: Wishes, changes: dict[str, AddColumn | WidenColumn]
) -> list[WidenColumn]:
    """Return the widening of the times of versions, which are of the cursor's type."""
    change = changes.get(wishes.cursor[0]) if wishes.versions and wishes.cursor else None
    if not isinstance(change, WidenColumn) or change.column.ddl == change.was.ddl:
        return []
    out = []
    for name in (VALID_FROM, VALID_TO):
        for c in (c for c in existing.columns if c.name == name):
            was = Column(name=name, ddl=c.ddl, nullable=c.nullable)
            wider = was.model_copy(update={"ddl": change.column.ddl})
            out.append(WidenColumn(column=wider, was=was))
    return out


def _recreating(change: AddColumn | WidenColumn) -> AddColumn | WidenColumn:
    if isinstance(change, AddColumn):
        return change
    return change.model_copy(update={"recreate": True})


def _told(change: AddColumn | WidenColumn, *, versions: bool) -> str:
    column = change.column
    if isinstance(change, AddColumn):
        more = ": it makes no version" if versions else ""
        return f"column {column.name!r} is new and is added as {column.ddl}{more}"
    if column.ddl != change.was.ddl:
        more = (
            ", and may be NULL from now on" if column.nullable and not change.was.nullable else ""
        )
        return f"column {column.name!r} is widened from {change.was.ddl} to {column.ddl}{more}"
    return f"column {column.name!r} may be NULL from now on"


# --- messages -------------------------------------------------------------------------------------


def _of_sample(change: Change) -> Change:
    """Return a finding about types that a sample gave: the table isn't to be made anew for them."""
    if change.kind != "incompatible":
        return change
    return replace(change, remedy="a value in the files isn't one, and `types:` finds it")


def _named(change: Change) -> str:
    """Return a finding about a name, of metadata's own with what to do about it."""
    if change.kind == "case" and change.other == change.column:
        if change.column in (LOAD_ID, LOADED_AT):
            return (
                f"the source has a column {change.column!r} already; `metadata: []` keeps it and"
                " adds none"
            )
        return f"column {change.column!r} occurs twice; rename one in the query"
    return str(change)


def _refusal(target: Table, problems: list[str], command: str) -> SchemaError:
    text = f" {problems[0]}" if len(problems) == 1 else "\n  ".join(["", *problems])
    return SchemaError(f"{target} doesn't fit the source:{text}", command=command)
