"""Which data a stream reads and writes, for tools of lineage. Nothing here connects to anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conduit_core.connectors.datasets import Dataset, NamesSources, NamesTargets
from conduit_core.connectors.publish import FILE
from conduit_core.engine.columns import VERSION_COLUMNS
from conduit_core.engine.pipeline import Pipeline, stream_ref
from conduit_core.spec.transforms import RenameStep

_OWN = "_conduit_"


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A pipeline's source.

    Args:
        system: its connector's type.
        identity: what makes it itself, without secrets.
        options: the connector's options as the file or the named connection says them, secrets
            opened: for a connection string, never for a log.
        base_dir: what relative paths are relative to.
    """

    system: str
    identity: str
    options: Mapping[str, object] = field(repr=False)
    base_dir: Path


@dataclass(frozen=True, slots=True)
class StreamDatasets:
    """What a stream reads and writes, by OpenLineage's names.

    Args:
        stream: its name.
        sources: what it reads; nothing where that isn't known: a query without sqlglot, or one that
            it can't read.
        target: what it writes; None where the connector names none.
    """

    stream: str
    sources: tuple[Dataset, ...]
    target: Dataset | None


def source_facts(pipeline: Pipeline) -> SourceFacts:
    """Return what the pipeline says of its source. Connects to nothing.

    Args:
        pipeline: whose source.

    Raises:
        ConfigError: the connection's name isn't known, or its options are wrong.
    """
    spec = pipeline.connected().source
    with pipeline.open() as ends:
        return SourceFacts(
            system=ends.source.system,
            identity=ends.source.identity,
            options=spec.reveal(),
            base_dir=pipeline.loaded.base_dir,
        )


def datasets(pipeline: Pipeline, streams: tuple[str, ...] | None = None) -> list[StreamDatasets]:
    """Return what streams (all by default) read and write. Connects to nothing.

    Args:
        pipeline: whose streams.
        streams: their names.

    Raises:
        ConfigError: a stream's or a connection's name isn't known, or its options are wrong.
    """
    chosen = pipeline.select(streams)
    with pipeline.open() as ends:
        source, destination = ends.source, ends.destination
        return [
            StreamDatasets(
                stream.name,
                source.datasets(stream_ref(stream)) if isinstance(source, NamesSources) else (),
                destination.dataset(pipeline.target(stream, destination))
                if isinstance(destination, NamesTargets)
                else None,
            )
            for stream in chosen
        ]


def column_lineage(
    pipeline: Pipeline, stream: str, columns: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Return which of its source's columns each column of a stream's target comes from.

    Every step of ``transform:`` makes one column of one column, so that no more is to be asked. A
    query's columns are of no table: for such a stream nothing is known. Neither have columns that
    Conduit adds a source.

    Args:
        pipeline: the pipeline.
        stream: the stream's name.
        columns: the target's columns, as ``table_facts`` gives them.

    Raises:
        ConfigError: there is no such stream.
    """
    (spec,) = pipeline.select((stream,))
    if spec.query is not None:
        return {}
    own = {FILE, *(VERSION_COLUMNS if spec.mode == "scd2" else ())}
    renames = [s.rename for s in spec.transform if isinstance(s, RenameStep)]
    found: dict[str, tuple[str, ...]] = {}
    for target in columns:
        if target in own or target.startswith(_OWN):
            continue
        name = target
        for rename in reversed(renames):
            name = next((old for old, new in rename.items() if new == name), name)
        if spec.columns is None or name in spec.columns:
            found[target] = (name,)
    return found
