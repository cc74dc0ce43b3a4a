"""Dead letters once more: their rows are held to today's rules, and those that pass are loaded.

A replay is a load whose rows are letters. It leaves the cursor where it is, and never goes back in
time: a newer row of the target wins.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Commit, Reading
from conduit_core.connectors.letters import KeepsLetters
from conduit_core.connectors.publish import (
    BALANCE,
    Action,
    AppendDeadLetters,
    AppendStaged,
    CloseVersions,
    LetterFilter,
    MergeStaged,
    OwnedBy,
    Publish,
    RecordLoad,
    ResolveDeadLetters,
    TargetIs,
)
from conduit_core.engine.columns import cursor_columns
from conduit_core.engine.identity import digest, stream_fingerprint
from conduit_core.engine.marks import Marks, deletes_of, plan_marks
from conduit_core.engine.model import LoadPlan, LoadResult
from conduit_core.engine.outcome import emit_committed, mirror, result_of, state_after_failure
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.rows import new_flow
from conduit_core.engine.runtime import Runtime
from conduit_core.engine.seen import Seen, look, watermark_state
from conduit_core.engine.shaping import Shaped, payload_fields, rows_schema, schema_text, shape_rows
from conduit_core.errors import ConduitError, ConfigError, StateError, unexpected
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord, newest, watermark_record
from conduit_core.state.window import Window
from conduit_core.types.schema import fingerprint, schema_from_json, schema_to_json

if TYPE_CHECKING:
    import pyarrow as pa

MODE = "replay"
"""The mode of a replay's ledger record."""


def replay_stream(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    which: LetterFilter,
    runtime: Runtime,
    runner: str = "{}",
) -> LoadResult:
    """Replay a stream's open dead letters; those that break a rule again stay open.

    Args:
        pipeline: the stream's pipeline.
        stream: whose letters.
        ends: its ends, open; the source is asked for its columns only.
        which: which letters.
        runtime: memory, listeners, the runner's state store.
        runner: who asks, as JSON.

    Raises:
        ConduitError: what stops it; nothing was changed then.
    """
    started = time.perf_counter()
    try:
        plan = plan_replay(pipeline, stream, ends, which, runtime, runner)
    except ConduitError as error:
        raise pipeline.at(error, stream.name, "conduit dlq list") from error.__cause__
    if plan.empty:
        return result_of(plan, Commit(None), started, {})
    try:
        commit, report = _load(plan, stream, ends, which, runtime)
    except Exception as raised:  # noqa: BLE001 - whatever it is, it gets its four lines
        failure = raised if isinstance(raised, ConduitError) else unexpected(raised)
        failure.at(state=state_after_failure(ends, plan))
        raise pipeline.at(failure, stream.name, "conduit dlq replay") from failure.__cause__
    emit_committed(commit, runtime.emit, time.perf_counter() - started)
    result = result_of(plan, commit, started, {}, report=report)
    if runtime.store is not None:
        target, print_ = plan.target, plan.target_fingerprint
        mirror(result, target, print_, ends, runtime.store, runtime.emit)
    return result


def plan_replay(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    which: LetterFilter,
    runtime: Runtime,
    runner: str = "{}",
) -> LoadPlan:
    """Plan a replay. Reads source and destination, writes nothing; empty: there are no letters.

    Raises:
        ConfigError: the destination keeps no letters.
        StateError: the target doesn't exist, or belongs to another stream.
        ConduitError: the stream's columns don't fit the target.
    """
    destination = ends.destination
    if not isinstance(destination, KeepsLetters):
        raise ConfigError(f"a {destination.system} destination keeps no dead letters")
    destination.check_letters()
    seen = look(pipeline, stream, ends, runtime.store)
    if seen.existing is None:
        raise StateError(
            f"{seen.target} doesn't exist: dead letters are replayed into the table they belong to",
            command="conduit run",
        )
    try:
        shape = ends.source.describe(stream_ref(stream))
        prints = destination.letter_schemas(seen.target, which)
        gone = _gone(rows_schema(stream, shape.schema), prints, ends, seen)
        shaped = shape_rows(stream, shape, ends, seen, seen.existing, gone)
        if shaped.staged.changes:
            raise StateError(
                "the source's columns changed since the last load, and a replay changes none of"
                " the target's: load first",
                command="conduit run",
            )
        marks = plan_marks(
            _unflagged(stream),
            ends.source,
            shape.schema,
            destination,
            shaped.staged,
            seen.existing,
            seen.target,
        )
        marks = deletes_of(_unflagged(stream), marks, None, datetime.now(UTC))
    except ConduitError as error:
        raise error.at(state=watermark_state(seen.chain)) from error.__cause__
    letters = destination.letters(seen.target, which, limit=1)
    return _plan(pipeline, stream, ends, which, seen, shaped, marks, bool(letters), runner)


def _gone(
    rows: pa.Schema, prints: tuple[str, ...], ends: Ends, seen: Seen
) -> tuple[pa.Field[pa.DataType], ...]:
    """Return columns that letters have and today's rows don't: their values are loaded, too.

    Raises:
        StateError: the target has no such column any more, so that values would be lost.
    """
    found: dict[str, pa.Field[pa.DataType]] = {}
    for one in prints:
        text = ends.destination.kept_schema(seen.target, one)
        fields = schema_from_json(json.loads(text)) if text is not None else ()
        found |= {
            f.name: f.with_nullable(nullable=True) for f in fields if f.name not in rows.names
        }
    there = {c.name for c in seen.existing.columns} if seen.existing else set()
    if lost := [name for name in found if name not in there]:
        raise StateError(
            f"dead letters have values of {', '.join(map(repr, lost))}, which neither the stream"
            f" nor {seen.target} has any more: add the column to the target, or purge them",
            command="conduit dlq list",
        )
    return tuple(found.values())


def _plan(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    which: LetterFilter,
    seen: Seen,
    shaped: Shaped,
    marks: Marks,
    has_letters: bool,  # noqa: FBT001 - private
    runner: str,
) -> LoadPlan:
    record = _record(pipeline, stream, ends, which, seen, shaped, runner)
    cursor = Cursor.from_json(record.cursor).display() if record.cursor else None
    last = newest(seen.chain)
    staged = shaped.staged
    columns = tuple(c.name for c in staged.columns)
    publish = Publish(
        target_schema=seen.target.schema,
        target_table=seen.target.name,
        staged_columns=columns,
        requirements=(
            OwnedBy(pipeline=pipeline.name, stream=stream.name),
            TargetIs(columns=tuple(c.name for c in seen.existing.columns) if seen.existing else ()),
        ),
        actions=(
            *_rows(stream, marks),
            *_letters(stream, shaped, which),
            BALANCE,
            RecordLoad(record=record, schema_text=schema_text(shaped.rows)),
        ),
    )
    return LoadPlan(
        pipeline=pipeline.name,
        stream=stream.name,
        target_schema=seen.target.schema,
        target_table=seen.target.name,
        load_id=record.load_id,
        last_load_id=last.load_id if last else None,
        last_watermark_text=cursor,
        request=record.request,
        request_key=None,
        mode=MODE,
        guarantee="exactly-once",
        window=record.load_window,
        window_text="dead letters",
        cursor=record.cursor,
        cursor_timezone=stream.cursor_timezone,
        watermark_text=cursor,
        source_schema=schema_to_json(shaped.rows),
        staged_schema=schema_to_json(staged.schema),
        target_fingerprint=seen.fingerprint,
        rows_estimate=None,
        null_rows=0,
        loaded_at=record.started_at,
        publish=publish,
        state_text=seen.stored,
        notes=(),
        empty=not has_letters,
    )


def _record(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    which: LetterFilter,
    seen: Seen,
    shaped: Shaped,
    runner: str,
) -> LedgerRecord:
    base, last = watermark_record(seen.chain), newest(seen.chain)
    now = datetime.now(UTC)
    asked = {"kind": MODE, **which.model_dump(exclude_none=True, mode="json")}
    if which.ids is not None:
        asked["ids"] = digest(*sorted(which.ids))  # a ledger is no place for thousands of ids
    request = json.dumps(asked, separators=(",", ":"))
    spec_print = stream_fingerprint(stream, ends.source.identity, ends.base_dir)
    version = str(last.version if last else 0)
    return LedgerRecord(
        target_schema=seen.target.schema,
        target_table=seen.target.name,
        version=0,
        pipeline=pipeline.name,
        stream=stream.name,
        load_id=digest(seen.fingerprint, version, MODE, request, spec_print),
        request=request,
        mode=MODE,
        load_window=Window("watermark").to_json(),
        cursor=base.cursor if base else None,
        schema_fingerprint=fingerprint(shaped.rows),
        spec_fingerprint=spec_print,
        target_fingerprint=seen.fingerprint,
        runner=runner,
        started_at=now,
        published_at=now,
    )


def replay_key(stream: StreamSpec) -> tuple[str, ...]:
    """Return the key by which letters are merged; empty: they are added."""
    return () if stream.mode == "append" else stream.unique_key


def _rows(stream: StreamSpec, marks: Marks) -> tuple[Action, ...]:
    key = replay_key(stream)
    if stream.mode == "scd2":
        return (
            CloseVersions(
                key=key,
                order=marks.order,
                compare=marks.compare,
                track=marks.track,
                deletes=marks.deletes,
            ),
        )
    if not key:
        return (AppendStaged(),)
    return (
        MergeStaged(
            key=key,
            order=cursor_columns(stream, marks.staged.schema.names),
            compare=marks.compare,
            update=stream.mode != "insert_only",
            only_newer=True,
            deletes=marks.deletes,
        ),
    )


def _letters(
    stream: StreamSpec, shaped: Shaped, which: LetterFilter
) -> tuple[ResolveDeadLetters | AppendDeadLetters, ...]:
    staged = shaped.staged.schema
    payload = payload_fields(staged)
    return (
        ResolveDeadLetters(
            key=replay_key(stream),
            order=cursor_columns(stream, staged.names),
            replays=which,
            schema_text=schema_text(staged),
        ),
        AppendDeadLetters(
            schema_fingerprint=fingerprint(payload), schema_text=schema_text(payload)
        ),
    )


def _load(
    plan: LoadPlan, stream: StreamSpec, ends: Ends, which: LetterFilter, runtime: Runtime
) -> tuple[Commit, str]:
    """Carry out a plan; return its commit and what the rules found."""
    from conduit_core.engine.screen import screen_replay

    destination = ends.destination
    staged = schema_from_json(plan.staged_schema)

    def read() -> Reading:
        if not isinstance(destination, KeepsLetters):
            raise TypeError("a destination without letters")
        reader = destination.replayed_rows(plan.target, which, payload_fields(staged))
        return Reading(reader, close=reader.close)

    flow = new_flow(
        read,
        staged,
        plan,
        _unflagged(stream),
        runtime,
        runtime.emit,
        is_whole_load=True,
        screen=screen_replay(plan, stream, ends, runtime.emit),
    )
    try:
        return destination.commit(plan.publish, flow, runtime.emit), flow.report
    finally:
        flow.close()


def _unflagged(stream: StreamSpec) -> StreamSpec:
    """Return the stream without deletes: no letter says that its row is gone."""
    return stream.model_copy(update={"deletes": None})
