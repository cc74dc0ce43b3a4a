"""The facts of one published load, as people read them: by name, in the order that matters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conduit_core.engine.bottleneck import WORTH_SECONDS, Bottleneck, bottleneck
from conduit_core.observe import figures
from conduit_core.observe.words import column_change

if TYPE_CHECKING:
    from conduit_core.state.ledger import LedgerRecord

_SHOWN = 60
"""Characters of what can't be read."""


def facts(record: LedgerRecord) -> list[tuple[str, str]]:
    """Return names and texts; each changed column is a fact of its own."""
    read = f"{figures.count(record.counts.read)} read"
    runner = json.loads(record.runner)
    return [
        ("load id", record.load_id),
        ("stream", f"{record.stream} ({record.pipeline})"),
        ("target", f"{record.target} version {record.version}"),
        ("mode", record.mode),
        ("window", record.window_text),
        ("watermark", record.watermark_text or "none"),
        ("rows", ", ".join(p for p in (read, figures.kinds(record.counts.model_dump())) if p)),
        ("request", record.request),
        ("request key", record.request_key or "none"),
        ("runner", ", ".join(f"{key} {value}" for key, value in runner.items()) or "unknown"),
        *(("column", f"{name} {text}") for name, text in changes(record)),
        ("started", record.started_at.isoformat()),
        ("published", record.published_at.isoformat()),
        ("took", took(record)),
        *_stages(record),
    ]


def took(record: LedgerRecord) -> str:
    """Return how long a load took."""
    return figures.duration(seconds_of(record))


def seconds_of(record: LedgerRecord) -> float:
    """Return how long a load took, from its plan to its record."""
    return (record.published_at - record.started_at).total_seconds()


def bottleneck_of(record: LedgerRecord) -> Bottleneck | None:
    """Return what held a load up, as far as its record knows; None where it moved no rows."""
    stages = record.seconds_by_stage or {}
    return bottleneck(stages) if "read" in stages else None


def _stages(record: LedgerRecord) -> list[tuple[str, str]]:
    stages = record.seconds_by_stage
    if stages is None:
        return [("stages", f"the record's can't be read: {record.stages[:_SHOWN]!r}")]
    if not stages:
        return []
    told = ", ".join(f"{name} {figures.duration(seconds)}" for name, seconds in stages.items())
    found = bottleneck_of(record) if seconds_of(record) >= WORTH_SECONDS else None
    held = [("held up by", f"{found.text}; to try: {found.setting}")] if found else []
    return [("stages", told.replace("_", " ")), *held]


def changes(record: LedgerRecord) -> list[tuple[str, str]]:
    """Return what a load changed of its target's columns: the column, and what."""
    return [
        (c["column"], column_change(c["change"], c["was"], c["now"]))
        for c in json.loads(record.schema_changes)
    ]
