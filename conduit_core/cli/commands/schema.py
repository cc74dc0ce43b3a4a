"""``conduit schema infer | export | diff``: schemas told from values, written, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Column, Screen
from conduit_core.cli.session import Session

if TYPE_CHECKING:
    from conduit_core.engine.findings import Compared
    from conduit_core.engine.inferring import StreamColumns


class Format(StrEnum):
    """What an export is written as."""

    yaml = "yaml"
    sql = "sql"
    arrow = "arrow"
    pandera = "pandera"
    dbt = "dbt"


class Of(StrEnum):
    """Whose columns."""

    source = "source"
    target = "target"


class DialectName(StrEnum):
    """Whose DDL types."""

    postgres = "postgres"
    duckdb = "duckdb"
    sqlite = "sqlite"


Output = Annotated[
    str | None, typer.Option("--output", metavar="FILE", help="Write to this file, not to stdout.")
]
Dialects = Annotated[
    DialectName | None,
    typer.Option("--dialect", help="Whose types sql and dbt speak; default: the destination's."),
]

# --- infer ----------------------------------------------------------------------------------------

_INFERRED: tuple[Column, ...] = (
    ("stream", "left"),
    ("column", "left"),
    ("type", "left"),
    ("NULLs", "right"),
    ("lands as", "left"),
    ("loses", "left"),
)
_SIZE = re.compile(r"(\d{1,12})\s*(B|KiB|MiB|GiB)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


def infer(
    session: Session,
    file: Annotated[
        str,
        typer.Argument(
            metavar="[PIPELINE_FILE]", help="The pipeline file; or data files: a path or a glob."
        ),
    ] = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    sample: Annotated[
        str, typer.Option("--sample", help="How much of files to look at: a size, or `all`.")
    ] = "2MiB",
    output: Output = None,
) -> Answer:
    """Tell columns from values, with how sure that is; write them as a schema file."""
    from conduit_core.cli.startup import arrow_without_pandas
    from conduit_core.spec.names import file_type

    arrow_without_pandas()
    from conduit_core.engine.inferring import infer_file, infer_streams, schema_file

    limit = _limit(sample)
    if file_type(file) is not None:
        found, name = infer_file(file, limit), None
    else:
        pipeline = session.pipeline(file)
        name = pipeline.name
        found = infer_streams(pipeline, tuple(stream) if stream else None, limit)
    text = schema_file(found)
    _write(output, text.encode())

    def show(screen: Screen) -> None:
        if output is None:
            screen.line(text.rstrip())
            return
        screen.table(_INFERRED, [row for s in found for row in s.rows()])
        for one in found:
            screen.line(one.said)
        screen.line(f"wrote {output}")

    return Answer(_inferred(name, found, output), show)


def _inferred(
    pipeline: str | None, found: list[StreamColumns], output: str | None
) -> dict[str, object]:
    return {
        "pipeline": pipeline,
        "streams": {s.name: s.as_json() for s in found},
        "seen": {s.name: s.seen for s in found},
        "output": output,
    }


def _limit(sample: str) -> int | None:
    from conduit_core.errors import ConfigError

    if sample == "all":
        return None
    match = _SIZE.fullmatch(sample.strip())
    if match is None or int(match[1]) < 1:
        raise ConfigError(
            f"--sample {sample!r} is no size: write 2MiB, 500KiB or `all`",
            command="conduit schema infer --sample all",
        )
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


# --- export ---------------------------------------------------------------------------------------


def export(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.yaml,
    dialect: Dialects = None,
    of: Annotated[Of, typer.Option("--of", help="Whose columns.")] = Of.source,
    output: Output = None,
) -> Answer:
    """Write streams' columns, as the source has them or as the target holds them, for others."""
    pipeline = session.pipeline(file)
    from conduit_core.engine import schemafiles, schemas
    from conduit_core.errors import ConduitError, ConfigError
    from conduit_core.types.dialect import Table
    from conduit_core.types.schema import schema_to_json

    found, tables = {}, {}
    with pipeline.open() as ends:
        own = schemas.dialect_of(ends.destination)
        chosen = own if dialect is None else schemafiles.dialect_named(dialect)
        at_home = chosen is not None and own is not None and chosen.name == own.name
        for one in pipeline.select(tuple(stream) if stream else None):
            target = pipeline.target(one, ends.destination)
            tables[one.name] = target if at_home else Table("", target.name)
            try:
                found[one.name] = schemas.describe_stream(pipeline, one.name, ends, of)
            except ConduitError as error:
                raise pipeline.at(error, one.name, "conduit discover") from error.__cause__
    data = schemafiles.written(form.value, found, chosen, tables)
    if form is Format.arrow and output is None:
        raise ConfigError(
            "an Arrow schema is bytes: name a file for it by --output",
            command="conduit schema export --format arrow --output schema.arrow",
        )
    _write(output, data)
    text = None if form is Format.arrow else data.decode()
    document = {
        "pipeline": pipeline.name,
        "of": of.value,
        "format": form.value,
        "dialect": chosen.name if chosen is not None else None,
        "streams": {name: schema_to_json(schema) for name, schema in found.items()},
        "text": text,
        "output": output,
    }
    done = f"wrote {output}" if output is not None else (text or "").rstrip()
    return Answer(document, lambda screen: screen.line(done))


def _write(output: str | None, data: bytes) -> None:
    from conduit_core.errors import ConfigError

    if output is None:
        return
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{output} can't be written: {error.strerror}", command="conduit schema export"
        ) from None


# --- diff -----------------------------------------------------------------------------------------

_CHANGES = (
    ("stream", "left"),
    ("column", "left"),
    ("change", "left"),
    ("between", "left"),
    ("was", "left"),
    ("is", "left"),
    ("remedy", "left"),
)


def diff(
    session: Session,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE_FILE] [OLD NEW]",
            help="The pipeline file; what to compare: two of source, target, a schema file.",
        ),
    ] = None,
    *,
    stream: options.Streams = None,
    dialect: Dialects = None,
) -> Answer:
    """Compare source, target and schema files, two of them or all; exit 4 where they differ."""
    file, sides = _sides(words or [])
    names = tuple(stream) if stream else None
    from conduit_core.cli.startup import arrow_without_pandas

    arrow_without_pandas()
    from conduit_core.engine import findings

    if sides is not None and not findings.WORDS & set(sides):
        name, found = None, findings.compare_files(sides, names, dialect)
    else:
        pipeline = session.pipeline(file)
        name, found = pipeline.name, findings.compare(pipeline, sides, names, dialect)
    return _compared(name, found)


def _sides(words: list[str]) -> tuple[str, tuple[str, str] | None]:
    """Return the pipeline file and what to compare."""
    from conduit_core.errors import ConfigError

    match words:
        case []:
            return options.DEFAULT_FILE, None
        case [file]:
            return file, None
        case [old, new]:
            return options.DEFAULT_FILE, (old, new)
        case [file, old, new]:
            return file, (old, new)
    raise ConfigError(
        f"diff takes a pipeline file and two things to compare, not {len(words)}",
        command="conduit schema diff --help",
    )


def _compared(pipeline: str | None, found: list[Compared]) -> Answer:
    from conduit_core.errors import SchemaError, number

    errors = tuple(c.error for c in found if c.error is not None)
    # What the old side holds anyway is told, and is no reason to stop anything.
    telling = {c.stream: [x for x in c.changes if x.kind != "narrowed"] for c in found}
    count = sum(len(changes) for changes in telling.values())
    document: Mapping[str, object] = {
        "pipeline": pipeline,
        "equal": not count and not errors,
        "streams": [c.stream for c in found],
        "findings": [item for c in found for item in c.as_json()],
        "notes": {c.stream: list(c.notes) for c in found if c.notes},
    }
    if count and not errors:
        where = ", ".join(stream for stream, changes in telling.items() if changes)
        text = f"{number(count, 'difference', 'differences')} in {where}"
        errors = (SchemaError(text, pipeline=pipeline, command="conduit plan"),)

    def show(screen: Screen) -> None:
        screen.table(_CHANGES, [row for c in found for row in c.rows()])
        for one in found:
            for note in one.notes:
                screen.line(f"{one.stream}: {note}")
        if not count and not errors:
            screen.line(f"no difference in {', '.join(c.stream for c in found)}")

    code = errors[0].exit_code if errors else 0
    return Answer(document, show, exit_code=code, errors=errors)
