"""What wrappers and hooks need to know of a pipeline's destination and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import CreateTable, ReplaceWithStaged
from conduit_core.engine.model import LoadPlan, RunRequest
from conduit_core.engine.pipeline import Pipeline
from conduit_core.engine.plan import plan_stream

if TYPE_CHECKING:
    from conduit_core.connectors.base import TargetShape
    from conduit_core.engine.pipeline import Ends
    from conduit_core.spec import StreamSpec


@dataclass(frozen=True, slots=True)
class DestinationFacts:
    """A pipeline's destination.

    Args:
        system: its connector's type.
        identity: what makes it itself, without secrets.
        schema: the schema of tables that don't name their own.
        internal_schema: where the ``_conduit_`` tables lie.
        options: the connector's options as the file or the named connection says them, secrets
            opened: for a connection string, never for a log.
        base_dir: what relative paths are relative to.
    """

    system: str
    identity: str
    schema: str
    internal_schema: str
    options: Mapping[str, object] = field(repr=False)
    base_dir: Path


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column of a target: its type as the destination spells it.

    Args:
        name: the column's.
        type: as in the destination's DDL.
        nullable: whether it may be NULL.
    """

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A stream's target; where it isn't there yet, as the first load will make it.

    Args:
        stream: whose target it is.
        schema, table: where it lies.
        columns: in the table's order.
        exists: whether it is there already.
    """

    stream: str
    schema: str
    table: str
    columns: tuple[ColumnFacts, ...]
    exists: bool


def destination_facts(pipeline: Pipeline) -> DestinationFacts:
    """Return what the pipeline says of its destination. Connects to nothing.

    Args:
        pipeline: whose destination.

    Raises:
        ConfigError: the connection's name isn't known, or its options are wrong.
    """
    spec = pipeline.connected().destination
    with pipeline.open() as ends:
        schema = spec.schema_name or ends.destination.capabilities.default_schema
        return DestinationFacts(
            system=ends.destination.system,
            identity=ends.destination.identity,
            schema=schema,
            internal_schema=spec.internal_schema or schema,
            options=spec.reveal(),
            base_dir=pipeline.loaded.base_dir,
        )


def table_facts(pipeline: Pipeline, streams: tuple[str, ...] | None = None) -> list[TableFacts]:
    """Return the targets of streams (all by default) with their columns. Read-only.

    Args:
        pipeline: whose targets.
        streams: names of streams.

    Raises:
        ConduitError: the destination can't be asked; a table that isn't there can't be planned.
    """
    with pipeline.open() as ends:
        return [_table(pipeline, s, ends) for s in pipeline.select(streams)]


def existing_columns(
    pipeline: Pipeline, streams: tuple[str, ...]
) -> dict[str, tuple[ColumnFacts, ...]]:
    """Return the columns of each stream's target that is there. Read-only; plans nothing.

    Raises:
        ConduitError: the destination can't be asked.
    """
    found: dict[str, tuple[ColumnFacts, ...]] = {}
    with pipeline.open() as ends:
        for stream in pipeline.select(streams):
            shape = ends.destination.describe(pipeline.target(stream, ends.destination))
            if shape is not None:
                found[stream.name] = _columns(shape)
    return found


def _columns(shape: TargetShape) -> tuple[ColumnFacts, ...]:
    return tuple(ColumnFacts(c.name, c.ddl, c.nullable) for c in shape.columns)


def _table(pipeline: Pipeline, stream: StreamSpec, ends: Ends) -> TableFacts:
    target = pipeline.target(stream, ends.destination)
    shape = ends.destination.describe(target)
    if shape is not None:
        columns = _columns(shape)
    else:
        columns = _planned(plan_stream(pipeline, stream, ends, RunRequest(after=False)))
    return TableFacts(stream.name, target.schema, target.name, columns, shape is not None)


def _planned(plan: LoadPlan) -> tuple[ColumnFacts, ...]:
    made = (a for a in plan.publish.actions if isinstance(a, CreateTable | ReplaceWithStaged))
    return tuple(ColumnFacts(c.name, c.ddl, c.nullable) for action in made for c in action.columns)
