"""The events of a load, as data. Pure functions: the same load makes the same events, ids too."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from prefect.events.schemas.events import Event

from prefect_conduit.assets import asset_key

if TYPE_CHECKING:
    from conduit_core import LedgerRecord, StreamDatasets, TableFacts
    from conduit_core.events import RuleChecked

Kind = Literal["published", "rejected", "failed", "schema-changed"]
MOST_ITEMS = 200
"""Columns, changes and rules that one event names."""
MOST_SOURCES = 50
"""Sources that one event refers to: Prefect refuses an event with more than 100 resources."""
OF_RULE = ("rule", "action", "result", "checked", "failed")
"""What events say of a rule."""
_LONGEST = 500
_OURS = uuid.UUID("5f0e9b0e-6f0c-4d1c-9c1e-2a1f5f6f1c55")
"""The namespace of our events' ids."""


def changed(record: LedgerRecord) -> bool:
    """Say whether a load changed a row or a column of its table."""
    counts = record.counts
    touched = counts.inserted or counts.updated or counts.deleted or counts.removed
    return bool(touched or json.loads(record.schema_changes))


def asset_events(
    record: LedgerRecord, names: StreamDatasets, table: TableFacts | None
) -> list[Event]:
    """Return a table's materialisation, and the sources it refers to, as ``@materialize`` does.

    Args:
        record: the load.
        names: what the stream reads and writes.
        table: the table as it is, where the load is its newest.
    """
    if names.target is None:
        return []
    sources = sorted({asset_key(each) for each in names.sources})[:MOST_SOURCES]
    payload = facts_of(record)
    payload["dataset"] = {"namespace": names.target.namespace, "name": names.target.name}
    if changes := json.loads(record.schema_changes):
        payload["changes"] = changes[:MOST_ITEMS]
    if table is not None:
        payload["columns"] = [
            {"name": c.name, "type": c.type, "nullable": c.nullable}
            for c in table.columns[:MOST_ITEMS]
        ]
    related = [{"prefect.resource.id": s, "prefect.resource.role": "asset"} for s in sources]
    by = {"prefect.resource.id": "conduit", "prefect.resource.role": "asset-materialized-by"}
    referenced = [
        _event(
            "prefect.asset.referenced",
            {"prefect.resource.id": source},
            about=f"{record.load_id}/referenced/{source}",
            occurred=record.published_at,
        )
        for source in sources
    ]
    made = _event(
        "prefect.asset.materialization.succeeded",
        {
            "prefect.resource.id": asset_key(names.target),
            "prefect.resource.name": str(record.target),
        },
        about=f"{record.load_id}/asset",
        occurred=record.published_at,
        related=[*related, by],
        payload=payload,
    )
    return [*referenced, made]


def facts_of(record: LedgerRecord) -> dict[str, Any]:
    """Return what events say of a load: no row's value but the cursor's."""
    return {
        "pipeline": record.pipeline,
        "stream": record.stream,
        "target": str(record.target),
        "load_id": record.load_id,
        "version": record.version,
        "mode": record.mode,
        "window": record.window_text[:_LONGEST],
        "watermark": record.watermark_text and record.watermark_text[:_LONGEST],
        "rows": record.counts.model_dump(),
        "seconds": round((record.published_at - record.started_at).total_seconds(), 3),
        "published_at": record.published_at.isoformat(),
    }


def rule_facts(found: RuleChecked) -> dict[str, Any]:
    """Return what events say of a rule: how many rows, none of their values."""
    return {key: getattr(found, key) for key in OF_RULE}


def load_event(kind: Kind, record: LedgerRecord, more: dict[str, Any]) -> Event:
    """Return an event of a published load."""
    return stream_event(
        kind,
        record.pipeline,
        record.stream,
        record.load_id,
        record.published_at,
        {**facts_of(record), **more},
    )


def stream_event(
    kind: Kind, pipeline: str, stream: str, about: str, occurred: datetime, payload: dict[str, Any]
) -> Event:
    """Return an event of a stream.

    Args:
        kind: which.
        pipeline: the pipeline's name.
        stream: the stream's.
        about: what its id is made of, with the kind.
        occurred: when it happened.
        payload: what it says.
    """
    resource = {
        "prefect.resource.id": f"conduit.stream.{pipeline}.{stream}",
        "prefect.resource.name": f"{pipeline}.{stream}",
    }
    return _event(
        f"conduit.load.{kind}",
        resource,
        about=f"{about}/{kind}",
        occurred=occurred,
        payload=payload,
    )


def _event(
    name: str,
    resource: dict[str, str],
    *,
    about: str,
    occurred: datetime,
    related: Sequence[dict[str, str]] = (),
    payload: dict[str, Any] | None = None,
) -> Event:
    return Event.model_validate(
        {
            "event": name,
            "resource": resource,
            "occurred": occurred,
            "related": list(related),
            "payload": payload or {},
            "id": uuid.uuid5(_OURS, about),
        }
    )
