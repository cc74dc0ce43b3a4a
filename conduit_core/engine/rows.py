"""The rows of a plan, or of one split of it, ready to be pulled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.base import BATCH_BYTES, UNREADABLE, Reading, ReadRequest, ReadsRaw
from conduit_core.connectors.splits import Split
from conduit_core.engine.flags import flag_of
from conduit_core.engine.flow import Flow, OpenRaw, Screening, Transformed
from conduit_core.engine.model import LoadPlan
from conduit_core.engine.pipeline import Ends, stream_ref
from conduit_core.engine.runtime import Runtime
from conduit_core.engine.shaping import needs_screen
from conduit_core.events import Emit
from conduit_core.spec import StreamSpec
from conduit_core.state.ledger import known_files
from conduit_core.state.window import Window
from conduit_core.types.schema import schema_from_json

if TYPE_CHECKING:
    from conduit_core.engine.screen import Part


def open_flow(plan: LoadPlan, stream: StreamSpec, ends: Ends, runtime: Runtime) -> Flow:
    """Return the rows of a plan's window; the source is opened when the destination asks."""
    known: frozenset[str] = frozenset()
    if plan.refuse_changed_files:
        known = known_files(ends.destination.records(plan.target))
    request = _request(plan, stream, ends, runtime, known_files=known)
    return _flow(request, plan, stream, ends, runtime, part="load")


def open_split(
    plan: LoadPlan,
    split: Split,
    stream: StreamSpec,
    ends: Ends,
    runtime: Runtime,
    snapshot: str | None,
) -> Flow:
    """Return the rows of one split, checked against its bounds; the destination isn't asked."""
    part = None if split.kind == "whole" else split
    request = _request(plan, stream, ends, runtime, split=part, snapshot=snapshot)
    return _flow(request, plan, stream, ends, runtime, part="split", split_id=split.id)


def _request(
    plan: LoadPlan,
    stream: StreamSpec,
    ends: Ends,
    runtime: Runtime,
    *,
    known_files: frozenset[str] = frozenset(),
    split: Split | None = None,
    snapshot: str | None = None,
) -> ReadRequest:
    schema = schema_from_json(plan.source_schema)
    if ends.source.capabilities.gives_unreadable:
        schema = schema.append(pa.field(UNREADABLE, pa.string()))
    return ReadRequest(
        ref=stream_ref(stream),
        schema=schema,
        window=Window.from_json(plan.window),
        batch_bytes=min(BATCH_BYTES, runtime.queue_bytes),
        known_files=known_files,
        refuse_changed=plan.refuse_changed_files,
        split=split,
        snapshot=snapshot,
    )


def _flow(
    request: ReadRequest,
    plan: LoadPlan,
    stream: StreamSpec,
    ends: Ends,
    runtime: Runtime,
    *,
    part: Part,
    split_id: str = "",
) -> Flow:
    """Return the rows of a request, as the plan stages them."""
    source = ends.source
    return new_flow(
        lambda: source.read(request),
        schema_from_json(plan.staged_schema),
        plan,
        stream,
        runtime,
        runtime.emit,
        remember_files=plan.remember_files,
        read_raw=partial(source.read_raw, request) if isinstance(source, ReadsRaw) else None,
        check=_check(request),
        is_whole_load=part == "load",
        transform=transform_rows(plan, stream),
        screen=screen_rows(plan, stream, ends, runtime, part),
        split_id=split_id,
    )


def _check(request: ReadRequest) -> Callable[[pa.RecordBatch], None] | None:
    """Return what holds the rows to what was asked for; None where that is all of a window."""
    split, only = request.split, request.window.only
    if split is None and only is None:
        return None
    from conduit_core.engine.cutting import BoundsCheck, SliceCheck

    checks = [BoundsCheck(split).check] if split is not None else []
    checks += [SliceCheck(only).check] if only is not None else []

    def check(batch: pa.RecordBatch) -> None:
        for one in checks:
            one(batch)

    return check


def transform_rows(plan: LoadPlan, stream: StreamSpec) -> Transformed | None:
    """Return what a stream's transform does to a batch; None where it has none."""
    if not stream.transform:
        return None
    from conduit_core.quality import Transform  # most loads never get here

    return Transform(stream.transform, schema_from_json(plan.source_schema), stream.redact)


def screen_rows(
    plan: LoadPlan, stream: StreamSpec, ends: Ends, runtime: Runtime, part: Part
) -> Screening | None:
    """Return what holds the rows to the stream's rules; None where it has none."""
    if not needs_screen(stream, ends):
        return None
    from conduit_core.engine.rules import rules_of  # most loads never get here
    from conduit_core.engine.screen import Screen

    rules = rules_of(stream, schema_from_json(plan.staged_schema), ends)
    return Screen(plan, stream, rules, part, runtime.emit, ends.destination)


def new_flow(
    read: Callable[[], Reading],
    schema: pa.Schema,
    plan: LoadPlan,
    stream: StreamSpec,
    runtime: Runtime,
    emit: Emit,
    *,
    remember_files: bool = False,
    read_raw: OpenRaw | None = None,
    check: Callable[[pa.RecordBatch], None] | None = None,
    is_whole_load: bool = False,
    transform: Transformed | None = None,
    screen: Screening | None = None,
    split_id: str = "",
) -> Flow:
    """Return a flow of a plan's load; see :class:`Flow` for what it is made of."""
    return Flow(
        read,
        schema,
        load_id=plan.load_id,
        loaded_at=plan.loaded_at,
        identity=(plan.pipeline, plan.stream),
        emit=emit,
        queue_bytes=runtime.queue_bytes,
        cancel=runtime.cancel,
        remember_files=remember_files,
        read_raw=read_raw,
        check=check,
        flag=flag_of(stream),
        is_whole_load=is_whole_load,
        transform=transform,
        screen=screen,
        split=split_id,
    )
