"""What ``conduit schema diff`` finds: streams compared one by one, those that can't be included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.schemafiles import dialect_named, expected_side, read_sides
from conduit_core.engine.schemas import (
    Side,
    dialect_of,
    differences,
    everything,
    source_side,
    target_side,
)
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.spec import StreamSpec
from conduit_core.types.dialect import Dialect
from conduit_core.types.diff import Change
from conduit_core.types.fields import Field, shown

SOURCE, TARGET, EXPECTED = "source", "target", "expected"
WORDS = frozenset({SOURCE, TARGET, EXPECTED})


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found of one stream.

    Args:
        stream: its name.
        changes: all differences.
        notes: what couldn't differ: there is no table yet.
        error: why it can't be compared.
    """

    stream: str
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    error: ConduitError | None = None

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a line for each difference: stream, column, kind, sides, both types, remedy."""
        for c in self.changes:
            between = ", ".join(c.between)
            yield self.stream, c.column, c.kind, between, _text(c.old), _text(c.new), c.remedy

    def as_json(self) -> Iterator[dict[str, object]]:
        """Yield each difference as plain data."""
        for c in self.changes:
            yield {
                "stream": self.stream,
                "kind": c.kind,
                "column": c.column,
                "between": list(c.between),
                "old": _text(c.old) or None,
                "new": _text(c.new) or None,
                "becomes": _text(c.wider) or None,
                "other": c.other,
                "fact": c.fact,
                "remedy": c.remedy,
            }


def compare(
    pipeline: Pipeline,
    sides: tuple[str, str] | None,
    names: tuple[str, ...] | None,
    dialect: str | None = None,
) -> list[Compared]:
    """Compare two sides of a pipeline's streams, or the target with the source.

    Args:
        pipeline: the pipeline.
        sides: two of ``source``, ``target``, ``expected`` and paths of schema files; None: each
            target with its source, and what is expected with both.
        names: the streams; None: all, or those that a file names.
        dialect: whose types a dbt file speaks; None: the destination's.

    Raises:
        ConfigError: there is no such stream or file.
    """
    if names is None and sides is not None:
        names = _named(pipeline, sides, dialect)
    out: list[Compared] = []
    with pipeline.open() as ends:
        speaks = dialect_named(dialect) if dialect else dialect_of(ends.destination)
        for stream in pipeline.select(names):
            try:
                out.append(_compare(pipeline, stream, ends, sides, speaks))
            except ConduitError as error:
                failed = pipeline.at(error, stream.name, "conduit schema diff")
                out.append(Compared(stream.name, error=failed))
    return out


def compare_files(
    paths: tuple[str, str], names: tuple[str, ...] | None, dialect: str | None = None
) -> list[Compared]:
    """Compare two schema files; a stream that one of them lacks has no columns there.

    Raises:
        ConfigError: a file is missing or wrong, or neither says of which stream it is.
    """
    speaks = dialect_named(dialect) if dialect else None
    old, new = (read_sides(Path(p), speaks) for p in paths)
    if isinstance(old, Side) and isinstance(new, Side):
        name = names[0] if names else Path(paths[1]).stem
        return [Compared(name, differences(old, new))]
    there = [s for s in (old, new) if not isinstance(s, Side)]
    streams = names or tuple(dict.fromkeys(n for s in there for n in s))
    if len(streams) != 1 and len(there) == 1:
        raise ConfigError(
            f"one file is of one stream, the other has {', '.join(streams)}: choose one",
            command=f"conduit schema diff {' '.join(paths)} --stream {streams[0]}",
        )
    return [_of_files(paths, (old, new), name) for name in streams]


def _of_files(
    paths: tuple[str, str], read: tuple[dict[str, Side] | Side, dict[str, Side] | Side], name: str
) -> Compared:
    import pyarrow as pa

    sides: list[Side] = []
    for path, found in zip(paths, read, strict=True):
        absent = Side(path, pa.schema([]), loose=True)
        sides.append(found if isinstance(found, Side) else found.get(name, absent))
    return Compared(name, differences(*sides))


def _named(
    pipeline: Pipeline, sides: tuple[str, str], dialect: str | None
) -> tuple[str, ...] | None:
    """Return the streams that the files among the sides name; None: they name none."""
    names: list[str] = []
    for side in sides:
        if side in WORDS:
            continue
        with pipeline.open() as ends:
            speaks = dialect_named(dialect) if dialect else dialect_of(ends.destination)
        found = read_sides(Path(side), speaks)
        if isinstance(found, Side) and len(pipeline.streams) > 1:
            streams = ", ".join(s.name for s in pipeline.streams)
            raise ConfigError(
                f"{side} is of one stream, and doesn't say which: choose one of {streams}",
                command=f"conduit schema diff --stream {pipeline.streams[0].name}",
            )
        names += [] if isinstance(found, Side) else list(found)
    return tuple(dict.fromkeys(names)) or None


def _compare(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    sides: tuple[str, str] | None,
    dialect: Dialect | None,
) -> Compared:
    if sides is None:
        target = target_side(pipeline, stream, ends.destination)
        path = expected_path(pipeline, stream)
        expected = expected_side(path, stream.name, dialect) if path else None
        source = source_side(ends.source, stream)
        found = everything(source, target, expected, ends.destination)
        return Compared(stream.name, found, _without_table(target))
    read: list[Side | None] = [_side(pipeline, stream, ends, word, dialect) for word in sides]
    old, new = read
    if old is None or new is None:
        return Compared(stream.name, (), _without_table(None))
    return Compared(stream.name, differences(old, new))


def _side(
    pipeline: Pipeline, stream: StreamSpec, ends: Ends, word: str, dialect: Dialect | None
) -> Side | None:
    if word == SOURCE:
        return source_side(ends.source, stream)
    if word == TARGET:
        return target_side(pipeline, stream, ends.destination)
    path: Path | None = Path(word)
    if word == EXPECTED:
        path = expected_path(pipeline, stream)
    if path is None:
        raise ConfigError(
            "the stream has no `expected:` file; name a schema file instead",
            command="conduit schema export --output expected.yml",
        )
    return expected_side(path, stream.name, dialect)


def expected_path(pipeline: Pipeline, stream: StreamSpec) -> Path | None:
    """Return the stream's ``expected:`` file; None: it names none."""
    return pipeline.loaded.base_dir / stream.expected if stream.expected else None


def _without_table(target: Side | None) -> tuple[str, ...]:
    return () if target is not None else ("there is no table yet: the first load makes it",)


def _text(field: Field | None) -> str:
    return "" if field is None else shown(field)
