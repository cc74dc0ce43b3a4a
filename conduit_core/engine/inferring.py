"""What ``conduit schema infer`` tells: columns, and how sure it is of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Destination, Inferred
from conduit_core.engine.pipeline import Pipeline, stream_ref
from conduit_core.engine.schemas import file_source, infer, without_ours
from conduit_core.errors import ConduitError
from conduit_core.spec.expected import write_schemas
from conduit_core.types.dialect import Landing
from conduit_core.types.fields import shown
from conduit_core.types.schema import schema_to_json

if TYPE_CHECKING:
    import pyarrow as pa

_RULE_OF_THREE = 3
"""Of n rows without a contradiction, at most 3/n of all rows contradict, 95 times in 100."""


@dataclass(frozen=True, slots=True)
class StreamColumns:
    """A stream's columns, what was looked at, and where the columns land.

    Args:
        name: the stream's.
        schema: its columns.
        inferred: what looking at the rows said.
        system: the destination's; None: there is none.
        landings: by column.
    """

    name: str
    schema: pa.Schema
    inferred: Inferred
    system: str | None
    landings: dict[str, Landing]

    @property
    def at_most(self) -> float | None:
        """The share of rows that could contradict a column's type, 95 times in 100; None: exact."""
        rows = self.inferred.rows
        if self.inferred.whole or not rows:
            return None
        return min(_RULE_OF_THREE / rows, 1.0)

    @property
    def seen(self) -> dict[str, object]:
        """What was looked at, as plain data."""
        return {
            "rows": self.inferred.rows,
            "whole": self.inferred.whole,
            "rows_estimate": self.inferred.rows_estimate,
            "contradicting_at_most": self.at_most,
            "notes": list(self.inferred.notes),
        }

    @property
    def said(self) -> str:
        """The same for people, in one line."""
        rows = self.inferred.rows
        if rows is None:
            return f"{self.name}: the source says its types itself"
        if self.at_most is None:
            return f"{self.name}: all rows ({rows:,}) were looked at: every value is of its type"
        estimate = self.inferred.rows_estimate
        of = f" of about {estimate:,}" if estimate else ""
        return (
            f"{self.name}: {rows:,}{of} rows were looked at; if they are like the others, at most"
            f" {self.at_most:.2%} of all rows contradict a type (95%)"
        )

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a line for each column: stream, column, type, NULLs, landing, what is lost."""
        for field in self.schema:
            landing = self.landings.get(field.name)
            nulls = self.inferred.nulls.get(field.name)
            yield (
                self.name,
                field.name,
                shown(field),
                "" if nulls is None else f"{nulls:,}",
                landing.ddl if landing else "",
                (landing.loss or "") if landing else "",
            )

    def as_json(self) -> list[dict[str, object]]:
        """Return the columns as plain data."""
        out = []
        for item in schema_to_json(self.schema):
            column, name = dict(item), str(item["name"])
            if name in self.inferred.nulls:
                column["nulls"] = self.inferred.nulls[name]
            landing = self.landings.get(name)
            if landing is not None and self.system is not None:
                column[self.system] = landing.ddl
                column |= {"loses": landing.loss} if landing.loss else {}
            out.append(column)
        return out

    def remarks(self) -> dict[str, str]:
        """Return what the file says beside each column."""
        rows = self.inferred.rows
        if rows is None:
            return {}
        counted = f"{rows:,} row{'' if rows == 1 else 's'}"
        return {
            name: f"NULL in {n:,} of {counted}" if n else f"no NULL in {counted}"
            for name, n in self.inferred.nulls.items()
        }


def infer_streams(
    pipeline: Pipeline, names: tuple[str, ...] | None, limit: int | None
) -> list[StreamColumns]:
    """Tell the columns of a pipeline's streams.

    Args:
        pipeline: the pipeline.
        names: the streams; None: all.
        limit: about how many bytes of files to look at; None: everything.

    Raises:
        ConduitError: a stream can't be read, or has a type that the destination has no place for.
    """
    out = []
    with pipeline.open() as ends:
        for stream in pipeline.select(names):
            try:
                found = infer(ends.source, stream_ref(stream), limit)
                out.append(_columns(stream.name, found, ends.destination))
            except ConduitError as error:
                raise pipeline.at(error, stream.name, "conduit discover") from error.__cause__
    return out


def infer_file(path: str, limit: int | None) -> list[StreamColumns]:
    """Tell the columns of data files: a path, a glob or a URL.

    Raises:
        ConfigError: the name tells no type.
        SourceDataError: a file isn't what its name says.
    """
    source, ref, name = file_source(path)
    try:
        return [_columns(name, infer(source, ref, limit), None)]
    finally:
        source.close()


def schema_file(streams: list[StreamColumns]) -> str:
    """Return the schema file, with how sure each stream's columns are as comments."""
    head = [s.said for s in streams if s.inferred.rows is not None]
    if any(s.at_most is not None for s in streams):
        head.append("nullable: false says that no NULL was seen among them")
    return write_schemas(
        {s.name: s.schema for s in streams}, {s.name: s.remarks() for s in streams}, head
    )


def _columns(name: str, found: Inferred, destination: Destination | None) -> StreamColumns:
    schema = without_ours(found.schema)
    landings = {} if destination is None else {f.name: destination.landing(f) for f in schema}
    system = None if destination is None else destination.system
    return StreamColumns(name, schema, found, system, landings)
