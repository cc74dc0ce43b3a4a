"""What Prefect hears of a load: an asset's materialisation and events, each once per load.

An event's id is made of the load's: a task that died after the commit and runs again tells the same
event, which Prefect keeps once.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from prefect.events import emit_event

if TYPE_CHECKING:
    from conduit_core import Dataset, LoadResult, Pipeline
    from conduit_core.errors import ConduitError

_OURS = uuid.UUID("5f0e9b0e-6f0c-4d1c-9c1e-2a1f5f6f1c55")
"""The namespace of our events' ids."""
Kind = Literal["published", "rejected", "failed", "schema-changed"]


def resource_of(pipeline: str, stream: str) -> dict[str, str]:
    """Return a stream as Prefect's events name it."""
    return {
        "prefect.resource.id": f"conduit.stream.{pipeline}.{stream}",
        "prefect.resource.name": f"{pipeline}.{stream}",
    }


def tell_load(result: LoadResult, pipeline: Pipeline) -> None:
    """Tell of a published load: what it changed, rejected, and made new of the table's columns.

    Args:
        result: what became of the load.
        pipeline: asked how the two tables are called.
    """
    counts = result.counts.model_dump()
    if result.load_id is None:
        return
    payload = {
        "load_id": result.load_id,
        "version": result.version,
        "target": result.target,
        "mode": result.mode,
        "window": result.window,
        "watermark": result.watermark,
        "rows": counts,
        "seconds": round(result.seconds, 3),
    }
    _emit("published", result.pipeline, result.stream, payload, result.load_id)
    if counts.get("rejected"):
        rules = result.quality.get("rules", ())
        _emit(
            "rejected",
            result.pipeline,
            result.stream,
            {**payload, "rules": rules},
            result.load_id,
        )
    if result.schema_changes:
        changes = [change.model_dump(mode="json") for change in result.schema_changes]
        _emit(
            "schema-changed",
            result.pipeline,
            result.stream,
            {**payload, "changes": changes},
            result.load_id,
        )
    if changed(result):
        _materialise(result, pipeline, payload)


def tell_failure(error: ConduitError, pipeline: str, stream: str, task_run_id: str | None) -> None:
    """Tell of a load that failed for good."""
    lines = error.lines()
    payload = {
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "retry": error.retry,
        "what": lines[0],
        "state": lines[1],
        "command": lines[3],
    }
    _emit("failed", pipeline, stream, payload, task_run_id or str(uuid.uuid4()))


def changed(result: LoadResult) -> bool:
    """Say whether a load changed rows of its table, or its columns."""
    counts = result.counts
    rows = counts.inserted + counts.updated + counts.deleted
    return result.outcome != "empty" and bool(rows or result.schema_changes)


def _materialise(result: LoadResult, pipeline: Pipeline, payload: Mapping[str, Any]) -> None:
    from conduit_core import datasets

    (found,) = datasets(pipeline, (result.stream,))
    if found.target is None:
        return
    related = [
        {"prefect.resource.id": asset_key(each), "prefect.resource.role": "asset"}
        for each in found.sources
    ]
    by = {"prefect.resource.id": "conduit", "prefect.resource.role": "asset-materialized-by"}
    emit_event(
        event="prefect.asset.materialization.succeeded",
        resource={
            "prefect.resource.id": asset_key(found.target),
            "prefect.resource.name": result.target,
        },
        related=[*related, by],
        payload=dict(payload),
        id=uuid.uuid5(_OURS, f"{result.load_id}/asset"),
    )


def asset_key(dataset: Dataset) -> str:
    """Return the key of a table's asset."""
    return f"{dataset.namespace}/{dataset.name}"


def _emit(kind: Kind, pipeline: str, stream: str, payload: Mapping[str, Any], about: str) -> None:
    emit_event(
        event=f"conduit.load.{kind}",
        resource=resource_of(pipeline, stream),
        payload=dict(payload),
        id=uuid.uuid5(_OURS, f"{about}/{kind}"),
    )
