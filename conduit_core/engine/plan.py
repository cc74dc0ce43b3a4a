"""Planning one stream: read-only; look, reconcile, freeze the window, name the guarantee."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Shape, TargetShape
from conduit_core.connectors.chain import touches
from conduit_core.connectors.publish import AddColumn, Column, WidenColumn
from conduit_core.connectors.splits import NOTHING, WHOLE
from conduit_core.engine.columns import altered, change_records
from conduit_core.engine.identity import asked_for, load_id, request_text, stream_fingerprint
from conduit_core.engine.marks import Marks, deletes_of, plan_marks
from conduit_core.engine.model import Guarantee, LoadPlan, RunRequest
from conduit_core.engine.nothing import plan_of_nothing
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.seen import (
    Seen,
    is_lost,
    look,
    lost_target,
    refuse_forgotten_files,
    refuse_itself,
    refuse_other_cursor,
    refuse_unsupported,
    replayed_choice,
    replayed_record,
    watermark_state,
)
from conduit_core.engine.shaping import (
    Shaped,
    quality_actions,
    refuse_cut_keys,
    refuse_held,
    rows_schema,
    schema_text,
    shape_rows,
)
from conduit_core.engine.slices import refuse_inexact
from conduit_core.engine.windows import Choice, choose_window, first_cursor
from conduit_core.engine.wire import choose_wire
from conduit_core.errors import ConduitError, ConfigError, number
from conduit_core.spec import StreamSpec
from conduit_core.spec.deletes import DELETING_MODES
from conduit_core.state.ledger import LedgerRecord, newest, watermark_record
from conduit_core.state.store import StateStore
from conduit_core.state.window import Window
from conduit_core.sync.strategies import LoadFacts, build_publish
from conduit_core.types.schema import fingerprint, schema_to_json

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Draft:
    """Everything a plan is made of, before it is frozen."""

    pipeline: Pipeline
    stream: StreamSpec
    ends: Ends
    request: RunRequest
    shape: Shape
    shaped: Shaped
    seen: Seen
    choice: Choice
    marks: Marks
    table: tuple[Column, ...]
    replayed: LedgerRecord | None
    is_staged: bool


def plan_stream(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    request: RunRequest,
    store: StateStore | None = None,
    *,
    staged: bool | None = None,
) -> LoadPlan:
    """Plan one stream's load. Reads source and destination, writes nothing.

    Args:
        pipeline: the stream's pipeline.
        stream: what to load.
        ends: source, destination and staging.
        request: window, full refresh, request key.
        store: the runner's state store.
        staged: whether the rows are staged before they are published; None: if the stream has
            splits. An open load is then taken up.

    Raises:
        ConduitError: whatever makes the load impossible and can be known before it, with pipeline,
            stream, the target's state and a command filled in.
    """
    try:
        kept = stream.keep_rejected_staging
        is_staged = (stream.splits is not None or kept) if staged is None else staged
        plan = _plan(pipeline, stream, ends, request, store, is_staged=is_staged)
        if not (pipeline.loaded.spec.after and request.after):
            return plan
        from conduit_core.engine.hooks import gated  # most pipelines have no `after:`

        return gated(pipeline, plan)
    except ConduitError as error:
        raise pipeline.at(error, stream.name, "conduit plan") from error.__cause__


def _plan(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    request: RunRequest,
    store: StateStore | None,
    *,
    is_staged: bool,
) -> LoadPlan:
    refuse_unsupported(stream, ends)
    refuse_itself(stream, ends, pipeline.target(stream, ends.destination))
    seen = look(pipeline, stream, ends, store)
    try:
        ref = stream_ref(stream)
        replayed = None if request.reload else replayed_record(request, seen.chain)
        nothing = partial(plan_of_nothing, pipeline, stream, ends, request, seen, replayed)
        if replayed is not None and ends.source.capabilities.looks_by_taking:
            return nothing("published before: the data isn't taken again")
        shape = ends.source.describe(ref)
        if shape.nothing:
            return nothing(shape.nothing)
        if replayed is not None:
            choice = replayed_choice(replayed)
        else:
            refuse_other_cursor(stream, request, seen, shape.cursor_types)
            lost = is_lost(seen)
            if lost and not request.full_refresh and stream.mode != "replace":
                raise lost_target(seen)
            watermark = None if lost else seen.reconciled.cursor
            choice = choose_window(stream, request, shape, ends.source, ref, seen.chain, watermark)
        rows = rows_schema(stream, shape.schema)
        rebuilt = request.full_refresh and not _keeps_its_table(seen.existing, rows)
        fit_into = None if rebuilt else seen.existing
        shaped = shape_rows(stream, shape, ends, seen, fit_into)
        staged, source, destination = shaped.staged, ends.source, ends.destination
        if replayed is None:
            refuse_inexact(choice.window.only, staged, destination)
        marks = plan_marks(stream, source, shape.schema, destination, staged, fit_into, seen.target)
        table = marks.new_table
        if fit_into is not None:
            table = (*altered(_columns(fit_into), staged.changes), *marks.missing)
        draft = _Draft(
            pipeline, stream, ends, request, shape, shaped, seen, choice, marks, table, replayed,
            is_staged,
        )  # fmt: skip
        plan = _freeze(draft)
        return _with_staging(plan, draft) if is_staged and not plan.empty else plan
    except ConduitError as error:
        raise error.at(state=watermark_state(seen.chain)) from error.__cause__


def _appends_files(draft: _Draft) -> bool:
    return draft.choice.effective == "append" and draft.stream.is_by_file


def _facts(draft: _Draft, record: LedgerRecord, marks: Marks) -> LoadFacts:
    """Return what the strategy must know."""
    seen, choice, stream, request = draft.seen, draft.choice, draft.stream, draft.request
    existing, last = seen.existing, newest(seen.chain)
    replaces = _appends_files(draft) and "file" in stream.metadata
    return LoadFacts(
        effective=choice.effective,
        window=choice.window,
        base_version=_base_version(choice.window, seen.chain),
        newest_version=last.version if last else 0,
        columns=draft.marks.staged.columns,
        table_columns=draft.table,
        existing=tuple(c.name for c in existing.columns) if existing else None,
        has_dependants=bool(_kept_in_place(draft)),
        replaces_files=replaces,
        asked=asked_for(request),
        allow_empty=request.allow_empty,
        key=stream.key,
        order=marks.order if stream.key else (),
        compare=marks.compare if stream.key else (),
        starts_over=bool(stream.cursor) and seen.reconciled.cursor is None,
        changes=_changes(draft),
        quality=quality_actions(
            stream, draft.shaped, choice, draft.ends, seen, replaces_files=replaces
        ),
        allow_deletes=request.allow_deletes,
        versions=stream.mode == "scd2",
        track=marks.track,
        ends_at=marks.ends_at,
        deletes=marks.deletes,
        max_ratio=stream.deletes.max_ratio if stream.deletes else None,
        record=record,
        schema_text=schema_text(draft.shaped.rows),
    )


def _changes(draft: _Draft) -> tuple[AddColumn | WidenColumn, ...]:
    """Return what happens to the existing target's columns."""
    own = (AddColumn(column=column) for column in draft.marks.missing)
    return (*draft.shaped.staged.changes, *own)


def _keeps_its_table(existing: TargetShape | None, source: pa.Schema) -> bool:
    """Say whether a full refresh fills the table that is there, and makes no other in its place."""
    if existing is None:
        return False
    filled = (c.name for c in existing.columns if c.has_default and c.name not in source.names)
    return bool(existing.dependants) or any(not name.startswith("_conduit_") for name in filled)


def _columns(existing: TargetShape) -> tuple[Column, ...]:
    return tuple(Column(name=c.name, ddl=c.ddl, nullable=c.nullable) for c in existing.columns)


def _freeze(draft: _Draft) -> LoadPlan:
    seen, choice, stream = draft.seen, draft.choice, draft.stream
    record = _record(draft)
    appends_files = _appends_files(draft)
    remembers = stream.is_by_file and stream.mode == "append" and "file" not in stream.metadata
    if remembers and appends_files and not choice.empty:
        refuse_forgotten_files(seen.chain)
    last = newest(seen.chain)
    if choice.effective != "replace" or _kept_in_place(draft):
        refuse_held(draft.shaped.staged.changes, stream, draft.ends, seen)
    marks = deletes_of(stream, draft.marks, _covered(draft), record.started_at)
    reads_keys = marks.keys if _reads_keys(draft) else None
    publish = build_publish(_facts(draft, record, marks))
    _refuse_actions(publish.action_kinds, stream, draft.ends)
    wire = choose_wire(draft.ends, stream, draft.marks.staged, record.load_id, record.started_at)
    publish = publish.model_copy(update={"wire": wire})
    return LoadPlan(
        pipeline=draft.pipeline.name,
        stream=stream.name,
        target_schema=seen.target.schema,
        target_table=seen.target.name,
        last_load_id=last.load_id if last else None,
        last_watermark_text=seen.reconciled.cursor.display() if seen.reconciled.cursor else None,
        load_id=draft.replayed.load_id if draft.replayed else record.load_id,
        request=record.request,
        request_key=record.request_key,
        mode=choice.effective,
        guarantee=_guarantee(draft),
        window=choice.window.to_json(),
        window_text=choice.window.display(),
        cursor=record.cursor,
        cursor_timezone=stream.cursor_timezone,
        watermark_text=_watermark_text(choice, seen),
        source_schema=schema_to_json(draft.shape.schema),
        staged_schema=schema_to_json(draft.marks.staged.schema),
        key_source=reads_keys.source if reads_keys else None,
        key_staged=reads_keys.staged if reads_keys else None,
        refuse_changed_files=appends_files and remembers,
        remember_files=remembers,
        target_fingerprint=seen.fingerprint,
        rows_estimate=choice.rows_estimate,
        null_rows=choice.null_rows,
        loaded_at=record.started_at,
        publish=publish,
        state_text=seen.stored,
        notes=_notes(draft),
        warnings=draft.shaped.staged.warnings,
        schema_changes=[change.as_json() for change in draft.shaped.staged.findings],
        history=draft.shaped.history,
        empty=choice.empty,
        splits=NOTHING if choice.empty else WHOLE,
        replayed=draft.replayed,
    )


def _reads_keys(draft: _Draft) -> bool:
    """Say whether keys are to be read: not to learn what is missing in what starts from nothing."""
    deletes = draft.stream.deletes
    if deletes is None or deletes.detect != "snapshot":
        return deletes is not None
    return draft.seen.existing is not None and draft.choice.effective in DELETING_MODES


def _covered(draft: _Draft) -> Window | None:
    """Return what the target holds of the source after the load, as a watermark window."""
    stream, choice = draft.stream, draft.choice
    if choice.watermark is None:
        return None
    since = first_cursor(stream, draft.shape.cursor_types)
    include = stream.null_cursor == "include"
    return Window("watermark", since, choice.watermark, include, closed_low=since is not None)


def _with_staging(fresh: LoadPlan, draft: _Draft) -> LoadPlan:
    """Say where the rows wait and how the window is cut, or take up the load that is open."""
    from conduit_core.engine.cutting import by_unique_key, choose_splits
    from conduit_core.engine.opening import plan_digest, stored_plan, take_up

    stream, ends, seen = draft.stream, draft.ends, draft.seen
    staging = ends.staging()
    fresh = fresh.model_copy(
        update={
            "staged": True,
            "staged_columns": draft.marks.staged.columns,
            "publish": fresh.publish.model_copy(update={"in_splits": True}),
            "probe": staging.probe(write=True),
        }
    )
    for held in staging.opened(seen.fingerprint):
        if held.load_id == fresh.load_id:
            stored = stored_plan(held)
            fixed = stored is not None and by_unique_key(stream, draft.shape, stored.splits)
            within = draft.pipeline.loaded.spec.resume_within
            fresh = take_up(
                held, stored, fresh, seen.chain, seen.existing, within, fixed_splits=fixed
            )
    if fresh.adopted:
        return fresh
    ref, window = stream_ref(stream), draft.choice.window
    splits = choose_splits(stream, ends.source, ref, draft.shape, window)
    refuse_cut_keys(stream, splits)
    notes = fresh.notes
    if window.is_unbounded and not by_unique_key(stream, draft.shape, splits):
        notes = (*notes, "not split by the key: after a failure the whole extract starts again")
    fresh = fresh.model_copy(update={"splits": splits, "notes": notes})
    return fresh.model_copy(update={"plan_id": plan_digest(fresh)})


def _record(draft: _Draft) -> LedgerRecord:
    """Return the ledger record as far as it is known now."""
    seen, choice, request = draft.seen, draft.choice, draft.request
    now = datetime.now(UTC)
    text = request_text(request)
    base = _base_version(choice.window, seen.chain)
    ends = draft.ends
    spec_print = stream_fingerprint(draft.stream, ends.source.identity, ends.base_dir)
    key = None if request.reload else request.request_key
    of_the_key = "" if draft.stream.cursor or choice.effective != "append" else key or ""
    return LedgerRecord(
        target_schema=seen.target.schema,
        target_table=seen.target.name,
        version=0,
        pipeline=draft.pipeline.name,
        stream=draft.stream.name,
        load_id=load_id(seen.fingerprint, base, choice.effective, text + of_the_key, spec_print),
        request=text,
        request_key=key,
        mode=choice.effective,
        load_window=choice.window.to_json(),
        cursor=choice.watermark.to_json() if choice.watermark else None,
        schema_fingerprint=fingerprint(draft.shaped.rows),
        spec_fingerprint=spec_print,
        target_fingerprint=seen.fingerprint,
        runner=request.runner,
        schema_changes=json.dumps([r for c in _changes(draft) for r in change_records(c)]),
        started_at=now,
        published_at=now,
    )


def _base_version(window: Window, chain: list[LedgerRecord]) -> int:
    if window.kind == "given":
        return max((r.version for r in chain if touches(r, window)), default=0)
    base = watermark_record(chain)
    return base.version if base else 0


def _refuse_actions(kinds: frozenset[str], stream: StreamSpec, ends: Ends) -> None:
    missing = kinds - ends.destination.capabilities.actions
    if not missing:
        return
    with_key = " with a `unique_key`" if stream.mode == "replace_window" else ""
    raise ConfigError(
        f"a {ends.destination.system} destination can't do `mode: {stream.mode}`{with_key}: it"
        f" can't look up rows by their key ({', '.join(sorted(missing))}). Use append, replace, or"
        " replace_window with a cursor and no unique_key; or load into a database"
    )


def _guarantee(draft: _Draft) -> Guarantee:
    if not draft.ends.destination.capabilities.transactional:
        return "effectively-once (idempotent by key)"
    repeatable = draft.choice.effective != "append" or draft.stream.cursor
    return "exactly-once" if repeatable or draft.request.request_key else "at-least-once"


def _kept_in_place(draft: _Draft) -> tuple[str, ...]:
    """Return why a replace keeps the old table: what a swap would break or leave unfilled."""
    existing = draft.seen.existing
    if existing is None:
        return ()
    filled = {c.name for c in existing.columns if c.has_default}
    filled &= {c.name for c in draft.table} - {c.name for c in draft.marks.staged.columns}
    defaults = (f"the default of {c.name}" for c in existing.columns if c.name in filled)
    return tuple(dict.fromkeys((*existing.dependants, *defaults)))


def _watermark_text(choice: Choice, seen: Seen) -> str | None:
    if choice.empty and seen.reconciled.cursor is not None:
        return seen.reconciled.cursor.display()
    return choice.watermark.display() if choice.watermark else None


def _notes(draft: _Draft) -> tuple[str, ...]:
    stream = draft.stream
    notes = [draft.seen.reconciled.note, *draft.choice.notes]
    notes += [*draft.shape.notes, *draft.marks.staged.notes]
    if draft.choice.effective == "replace" and (kept := _kept_in_place(draft)):
        listed = ", ".join(kept[:5])
        notes.append(f"replaced in place (DELETE and INSERT), because of {listed}")
    if stream.deletes and stream.deletes.detect == "flag" and draft.marks.missing:
        notes.append(
            "the target was loaded without `deletes`: rows that carried a flag then are marked when"
            " they are read again, or by --full-refresh"
        )
    if draft.choice.effective == "replace" and stream.mode == "scd2" and draft.seen.existing:
        notes.append("versions start over: what only the target has is lost (--allow-deletes)")
    if draft.choice.null_rows:
        rows = number(draft.choice.null_rows, "row has", "rows have")
        notes.append(f"{rows} a NULL in the cursor, and will be loaded")
    if _guarantee(draft) == "at-least-once":
        notes.append(
            "append without cursor, window or --request-key: running again adds the rows again"
        )
    return tuple(n for n in notes if n)
