"""Questions to a target's chain of ledger records: is this load there, does the plan hold."""

from __future__ import annotations

from datetime import datetime

from conduit_core.connectors.publish import (
    Column,
    NoNewerRecord,
    NoOverlappingRecord,
    OwnedBy,
    Publish,
    TargetIs,
)
from conduit_core.errors import ConcurrentLoadError, StateError
from conduit_core.state.ledger import LedgerRecord, newest
from conduit_core.state.window import Window


def find_load(chain: list[LedgerRecord], record: LedgerRecord) -> LedgerRecord | None:
    """Return the chain's record of the same load, or of the same request under the same key.

    A load id says what was asked for, not by whom, nor how far the source had come: the record of
    another stream, or one with another watermark or request key, isn't this load. The requirements
    refuse it.
    """
    for known in chain:
        if (known.pipeline, known.stream) != (record.pipeline, record.stream):
            continue
        same = (known.load_id, known.cursor, known.request_key)
        if same == (record.load_id, record.cursor, record.request_key):
            return known
        if record.request_key and known.request_key == record.request_key:
            if known.request == record.request:
                return known
            raise StateError(
                f"request key {record.request_key!r} was used for another request"
                f" ({known.request}); keys are unique per target",
                command="conduit runs",
            )
    return None


def check_requirements(
    publish: Publish, chain: list[LedgerRecord], existing: tuple[Column, ...] | None
) -> None:
    """Check what the plan relied on, under the lock.

    Raises:
        ConcurrentLoadError: another load was published, or the table was altered, since the plan.
        StateError: the target belongs to another stream.
    """
    for requirement in publish.requirements:
        match requirement:
            case OwnedBy(pipeline=pipeline, stream=stream):
                last = newest(chain)
                if last is not None and (last.pipeline, last.stream) != (pipeline, stream):
                    raise owned_by_another(last, f"{publish.target_schema}.{publish.target_table}")
            case NoNewerRecord(version=version):
                _refuse([r for r in chain if r.version > version and not r.is_given])
            case NoOverlappingRecord(version=version, window=text):
                window = Window.from_json(text)
                _refuse([r for r in chain if r.version > version and touches(r, window)])
            case TargetIs(columns=columns):
                _compare(columns, existing)


def _refuse(newer: list[LedgerRecord]) -> None:
    if newer:
        record = newer[-1]
        raise ConcurrentLoadError(
            f"load {record.load_id} of the same target was published meanwhile (version"
            f" {record.version}); this load was rolled back",
            command="conduit run",
        )


def _compare(planned: tuple[str, ...] | None, existing: tuple[Column, ...] | None) -> None:
    now = None if existing is None else tuple(c.name for c in existing)
    if now != planned:
        raise ConcurrentLoadError(
            f"the target changed since the plan: columns were {planned}, are {now}",
            command="conduit plan",
        )


def touches(record: LedgerRecord, window: Window) -> bool:
    """Say whether a record may share rows with a given window; a watermark's always may."""
    return not record.is_given or Window.from_json(record.load_window).overlaps(window)


def owned_by_another(record: LedgerRecord, target: str) -> StateError:
    """Return the error for a target whose chain another stream has claimed."""
    return StateError(
        f"{target} belongs to stream {record.stream!r} of pipeline {record.pipeline!r}; to take"
        " it over on purpose: `conduit state adopt`",
        command="conduit state adopt",
    )


def removable(records: list[LedgerRecord], border: datetime) -> list[LedgerRecord]:
    """Return the records that may go: old, and neither a chain's newest nor its watermark's.

    Records that remember files (an append of files) and given windows stay: later plans ask them.
    """
    newest_of: dict[tuple[str, str], int] = {}
    mark_of: dict[tuple[str, str], int] = {}
    for record in records:
        key = (record.target_schema, record.target_table)
        newest_of[key] = max(newest_of.get(key, 0), record.version)
        if not record.is_given:
            mark_of[key] = max(mark_of.get(key, 0), record.version)
    return [
        r
        for r in records
        if r.published_at < border
        and r.version != newest_of[(r.target_schema, r.target_table)]
        and r.version != mark_of.get((r.target_schema, r.target_table))
        and not r.is_given
        and '"files":' not in r.load_window
    ]
