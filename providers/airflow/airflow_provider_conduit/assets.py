"""Tables as Airflow's Assets: one for each table, by its name and by where it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import printable
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_conduit.compat import Asset
from airflow_provider_conduit.pipelines import PipelineLike, dag_folder, outline_of, placed

if TYPE_CHECKING:
    from pydantic import JsonValue

    from airflow_provider_conduit.compat import Context
    from conduit_core import LoadResult, Outline


def conduit_asset(
    pipeline: PipelineLike, stream: str, *, destination_conn_id: str | None = None
) -> Asset:
    """Return the Asset of a stream's table, for ``schedule=`` and for lineage.

    Its name is ``schema.table``. Where the pipeline file itself says which database that is in, the
    URI is the one that Cosmos gives the same table; where a connection or a variable says it, the
    URI is the name, since parsing a DAG asks nobody. In a URI what isn't ASCII is quoted.

    Args:
        pipeline: a path relative to the file that calls this, a mapping, or a Pipeline.
        stream: the stream's name.
        destination_conn_id: the one that the load task has, if it has one.

    Raises:
        ConfigError: the file is missing or is no pipeline, or has no such stream.
    """
    found = outline_of(placed(pipeline, dag_folder()), destination_conn_id)
    return asset_of(found, stream)


def asset_of(outline: Outline, stream: str) -> Asset:
    """Return the Asset of a stream's table.

    Raises:
        ConfigError: there is no such stream.
    """
    found = outline.stream(stream)
    uri = outline.uri(found)
    return Asset(name=found.target, uri=uri or quote(found.target, safe=printable))


def tell_change(result: LoadResult, asset: Asset, context: Context) -> bool:
    """Make the Asset's event part of this task's success, or not: told once, and only of a change.

    Airflow makes an event of each outlet that a task has when it succeeds, so the Asset stays among
    them or goes. (Through an alias an event could be added too; but where two tasks are the first
    to do so, at the same time, Airflow 3.3 fails one of them after it has loaded.)

    A retry after the commit finds the load published, and tells; so does not a task that is cleared
    after it had told.

    Returns:
        Whether there will be an event when the task succeeds.
    """
    tell = changed(result) and not (
        result.outcome == "replayed" and _is_told(result, asset, context)
    )
    withhold(asset, context)
    if tell:
        task = context["ti"].task
        task.outlets = [*task.outlets, asset]
        context["outlet_events"][asset].extra = facts(result)
    return tell


def withhold(asset: Asset, context: Context) -> None:
    """Take the Asset from the task's outlets, so that its success makes no event of it."""
    task = context["ti"].task
    task.outlets = without(task.outlets, [asset])


def without(outlets: Iterable[object], assets: Sequence[Asset]) -> list[object]:
    """Return outlets, or inlets, without these Assets."""
    return [outlet for outlet in outlets if not any(_is(outlet, asset) for asset in assets)]


def _is(outlet: object, asset: Asset) -> bool:
    return isinstance(outlet, Asset) and (outlet.name, outlet.uri) == (asset.name, asset.uri)


def changed(result: LoadResult) -> bool:
    """Tell whether a load changed a row or a column of its table."""
    counts = result.counts
    touched = counts.inserted or counts.updated or counts.deleted or counts.removed
    return result.outcome != "empty" and bool(touched or result.schema_changes)


def facts(result: LoadResult) -> dict[str, JsonValue]:
    """Return what an event's ``extra`` says of the load."""
    counts = {name: count for name, count in result.counts.model_dump().items() if count}
    return {
        "load_id": result.load_id,
        "version": result.version,
        "pipeline": result.pipeline,
        "stream": result.stream,
        "mode": result.mode,
        "window": result.window,
        "watermark": result.watermark,
        "counts": counts,
        "schema_changes": [change.model_dump() for change in result.schema_changes],
        "bottleneck": result.bottleneck.model_dump() if result.bottleneck else None,
    }


def _is_told(result: LoadResult, asset: Asset, context: Context) -> bool:
    """Look whether an event of this load is there; none is found where Airflow can't be asked."""
    events = context["inlet_events"][asset]
    return any((event.extra or {}).get("load_id") == result.load_id for event in events)
