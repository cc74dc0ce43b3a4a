"""How each mode publishes: pure functions from what the plan knows to a :class:`Publish`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conduit_core.connectors.publish import (
    BALANCE,
    Action,
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    NoNewerRecord,
    NoOverlappingRecord,
    OwnedBy,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    Requirement,
    TargetIs,
)
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.window import Window

Effective = Literal["append", "replace", "replace_window"]


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """What a strategy needs to know.

    Args:
        effective: how the rows are published: the stream's mode, or what the window makes of it.
        window: the load's window.
        base_version: the version the plan started from.
        newest_version: the newest version when the plan was made, given windows' records included.
        columns: the staged columns, as they are or would be in the target.
        table_columns: all columns of the table that a swap makes: the target's own, or the staged.
        existing: names of the target's columns, None where it doesn't exist.
        has_dependants: whether a swap would break something.
        replaces_files: whether rows of files that come again are deleted first.
        allow_empty: whether an empty extract may empty the target.
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
    record: LedgerRecord
    schema_text: str


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
    if facts.existing is None:
        return (CreateTable(columns=facts.columns), AppendStaged())
    match facts.effective:
        case "append" if facts.replaces_files:
            return (DeleteMatching(columns=("_conduit_file",)), AppendStaged())
        case "append" if facts.starts_over:
            return (_WANTS_EMPTY, AppendStaged())
        case "append":
            return (AppendStaged(),)
        case "replace_window":
            return (
                DeleteWindow(window=facts.window.to_json()),
                AppendStaged(),
                *_unless(facts, "read > 0 or removed == 0", "the source has no rows in the window"),
            )
        case "replace":
            how: Literal["swap", "in_place"] = "in_place" if facts.has_dependants else "swap"
            guard = _unless(facts, "read > 0 or target_has_rows == 0", "the full extract is empty")
            return (ReplaceWithStaged(how=how, columns=facts.table_columns), *guard)


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
            message=f"{what}, the target is not; if it is meant: --allow-empty",
            command="conduit run --allow-empty",
        ),
    )
