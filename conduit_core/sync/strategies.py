"""How each mode publishes: pure functions from what the plan knows to a :class:`Publish`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conduit_core.connectors.publish import (
    BALANCE,
    FILE,
    Action,
    AddColumn,
    AppendDeadLetters,
    AppendStaged,
    CheckUnique,
    CloseVersions,
    Column,
    CreateTable,
    DeleteMatching,
    Deletes,
    DeleteWindow,
    Guard,
    KeepNewest,
    MergeStaged,
    NoNewerRecord,
    NoOverlappingRecord,
    OwnedBy,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    Requirement,
    ResolveDeadLetters,
    StartOver,
    TargetIs,
    WidenColumn,
)
from conduit_core.spec.model import MERGING_MODES
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.window import Window

Effective = Literal["append", "replace", "replace_window", "upsert", "insert_only", "scd2"]


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """What a strategy needs to know.

    Args:
        effective: how the rows are published: the stream's mode, or what the window makes of it.
        window: the load's window.
        base_version: the version the plan started from.
        newest_version: the newest version when the plan was made, given windows' records included.
        columns: the staged columns, as they are or would be in the target.
        table_columns: all columns of the table that a swap or a first load makes.
        changes: what happens to the existing target's columns; ``table_columns`` has them already.
        quality: what is done about dead letters and unique columns, after the rows.
        existing: names of the target's columns, None where it doesn't exist.
        has_dependants: whether a swap would break something.
        replaces_files: whether rows of files that come again are deleted first.
        asked: the options of the run, for the command that repeats it.
        allow_empty: whether an empty extract may empty the target.
        allow_deletes: whether any share of the target's rows may be deleted.
        key: the stream's unique key, where its mode goes by it.
        order: the cursor's columns among the staged ones: they say which row of a key is newer.
        compare: the stream's own columns among the staged ones.
        versions: whether every version of a key is kept.
        track: the columns whose change makes a version.
        ends_at: where versions end whose key is gone, as text of the cursor's type.
        deletes: how rows are found to be gone.
        max_ratio: the share of the target's rows that may go in one load.
        starts_over: whether an append reads from the start, having no watermark.
        record: the ledger record; version, counts and time of publishing are filled in at commit.
        schema_text: the load's schema as JSON.
    """

    effective: Effective
    window: Window
    base_version: int
    newest_version: int
    columns: tuple[Column, ...]
    table_columns: tuple[Column, ...]
    existing: tuple[str, ...] | None
    has_dependants: bool
    replaces_files: bool
    allow_empty: bool
    starts_over: bool
    key: tuple[str, ...]
    order: tuple[str, ...]
    compare: tuple[str, ...]
    record: LedgerRecord
    schema_text: str
    asked: str = ""
    changes: tuple[AddColumn | WidenColumn, ...] = ()
    quality: tuple[ResolveDeadLetters | AppendDeadLetters | CheckUnique, ...] = ()
    allow_deletes: bool = False
    versions: bool = False
    track: tuple[str, ...] = ()
    ends_at: str | None = None
    deletes: Deletes | None = None
    max_ratio: float | None = None


def build_publish(facts: LoadFacts) -> Publish:
    """Return what publishing the load requires and does."""
    record = facts.record
    return Publish(
        target_schema=record.target_schema,
        target_table=record.target_table,
        staged_columns=tuple(c.name for c in facts.columns),
        requirements=(
            OwnedBy(pipeline=record.pipeline, stream=record.stream),
            *_no_rival(facts),
            TargetIs(columns=facts.existing),
        ),
        actions=(
            *_rows(facts),
            *facts.quality,
            BALANCE,
            RecordLoad(record=record, schema_text=facts.schema_text),
        ),
    )


def _no_rival(facts: LoadFacts) -> tuple[Requirement, ...]:
    """Return what mustn't have been published since the plan.

    Slices may, beside a watermark window: over one, its rows would be there twice. A replace would
    take any of them back to what the source held before.
    """
    if facts.window.kind == "given":
        window = facts.window.to_json()
        return (NoOverlappingRecord(version=facts.base_version, window=window),)
    covered = Window("full") if facts.effective == "replace" else facts.window
    return (
        NoNewerRecord(version=facts.base_version),
        NoOverlappingRecord(version=facts.newest_version, window=covered.to_json()),
    )


def _rows(facts: LoadFacts) -> tuple[Action, ...]:
    merges = facts.effective in MERGING_MODES or facts.versions or facts.deletes is not None
    if facts.existing is None:
        create = CreateTable(columns=facts.table_columns)
        if merges:
            return (create, _merge(facts))
        return (create, *_newest(facts), AppendStaged())
    how: Literal["swap", "in_place"] = "in_place" if facts.has_dependants else "swap"
    changed = () if facts.effective == "replace" and how == "swap" else facts.changes
    return (*changed, *_into(facts, how, merges=merges))


def _into(
    facts: LoadFacts, how: Literal["swap", "in_place"], *, merges: bool
) -> tuple[Action, ...]:
    """Return what brings the rows into a target that exists."""
    match facts.effective:
        case "append" if facts.replaces_files:
            return (DeleteMatching(columns=(FILE,)), AppendStaged())
        case "append" if facts.starts_over:
            return (_WANTS_EMPTY, AppendStaged())
        case "append":
            return (AppendStaged(),)
        case "replace_window":
            return (*_newest(facts), *_slice(facts), AppendStaged(), *_slice_guard(facts))
        case "upsert" | "insert_only" | "scd2":
            return (_merge(facts), *_delete_guards(facts))
        case "replace":
            guard = _replace_guard(facts)
            if merges:
                over = StartOver(how=how, columns=facts.table_columns)
                return (over, _merge(facts), *guard, *_history_guard(facts))
            content = ReplaceWithStaged(how=how, columns=facts.table_columns)
            return (*_newest(facts), content, *guard)


def _merge(facts: LoadFacts) -> MergeStaged | CloseVersions:
    deletes = facts.deletes
    if deletes is not None and deletes.detect == "missing" and facts.effective == "replace":
        deletes = None  # all there is was read, and is all there will be
    if facts.versions:
        return CloseVersions(
            key=facts.key,
            order=facts.order,
            compare=facts.compare,
            track=facts.track,
            deletes=deletes,
            ends_at=facts.ends_at,
        )
    return MergeStaged(
        deletes=deletes,
        key=facts.key,
        order=facts.order,
        compare=facts.compare,
        update=facts.effective != "insert_only",
    )


def _newest(facts: LoadFacts) -> tuple[KeepNewest, ...]:
    """Return what leaves one row of each key, where the stream's mode goes by a key."""
    if not facts.key:
        return ()
    return (KeepNewest(key=facts.key, order=facts.order, compare=facts.compare),)


def _slice(facts: LoadFacts) -> tuple[DeleteWindow | DeleteMatching, ...]:
    """Return what takes the old slice away; a stream without a cursor has only its keys."""
    by_key = (DeleteMatching(columns=facts.key),) if facts.key else ()
    if facts.window.kind == "full":
        return by_key
    return (DeleteWindow(window=facts.window.to_json()), *by_key)


def _replace_guard(facts: LoadFacts) -> tuple[Guard, ...]:
    nothing = "target_has_rows == 0"
    return (
        *_unless(facts, f"read > 0 or {nothing}", "the full extract is empty, the target is not"),
        *_unless_all_rejected(facts, nothing, "the full extract", "the target would be emptied"),
    )


def _slice_guard(facts: LoadFacts) -> tuple[Guard, ...]:
    what = "window" if facts.window.only is None else "slice"
    empty = f"the source has no rows in the {what}, the target is not"
    return (
        *_unless(facts, "read > 0 or removed == 0", empty),
        *_unless_all_rejected(
            facts, "removed == 0", f"the {what}", f"the target would lose those of its {what}"
        ),
    )


def _unless_all_rejected(facts: LoadFacts, nothing: str, what: str, lost: str) -> tuple[Guard, ...]:
    """Return what stops a load whose rules left no row: to the target it is an empty extract."""
    if not any(isinstance(action, AppendDeadLetters) for action in facts.quality):
        return ()
    return _unless(
        facts,
        f"read == 0 or read > rejected or {nothing}",
        f"every row of {what} was rejected (`action: dlq`), and {lost}: mend the rule or the rows",
    )


def _delete_guards(facts: LoadFacts) -> tuple[Guard, ...]:
    if facts.deletes is None or facts.allow_deletes:
        return ()
    command = f"conduit run{facts.asked} --allow-deletes"
    guards = []
    if facts.deletes.detect == "missing":
        message = "the source has no keys at all and the target has rows; if it is meant:"
        expr = "keys > 0 or target_rows == 0"
        guards.append(Guard(expr=expr, message=f"{message} --allow-deletes", command=command))
    if facts.max_ratio is not None:
        message = (
            f"the load would delete more than {facts.max_ratio * 100:g}% of the target's rows"
            " (`max_ratio`); if it is meant: --allow-deletes"
        )
        expr = f"gone <= {facts.max_ratio!r} * target_rows"
        guards.append(Guard(expr=expr, message=message, command=command))
    return tuple(guards)


def _history_guard(facts: LoadFacts) -> tuple[Guard, ...]:
    if not facts.versions or facts.allow_deletes:
        return ()
    return (
        Guard(
            expr="target_has_rows == 0",
            message="the target keeps versions, and a full refresh starts them over with what the"
            " source has now: history that only the target has is lost; if it is meant:"
            " --allow-deletes",
            command="conduit run --full-refresh --allow-deletes",
        ),
    )


_WANTS_EMPTY = Guard(
    expr="target_has_rows == 0",
    message="the target has rows and no watermark that says how far they go, so an append from the"
    " start could load them again: load everything again with --full-refresh, or say where to go on"
    " from with `conduit state set --cursor VALUE`",
    command="conduit run --full-refresh",
)


def _unless(facts: LoadFacts, expr: str, what: str) -> tuple[Guard, ...]:
    if facts.allow_empty:
        return ()
    return (
        Guard(
            expr=expr,
            message=f"{what}; if it is meant: --allow-empty",
            command=f"conduit run{facts.asked} --allow-empty",
        ),
    )
