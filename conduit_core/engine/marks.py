"""What a target keeps beside the rows: when they were deleted, and how long a version held.

Decides the columns, the key rows and the :class:`Deletes` of a load. Reads a tracking table's
schema, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa

from conduit_core.connectors.base import Destination, Source, TargetShape
from conduit_core.connectors.publish import (
    DELETED_AT,
    IS_CURRENT,
    VALID_FROM,
    VALID_TO,
    Column,
    Deletes,
)
from conduit_core.engine.columns import VERSION_COLUMNS, Staged, cursor_columns
from conduit_core.engine.flags import check_flag
from conduit_core.engine.flow import LOADED_AT
from conduit_core.errors import ConfigError, SchemaError
from conduit_core.spec.deletes import DELETING_MODES
from conduit_core.state.cursor import to_text
from conduit_core.state.window import Window
from conduit_core.types.casts import can_hold
from conduit_core.types.dialect import Table
from conduit_core.types.schema import schema_to_json

if TYPE_CHECKING:
    from conduit_core.spec import StreamSpec

_MOMENT = pa.timestamp("us", "UTC")
_COMMAND = "conduit plan"


@dataclass(frozen=True, slots=True)
class KeyRowsPlan:
    """What the key rows are: schemas as read and as staged, the target's columns, the time."""

    source: list[dict[str, object]]
    staged: list[dict[str, object]]
    columns: tuple[Column, ...]
    time: str | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """The target's own columns and what goes with them.

    Args:
        staged: the staged columns, the flag among them where rows carry one.
        new_table: the columns of a table that is made for the load.
        missing: own columns that the existing target lacks.
        order: the columns that say which of two rows is newer.
        compare: the stream's own columns in this load.
        track: the columns whose change makes a version.
        ends_at: the load's time in the type of the first ``order`` column, as text.
        deletes: how rows go, for the publish.
        keys: the key rows to read; None: none are needed.
        revives: whether the target has rows that a stream with `deletes` has marked, and this one
            has none: a key that comes back is alive again all the same.
    """

    staged: Staged
    new_table: tuple[Column, ...]
    missing: tuple[Column, ...] = ()
    order: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    track: tuple[str, ...] = ()
    ends_at: str | None = None
    deletes: Deletes | None = None
    keys: KeyRowsPlan | None = None
    revives: bool = False


def order_of(stream: StreamSpec, staged: Staged) -> tuple[str, ...]:
    """Return the staged columns that order a key's rows; versions without a cursor: by load.

    Raises:
        ConfigError: there are none, and the mode needs some.
    """
    names = {c.name for c in staged.columns}
    order = cursor_columns(stream, names)
    if order or stream.mode != "scd2":
        return order
    if stream.cursor:
        raise ConfigError(
            "`mode: scd2` needs a cursor that is a column of the rows: a version begins at it",
            command=_COMMAND,
        )
    if LOADED_AT not in names:
        raise ConfigError(
            "`mode: scd2` without a cursor begins versions at _conduit_loaded_at, which"
            f" `metadata: {list(stream.metadata)}` leaves out: add `load`, or name a cursor",
            command=_COMMAND,
        )
    return (LOADED_AT,)


def own_columns(stream: StreamSpec, staged: Staged, destination: Destination) -> tuple[Column, ...]:
    """Return the columns that a target of the stream has beside the staged ones.

    Raises:
        SchemaError: the source has a column of that name.
    """
    own: list[Column] = []
    if stream.mode == "scd2":
        first = order_of(stream, staged)[0]
        ddl = next(c.ddl for c in staged.columns if c.name == first)
        own += [Column(name=VALID_FROM, ddl=ddl), Column(name=VALID_TO, ddl=ddl)]
        current = destination.landing(pa.field(IS_CURRENT, pa.bool_())).ddl
        own.append(Column(name=IS_CURRENT, ddl=current))
    if stream.deletes is not None and stream.deletes.apply == "soft":
        moment = destination.landing(pa.field(DELETED_AT, _MOMENT)).ddl
        own.append(Column(name=DELETED_AT, ddl=moment))
    folds = not destination.capabilities.case_sensitive_names
    taken = {c.name.lower() if folds else c.name: c.name for c in staged.columns}
    if clash := [c.name for c in own if c.name in taken]:
        raise SchemaError(
            f"the source has a column {taken[clash[0]]!r}, which mode {stream.mode} with these"
            " settings makes itself: rename it in a `query:`, or leave it out with `columns:`",
            command=_COMMAND,
        )
    return tuple(own)


def plan_marks(
    stream: StreamSpec,
    source: Source,
    schema: pa.Schema,
    destination: Destination,
    staged: Staged,
    existing: TargetShape | None,
    target: Table,
) -> Marks:
    """Return the target's own columns, and the key rows, of a stream.

    Args:
        stream: the stream.
        source: asked for the schema of a tracking table.
        schema: the stream's schema at the source.
        destination: gives landings.
        staged: the staged columns, before a flag.
        existing: the target that is loaded into; None: a new table.
        target: its name, for messages.

    Raises:
        SchemaError: a column is missing, clashes, or can't be compared.
        ConfigError: the mode or the deletes can't go with the cursor.
    """
    order = order_of(stream, staged)
    own = own_columns(stream, staged, destination)
    check_flag(stream, schema)
    new_table = (*staged.columns, *own)
    there = {c.name for c in existing.columns} if existing is not None else set()
    missing = tuple(c for c in own if c.name not in there) if existing is not None else ()
    if (
        stream.mode != "scd2"
        and there >= VERSION_COLUMNS
        and not VERSION_COLUMNS & set(staged.schema.names)
    ):
        raise SchemaError(
            f"{target} keeps versions ({', '.join(sorted(VERSION_COLUMNS))}), and `mode:"
            f" {stream.mode}` would write rows beside them: set `mode: scd2`, give the stream"
            " another `into`, or load everything again without them",
            command="conduit run --full-refresh",
        )
    if lost := [c.name for c in missing if c.name != DELETED_AT]:
        raise SchemaError(
            f"{target} has no {', '.join(lost)}: it was loaded in another mode than scd2",
            command="conduit run --full-refresh",
        )
    if DELETED_AT in there and stream.deletes is not None and stream.deletes.apply == "hard":
        raise SchemaError(
            f"{target} has {DELETED_AT}, from `apply: soft`: with `hard` its marked rows would stay"
            " as they are. Delete them and drop the column, or load everything again",
            command="conduit run --full-refresh",
        )
    compare = tuple(c.name for c in staged.columns if not c.name.startswith("_conduit_"))
    hidden = {*stream.unique_key, *stream.ignore_columns, *order}
    hidden |= {c.name for c in staged.added}  # a new column makes no version by itself
    track = tuple(name for name in compare if name not in hidden)
    unknown = [name for name in stream.ignore_columns if name not in staged.schema.names]
    if unknown:
        raise SchemaError(
            f"`ignore_columns` names {unknown[0]!r}, which the stream doesn't have; it has"
            f" {', '.join(name for name in compare)}",
            command=_COMMAND,
        )
    flagged = _with_flag(stream, staged, destination)
    keys = _key_rows(stream, source, schema, staged, order)
    revives = stream.deletes is None and stream.mode in DELETING_MODES and DELETED_AT in there
    return Marks(flagged, new_table, missing, order, compare, track, keys=keys, revives=revives)


def deletes_of(stream: StreamSpec, marks: Marks, window: Window | None, at: datetime) -> Marks:
    """Return the marks with what a load at a time knows: deletes, and where versions end.

    Args:
        stream: the stream.
        marks: its marks.
        window: what the target covers after the load, where the cursor says so.
        at: the load's time.

    Raises:
        ConfigError: versions end at the load's time, and the cursor is no time.
    """
    spec = stream.deletes
    moment = at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")
    if spec is None:
        revive = Deletes(detect="flag", soft=True, at=moment)  # and no row has a flag
        return replace(marks, deletes=revive if marks.revives else None)
    detect = {"flag": "flag", "snapshot": "missing", "tracking_table": "listed"}[spec.detect]
    deletes = Deletes.model_validate(
        {
            "detect": detect,
            "soft": spec.apply == "soft",
            "at": moment,
            "keys": marks.keys.columns if marks.keys else (),
            "time": marks.keys.time if marks.keys else None,
            "window": window.to_json() if window and marks.order and stream.cursor else None,
        }
    )
    ends_at = None
    if stream.mode == "scd2" and spec.detect == "snapshot":
        kind = marks.staged.schema.field(marks.order[0]).type
        ends_at = to_text(_moment(at, kind, stream))
    return replace(marks, deletes=deletes, ends_at=ends_at)


def _moment(at: datetime, kind: pa.DataType, stream: StreamSpec) -> pa.Scalar[pa.DataType]:
    """Return a time in the type of a time cursor."""
    moment = pa.scalar(at, _MOMENT)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return moment.cast(kind)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        local = at.astimezone(ZoneInfo(stream.cursor_timezone or "UTC")).replace(tzinfo=None)
        return pa.scalar(local, pa.timestamp("us")).cast(kind, safe=False)
    raise ConfigError(
        f"`deletes: snapshot` of mode scd2 ends a version at the load's time, and the cursor"
        f" {stream.cursor[0]!r} is {kind}: use a time as cursor, or `detect: flag`",
        command=_COMMAND,
    )


def _with_flag(stream: StreamSpec, staged: Staged, destination: Destination) -> Staged:
    if stream.deletes is None or stream.deletes.detect != "flag":
        return staged
    landing = destination.landing(pa.field(DELETED_AT, _MOMENT))
    return Staged(
        (*staged.columns, Column(name=DELETED_AT, ddl=landing.ddl)),
        staged.schema.append(pa.field(DELETED_AT, landing.arrow)),
        staged.notes,
        staged.changes,
        staged.warnings,
        staged.findings,
    )


def _key_rows(
    stream: StreamSpec, source: Source, schema: pa.Schema, staged: Staged, order: tuple[str, ...]
) -> KeyRowsPlan | None:
    if stream.deletes is None or stream.deletes.detect == "flag":
        return None
    if stream.deletes.table is not None:
        return _tombstones(stream, source, staged, order)
    names = tuple(dict.fromkeys((*stream.unique_key, *(c for c in order if c in schema.names))))
    read = pa.schema([schema.field(name) for name in names])
    return KeyRowsPlan(
        schema_to_json(read),
        schema_to_json(pa.schema([staged.schema.field(name) for name in names])),
        tuple(c for n in names for c in staged.columns if c.name == n),
    )


def _tombstones(
    stream: StreamSpec, source: Source, staged: Staged, order: tuple[str, ...]
) -> KeyRowsPlan:
    from conduit_core.engine.keys import key_ref  # reads rows; plans of other streams don't

    ref = key_ref(stream)
    try:
        found = source.describe(ref).schema
    except SchemaError as error:
        error.message = (
            f"`deletes`, tracking table {ref.table}: {error.message}; `unique_key` and `cursor` in"
            " `deletes` name its columns"
        )
        raise
    deletes, columns = stream.deletes, ref.columns or ()
    if deletes is None:
        raise TypeError("a stream without deletes has no tombstones")
    names, wanted, kinds = [], [], []
    for name, column in zip(stream.unique_key, columns, strict=False):
        names.append(name)
        wanted.append(staged.schema.field(name))
        kinds.append(found.field(column).type)
    time = None
    if deletes.cursor is not None and stream.cursor:
        if not order:
            raise ConfigError(
                "`detect: tracking_table` needs a stream's cursor that is a column of its rows",
                command=_COMMAND,
            )
        time = DELETED_AT
        names.append(time)
        wanted.append(staged.schema.field(order[0]).with_name(time))
        kinds.append(found.field(deletes.cursor).type)
    for column, kind, field in zip(columns, kinds, wanted, strict=False):
        if not can_hold(kind, field.type):
            raise SchemaError(
                f"{deletes.table}: column {column!r} is {kind}, and what it is compared with is"
                f" {field.type}: let them be of one type, in a view for example",
                command=_COMMAND,
            )
    read = pa.schema([found.field(column) for column in columns[: len(names)]])
    by_name = {c.name: c.ddl for c in staged.columns}
    ddl = [by_name[name] for name in stream.unique_key]
    ddl += [by_name[order[0]]] if time else []
    return KeyRowsPlan(
        schema_to_json(read),
        schema_to_json(pa.schema([f.with_nullable(nullable=True) for f in wanted])),
        tuple(Column(name=n, ddl=d) for n, d in zip(names, ddl, strict=True)),
        time,
    )
