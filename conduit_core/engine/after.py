"""What follows the loads: each hook of ``after:``, for what changed since it last finished.

What a hook has finished with is written to the destination after it succeeded. So a process that
dies between a commit and its hook, or a hook that fails, is made good by the next run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from conduit_core.engine.hooks import (
    BoundHook,
    ChangedTable,
    HookContext,
    LoadFacts,
    WindowFacts,
    memory_of,
)
from conduit_core.engine.model import HookResult, StreamFailure
from conduit_core.engine.outcome import changes_of
from conduit_core.errors import ConduitError, HookError, unexpected
from conduit_core.events import Emit, HookFailed, HookFinished, HookStarted, ignore
from conduit_core.state.cursor import Cursor, to_text
from conduit_core.state.ledger import LedgerRecord, newest
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from conduit_core.engine.pipeline import Pipeline

NOTHING_CHANGED = "no table changed since it last finished"
_log = logging.getLogger(__name__)
_CHANGING = ("inserted", "updated", "deleted", "removed")


# --- what changed ---------------------------------------------------------------------------------


def pending(stream: str, chain: list[LedgerRecord], finished: int | None) -> ChangedTable | None:
    """Return a target as changed if it did since a hook finished with a version of it.

    A version that the ledger doesn't have any more (the destination was restored) is none at all:
    then everything changed. So did a table that the hook has never seen, and one of whose later
    records some are gone: nobody knows what they did.
    """
    last = newest(chain)
    if last is None:
        return None
    if finished is not None and finished > last.version:
        finished = None
    later = [r for r in chain if finished is None or r.version > finished]
    later.sort(key=lambda r: r.version)
    complete = len(later) == last.version - (finished or 0)
    if finished is not None and complete and not any(_changes(r) for r in later):
        return None
    return ChangedTable(
        stream=stream,
        schema_name=last.target_schema,
        table=last.target_table,
        finished=finished,
        version=last.version,
        loads=tuple(_facts(r) for r in later if _changes(r)),
        complete=complete,
    )


def _changes(record: LedgerRecord) -> bool:
    if record.mode == "replace":  # the rows that made room aren't counted: it may be empty now
        return True
    counted = any(getattr(record.counts, name) for name in _CHANGING)
    return counted or record.schema_changes not in {"", "[]"}


def _facts(record: LedgerRecord) -> LoadFacts:
    return LoadFacts(
        load_id=record.load_id,
        version=record.version,
        mode=record.mode,
        window=_window(Window.from_json(record.load_window)),
        watermark=Cursor.from_json(record.cursor).display() if record.cursor else None,
        loaded_at=record.started_at.isoformat(),
        counts=record.counts,
        schema_changes=changes_of(record),
    )


def _window(window: Window) -> WindowFacts:
    some = window.low or window.high
    low, high = (to_text(b.values[0]) if b else None for b in (window.low, window.high))
    column = some.columns[0] if some else None
    return WindowFacts(
        kind=window.kind, column=column, low=low, high=high, null_cursor=window.null_cursor
    )


def changed_tables(
    pipeline: Pipeline, bound: BoundHook, *, anew: bool = False
) -> tuple[ChangedTable, ...]:
    """Return the pipeline's targets that changed since a hook last finished. Read-only.

    Args:
        pipeline: the pipeline.
        bound: the hook.
        anew: as if it had never finished: all targets.

    Raises:
        ConfigError: the destination keeps no hooks.
        ConduitError: it can't be asked.
    """
    with pipeline.open() as ends:
        destination = ends.destination
        known = None if anew else bound.memory
        marks: dict[Table, int] = {}
        if known is not None:
            marks = memory_of(destination, bound.hook.name).hook_marks(pipeline.name, known)
        found: list[ChangedTable] = []
        for stream in pipeline.streams:
            chain = destination.records(pipeline.target(stream, destination))
            last = newest(chain)
            if last is None or (last.pipeline, last.stream) != (pipeline.name, stream.name):
                continue
            if table := pending(stream.name, chain, marks.get(last.target)):
                found.append(table)
        return tuple(found)


def finished_versions(pipeline: Pipeline, bound: BoundHook) -> dict[str, int]:
    """Return up to which version of each table of ``pipeline`` the hook ``bound`` has finished.

    Read-only. Nothing for a hook that keeps nothing in mind.

    Raises:
        ConfigError: the destination keeps no hooks.
        ConduitError: it can't be asked.
    """
    if bound.memory is None:
        return {}
    with pipeline.open() as ends:
        memory = memory_of(ends.destination, bound.hook.name)
        marks = memory.hook_marks(pipeline.name, bound.memory)
    return {str(table): version for table, version in marks.items()}


def _keep(pipeline: Pipeline, bound: BoundHook, changed: Sequence[ChangedTable]) -> None:
    if bound.memory is None:
        return
    marks = {Table(t.schema_name, t.table): t.version for t in changed}
    with pipeline.open() as ends:
        memory = memory_of(ends.destination, bound.hook.name)
        memory.keep_hook_marks(pipeline.name, bound.memory, marks)


# --- running them ---------------------------------------------------------------------------------


def run_hooks(
    pipeline: Pipeline,
    hooks: Sequence[BoundHook],
    failed: tuple[str, ...] = (),
    emit: Emit = ignore,
) -> tuple[HookResult, ...]:
    """Do what follows the loads, hook by hook; one that fails doesn't stop the others."""
    return tuple(run_hook(pipeline, bound, failed, emit) for bound in hooks)


def run_hook(
    pipeline: Pipeline,
    bound: BoundHook,
    failed: tuple[str, ...] = (),
    emit: Emit = ignore,
    *,
    anew: bool = False,
) -> HookResult:
    """Run one hook, unless nothing changed since it last finished.

    Args:
        pipeline: the pipeline; nothing of it is open.
        bound: the hook with its options.
        failed: streams of this run that failed or weren't started.
        emit: takes events.
        anew: for all tables, as if it had never finished.

    Returns:
        What became of it; a failure is in ``failure``, and not raised.
    """
    name, started = bound.hook.name, time.perf_counter()
    tables: tuple[str, ...] = ()

    def ended(
        outcome: Literal["succeeded", "skipped"], text: str, details: Mapping[str, object]
    ) -> HookResult:
        seconds = time.perf_counter() - started
        finished = HookFinished(
            pipeline=pipeline.name, hook=name, outcome=outcome, text=text, seconds=seconds
        )
        emit(finished)
        return HookResult(
            hook=name,
            outcome=outcome,
            text=text,
            tables=tables,
            details=dict(details),
            seconds=seconds,
        )

    try:
        changed = changed_tables(pipeline, bound, anew=anew)
        if not changed:
            return ended("skipped", NOTHING_CHANGED, {})
        tables = tuple(t.target for t in changed)
        emit(HookStarted(pipeline=pipeline.name, hook=name, tables=tables))
        report = bound.hook.run(bound.options, HookContext(pipeline, changed, failed, emit))
        if report.skipped:
            return ended("skipped", report.text, report.details)
        result = ended("succeeded", report.text, report.details)
        _keep(pipeline, bound, changed)
        return result
    except ConduitError as error:
        return _failed(pipeline, name, tables, error, started, emit)
    except Exception as error:  # noqa: BLE001 - a bug in a hook must not hide the loads' results
        _log.debug("unexpected in hook %s", name, exc_info=True)
        return _failed(pipeline, name, tables, unexpected(error), started, emit)


def _failed(
    pipeline: Pipeline,
    name: str,
    tables: tuple[str, ...],
    error: ConduitError,
    started: float,
    emit: Emit,
) -> HookResult:
    text = error.message
    of = f" of {', '.join(tables)}" if tables else ""
    error.message = f"after.{name}: {text}"
    error.at(state=f"the loads{of} are published; the next run does what is left")
    pipeline.at(error, command="conduit run")
    failure = StreamFailure.of(f"after.{name}", error)
    emit(
        HookFailed(
            pipeline=pipeline.name,
            hook=name,
            error=failure.error,
            exit_code=failure.exit_code,
            lines=failure.lines,
        )
    )
    return HookResult(
        hook=name,
        outcome="failed",
        text=text,
        tables=tables,
        details=dict(error.details) if isinstance(error, HookError) else {},
        seconds=time.perf_counter() - started,
        failure=failure,
    )
