"""Schema files of every format: written from schemas, and read back where that can be.

YAML, Arrow's own form, a pandera module and dbt's columns can be read; SQL is executed instead.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from conduit_core.engine.schemas import Side
from conduit_core.errors import ConfigError
from conduit_core.spec.expected import read_schemas, write_schemas
from conduit_core.types.dialect import Dialect, Table
from conduit_core.types.diff import landed
from conduit_core.types.exports import from_arrow, from_dbt, to_arrow, to_dbt, to_ddl
from conduit_core.types.pandera import from_pandera, to_pandera

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["yaml", "sql", "arrow", "pandera", "dbt"]
_T = TypeVar("_T")
_ONE = frozenset({"arrow", "pandera", "dbt"})
"""Formats whose file is of one stream."""
_EXPORT = "conduit schema export"


def dialect_named(name: str) -> Dialect:
    """Return a system's dialect.

    Raises:
        ConfigError: there is none of that name.
    """
    match name:
        case "postgres":
            from conduit_core.connectors.postgres.types import PostgresDialect

            return PostgresDialect()
        case "duckdb":
            from conduit_core.connectors.duckdb.types import DuckDBDialect

            return DuckDBDialect()
        case "sqlite":
            from conduit_core.connectors.sqlite.types import SqliteDialect

            return SqliteDialect()
    raise ConfigError(
        f"no dialect {name!r}; there are postgres, duckdb, sqlite", command=f"{_EXPORT} --help"
    )


def written(
    form: Format,
    schemas: Mapping[str, pa.Schema],
    dialect: Dialect | None,
    tables: Mapping[str, Table],
) -> bytes:
    """Return the file that says these schemas.

    Args:
        form: the format.
        schemas: by stream.
        dialect: of ``sql`` and ``dbt``.
        tables: by stream; of ``sql``.

    Raises:
        ConfigError: the format holds one stream, or needs a dialect.
        SchemaError: the dialect's system has no place for a type.
    """
    if form in _ONE and len(schemas) != 1:
        names = ", ".join(schemas)
        raise ConfigError(
            f"a file of format {form} holds one stream: choose one of {names}",
            command=f"{_EXPORT} --format {form} --stream {next(iter(schemas))}",
        )
    if form == "yaml":
        return write_schemas(schemas).encode()
    name, schema = next(iter(schemas.items()))
    if form == "arrow":
        return to_arrow(schema)
    if form == "pandera":
        return to_pandera(schema, name).encode()
    if dialect is None:
        raise ConfigError(
            f"{form} speaks a database's types, and the destination is none: say which",
            command=f"{_EXPORT} --format {form} --dialect postgres",
        )
    if form == "dbt":
        return to_dbt(schema, dialect, name).encode()
    return "\n".join(to_ddl(s, dialect, tables[n]) for n, s in schemas.items()).encode()


def read_sides(path: Path, dialect: Dialect | None = None) -> dict[str, Side] | Side:
    """Return the schemas of a file by stream, or the one of a file that names none.

    Args:
        path: the file; its suffix tells the format.
        dialect: whose types a dbt file speaks.

    Raises:
        ConfigError: it is missing, wrong, or of a format that can't be read back.
    """
    readers: dict[str, Callable[[bytes], dict[str, Side] | Side]] = {
        ".yml": partial(_yaml, path, dialect),
        ".yaml": partial(_yaml, path, dialect),
        ".arrow": partial(_arrow, path),
        ".arrows": partial(_arrow, path),
        ".py": partial(_pandera, path),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        hint = (
            "SQL is not read back: execute it, and compare `target`"
            if path.suffix.lower() == ".sql"
            else f"its name tells no format: {', '.join(readers)}"
        )
        raise ConfigError(f"{path}: {hint}", command="conduit schema diff --help")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; a side is `source`, `target` or a schema file",
            command="conduit schema export",
        ) from None
    return reader(data)


def expected_side(path: Path, stream: str, dialect: Dialect | None = None) -> Side:
    """Return what a schema file says of a stream.

    Raises:
        ConfigError: as :func:`read_sides`, or the file has no such stream.
    """
    found = read_sides(path, dialect)
    if isinstance(found, Side):
        return found
    if stream not in found:
        raise ConfigError(
            f"{path}: it has no stream {stream!r}; there are {', '.join(found) or 'none'}",
            command="conduit schema infer",
        )
    return found[stream]


def _yaml(path: Path, dialect: Dialect | None, data: bytes) -> dict[str, Side]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text", command=_EXPORT) from None
    if not _is_dbt(text):
        return {n: Side(str(path), s, loose=True) for n, s in read_schemas(text, str(path)).items()}
    if dialect is None:
        raise ConfigError(
            f"{path}: a dbt file speaks a database's types: say which",
            command="conduit schema diff --dialect postgres",
        )
    lands = partial(landed, dialect=dialect)
    found = _read(path, lambda: from_dbt(text, dialect))
    return {n: Side(str(path), s, lands) for n, s in found.items()}


def _is_dbt(text: str) -> bool:
    return any(line.startswith(("models:", "sources:")) for line in text.splitlines())


def _arrow(path: Path, data: bytes) -> Side:
    return Side(str(path), _read(path, lambda: from_arrow(data)), loose=True)


def _pandera(path: Path, _: bytes) -> Side:
    try:
        found = runpy.run_path(str(path)).get("schema")
    except Exception as error:  # a module of the user's: whatever it raises, it doesn't run
        text = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{path}: it doesn't run: {text}", command=_EXPORT) from error
    return Side(str(path), _read(path, lambda: from_pandera(found)), loose=True)


def _read(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", command=_EXPORT) from None
