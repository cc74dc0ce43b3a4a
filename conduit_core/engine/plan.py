"""Planning one stream: read-only; look, reconcile, freeze the window, name the guarantee."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from conduit_core.connectors.base import Shape, TargetShape
from conduit_core.connectors.chain import owned_by_another, touches
from conduit_core.connectors.publish import Column
from conduit_core.engine.columns import refuse_missing_key, stage_columns
from conduit_core.engine.identity import asked_for, load_id, request_text, target_fingerprint
from conduit_core.engine.marks import Marks, deletes_of, plan_marks
from conduit_core.engine.model import Guarantee, LoadPlan, RunRequest
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.windows import Choice, choose_window, first_cursor
from conduit_core.engine.wire import choose_wire
from conduit_core.errors import ConduitError, ConfigError, StateError, number
from conduit_core.spec import StreamSpec
from conduit_core.spec.deletes import DELETING_MODES
from conduit_core.spec.fingerprint import fingerprint as spec_fingerprint
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord, newest, since_emptied, watermark_record
from conduit_core.state.reconcile import Reconciled, reconcile
from conduit_core.state.store import StateStore
from conduit_core.state.window import Window
from conduit_core.sync.strategies import Effective, LoadFacts, build_publish
from conduit_core.types.dialect import Table
from conduit_core.types.schema import fingerprint, schema_to_json

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Seen:
    """What planning has read so far."""

    target: Table
    fingerprint: str
    existing: TargetShape | None
    chain: list[LedgerRecord]
    stored: str | None
    reconciled: Reconciled


@dataclass(frozen=True, slots=True)
class _Draft:
    """Everything a plan is made of, before it is frozen."""

    pipeline: Pipeline
    stream: StreamSpec
    ends: Ends
    request: RunRequest
    shape: Shape
    seen: _Seen
    choice: Choice
    marks: Marks
    table: tuple[Column, ...]
    replayed: LedgerRecord | None
    is_staged: bool


def state_key(target: Table) -> str:
    """Return the key of a target in a state store."""
    return f"{target.schema}.{target.name}"


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
        is_staged = stream.splits is not None if staged is None else staged
        return _plan(pipeline, stream, ends, request, store, is_staged=is_staged)
    except ConduitError as error:
        raise pipeline.at(error, stream.name, "conduit plan") from error.__cause__


def watermark_state(chain: list[LedgerRecord]) -> str:
    """Return the error line that says what a failed load has left behind."""
    base = watermark_record(chain)
    if base is None:
        return (
            "nothing published; the target has no watermark yet"
            if not chain
            else (f"nothing published; the target stays at version {chain[-1].version}")
        )
    if base.cursor is None:
        return f"nothing published; the target stays at version {chain[-1].version}"
    return f"nothing published; watermark unchanged at {Cursor.from_json(base.cursor).display()}"


def _plan(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    request: RunRequest,
    store: StateStore | None,
    *,
    is_staged: bool,
) -> LoadPlan:
    _refuse_unsupported(stream, ends)
    _refuse_itself(stream, ends, pipeline.target(stream, ends.destination))
    seen = _look(pipeline, stream, ends, store)
    try:
        ref = stream_ref(stream)
        shape = ends.source.describe(ref)
        replayed = None if request.reload else _replayed(request, seen.chain)
        if replayed is not None:
            choice = _replayed_choice(replayed)
        else:
            lost = _is_lost(seen)
            if lost and not request.full_refresh and stream.mode != "replace":
                raise _lost_target(seen)
            watermark = None if lost else seen.reconciled.cursor
            choice = choose_window(stream, request, shape, ends.source, ref, seen.chain, watermark)
        refuse_missing_key(stream, shape.schema)
        rebuilt = request.full_refresh and not _keeps_its_table(seen.existing, shape.schema)
        fit_into = None if rebuilt else seen.existing
        staged = stage_columns(
            shape.schema,
            stream.metadata,
            ends.destination,
            fit_into,
            seen.target,
            inferred=ends.source.capabilities.infers_types,
            key=stream.key,
            versions=stream.mode == "scd2",
        )
        source, destination = ends.source, ends.destination
        marks = plan_marks(stream, source, shape.schema, destination, staged, fit_into, seen.target)
        table = marks.new_table if fit_into is None else (*_columns(fit_into), *marks.missing)
        draft = _Draft(
            pipeline, stream, ends, request, shape, seen, choice, marks, table, replayed, is_staged
        )
        plan = _freeze(draft)
        return _with_staging(plan, draft) if is_staged and not plan.empty else plan
    except ConduitError as error:
        raise error.at(state=watermark_state(seen.chain)) from error.__cause__


def _refuse_itself(stream: StreamSpec, ends: Ends, target: Table) -> None:
    if stream.source_table is None or ends.source.identity != ends.destination.identity:
        return
    schema, name = stream.source_table
    pair = [Table(schema or ends.destination.capabilities.default_schema, name), target]
    if not ends.destination.capabilities.case_sensitive_names:
        pair = [Table(t.schema.lower(), t.name.lower()) for t in pair]
    if pair[0] == pair[1]:
        raise ConfigError(f"{target} would be loaded into itself: give the stream another `into`")


def _keeps_its_table(existing: TargetShape | None, source: pa.Schema) -> bool:
    """Say whether a full refresh fills the table that is there, and makes no other in its place."""
    if existing is None:
        return False
    filled = (c.name for c in existing.columns if c.has_default and c.name not in source.names)
    return bool(existing.dependants) or any(not name.startswith("_conduit_") for name in filled)


def _columns(existing: TargetShape) -> tuple[Column, ...]:
    return tuple(Column(name=c.name, ddl=c.ddl, nullable=c.nullable) for c in existing.columns)


def _refuse_unsupported(stream: StreamSpec, ends: Ends) -> None:
    kinds = ends.source.capabilities.kinds
    kind = next(k for k in ("table", "query", "path") if getattr(stream, k) is not None)
    if kind not in kinds:
        raise ConfigError(
            f"a {ends.source.system} source takes {' or '.join(sorted(kinds))}, not {kind}"
        )
    if "file" in stream.metadata and "path" not in kinds:
        raise ConfigError(f"metadata: [file] is for sources of files, not {ends.source.system}")
    virtual = [c for c in stream.cursor if c.startswith("_file_")]
    if virtual and stream.mode in ("replace_window", "scd2"):
        raise ConfigError(
            f"`mode: {stream.mode}` needs a cursor that is a column of the rows, not of the files:"
            " use append with `metadata: [load, file]`, which replaces the rows of a changed file"
        )
    unknown = [c for c in virtual if c not in ends.source.capabilities.virtual_cursor]
    if unknown:
        raise ConfigError(f"{ends.source.system} has no {unknown[0]}: it is for sources of files")


def _look(pipeline: Pipeline, stream: StreamSpec, ends: Ends, store: StateStore | None) -> _Seen:
    target = pipeline.target(stream, ends.destination)
    fingerprint_ = target_fingerprint(ends.destination.identity, target)
    chain = ends.destination.records(target)
    last = newest(chain)
    if last is not None and (last.pipeline, last.stream) != (pipeline.name, stream.name):
        raise owned_by_another(last, str(target)).at(state=watermark_state(chain))
    stored = store.get(state_key(target)) if store else None
    try:
        reconciled = reconcile(
            chain,
            stored,
            target_fingerprint=fingerprint_,
            columns=stream.cursor,
            mode=stream.mode,
        )
    except ConduitError as error:
        raise error.at(state=watermark_state(chain)) from error.__cause__
    if store is None:  # the ledger is the only state: nothing lags behind it
        reconciled = Reconciled("equal", reconciled.cursor)
    existing = ends.destination.describe(target)
    if existing is not None and not existing.is_table:
        raise ConfigError(f"{target} is a view, not a table: give the stream another `into`")
    return _Seen(target, fingerprint_, existing, chain, stored, reconciled)


def _replayed(request: RunRequest, chain: list[LedgerRecord]) -> LedgerRecord | None:
    if request.request_key is None:
        return None
    text = request_text(request)
    for record in chain:
        if record.request_key != request.request_key:
            continue
        if record.request != text:
            raise StateError(
                f"request key {request.request_key!r} was used for another request"
                f" ({record.request}): a key is for one request",
                command="conduit runs",
            )
        return record
    return None


def _replayed_choice(record: LedgerRecord) -> Choice:
    known = (mode for mode in get_args(Effective) if mode == record.mode)
    effective: Effective = next(known, "replace")
    cursor = Cursor.from_json(record.cursor) if record.cursor else None
    return Choice(Window.from_json(record.load_window), effective, cursor, None, 0, empty=True)


def _is_lost(seen: _Seen) -> bool:
    """Say whether the ledger has loads and the table is gone: an increment would look like all."""
    return (
        seen.existing is None
        and seen.reconciled.cursor is not None
        and any(not r.mode.startswith("state_") for r in seen.chain)
    )


def _lost_target(seen: _Seen) -> StateError:
    return StateError(
        f"the ledger is at version {seen.chain[-1].version} but {seen.target} is gone: it was"
        " dropped by hand, and an increment would not bring its rows back",
        command="conduit run --full-refresh",
    )


def _freeze(draft: _Draft) -> LoadPlan:
    seen, choice, stream, request = draft.seen, draft.choice, draft.stream, draft.request
    record = _record(draft)
    by_file = bool(stream.cursor) and stream.cursor[0].startswith("_file_")
    appends_files = choice.effective == "append" and by_file
    remembers = by_file and stream.mode == "append" and "file" not in stream.metadata
    if remembers and appends_files and not choice.empty:
        _refuse_forgotten_files(seen.chain)
    existing, last = seen.existing, newest(seen.chain)
    columns = draft.marks.staged.columns
    marks = deletes_of(stream, draft.marks, _covered(draft), record.started_at)
    reads_keys = marks.keys if _reads_keys(draft) else None
    publish = build_publish(
        LoadFacts(
            effective=choice.effective,
            window=choice.window,
            base_version=_base_version(choice.window, seen.chain),
            newest_version=last.version if last else 0,
            columns=columns,
            table_columns=draft.table,
            existing=tuple(c.name for c in existing.columns) if existing else None,
            has_dependants=bool(_kept_in_place(draft)),
            replaces_files=appends_files and "file" in stream.metadata,
            asked=asked_for(request),
            allow_empty=request.allow_empty,
            key=stream.key,
            order=marks.order if stream.key else (),
            compare=marks.compare if stream.key else (),
            starts_over=bool(stream.cursor) and seen.reconciled.cursor is None,
            added_columns=marks.missing,
            allow_deletes=request.allow_deletes,
            versions=stream.mode == "scd2",
            track=marks.track,
            ends_at=marks.ends_at,
            deletes=marks.deletes,
            max_ratio=stream.deletes.max_ratio if stream.deletes else None,
            record=record,
            schema_text=json.dumps(
                schema_to_json(draft.shape.schema), ensure_ascii=False, separators=(",", ":")
            ),
        )
    )
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
        empty=choice.empty,
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
    notes = fresh.notes
    if window.kind == "full" and not by_unique_key(stream, draft.shape, splits):
        notes = (*notes, "not split by the key: after a failure the whole extract starts again")
    fresh = fresh.model_copy(update={"splits": splits, "notes": notes})
    return fresh.model_copy(update={"plan_id": plan_digest(fresh)})


def _refuse_forgotten_files(chain: list[LedgerRecord]) -> None:
    """Refuse an append of files to loads that didn't note theirs: a changed one would look new."""
    for record in since_emptied(chain):
        if record.counts.read and not record.is_given and '"files":' not in record.load_window:
            raise StateError(
                f"version {record.version} of the target was loaded in another mode or with other"
                " `metadata`, which don't remember the files: a changed one couldn't be told from"
                " a new one. Load everything once more, or set `metadata: [load, file]`",
                command="conduit run --full-refresh",
            )


def _record(draft: _Draft) -> LedgerRecord:
    """Return the ledger record as far as it is known now."""
    seen, choice, request = draft.seen, draft.choice, draft.request
    now = datetime.now(UTC)
    text = request_text(request)
    base = _base_version(choice.window, seen.chain)
    spec_print = spec_fingerprint(draft.stream, draft.ends.source.identity)
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
        schema_fingerprint=fingerprint(draft.shape.schema),
        spec_fingerprint=spec_print,
        target_fingerprint=seen.fingerprint,
        runner=request.runner,
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


def _watermark_text(choice: Choice, seen: _Seen) -> str | None:
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
