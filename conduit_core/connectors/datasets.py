"""What lineage calls tables and files: OpenLineage's namespaces and names. Pure functions.

A literal dot in a part of a table's name is escaped, as the naming rules say. Where they have none
(DuckDB, SQLite), the namespace is the file's URL; DuckDB's is then what dbt's integration writes.
"""

from __future__ import annotations

import posixpath
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from conduit_core.spec.names import file_type, split_table
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from sqlglot import exp

    from conduit_core.connectors.base import StreamRef

_ALL_FILES = re.compile(r"(?:^|/)(?:\*\*/)?\*(?:\.[\w.]+)?$")
_AZURE = ".dfs.core.windows.net"
_AZURE_SCHEMES = ("abfs", "abfss")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table or a set of files, as OpenLineage names it; without secrets.

    Args:
        namespace: the system: ``postgres://host:5432``, ``s3://bucket``, ``file``.
        name: what it is called there: ``database.schema.table``, or a path.
    """

    namespace: str
    name: str


@runtime_checkable
class NamesSources(Protocol):
    """Trait: a source that can name what a stream reads."""

    def datasets(self, ref: StreamRef) -> tuple[Dataset, ...]:
        """Return what a stream reads; nothing where that can't be told. Connects to nothing."""
        ...


@runtime_checkable
class NamesTargets(Protocol):
    """Trait: a destination that can name its tables."""

    def dataset(self, target: Table) -> Dataset:
        """Return a target. Connects to nothing."""
        ...


def table_dataset(namespace: str, *parts: str) -> Dataset:
    """Return a table by its namespace and the parts of its name: database, schema, table."""
    return Dataset(namespace, ".".join(part.replace(".", r"\.") for part in parts if part))


def duckdb_dataset(path: Path, table: Table) -> Dataset:
    """Return a table of a DuckDB file, whose database is called as the file."""
    return table_dataset(f"duckdb://{path.as_posix()}", path.stem, table.schema, table.name)


def sqlite_dataset(path: Path, table: Table) -> Dataset:
    """Return a table of a SQLite file."""
    return table_dataset(f"sqlite://{path.as_posix()}", table.schema, table.name)


def files_dataset(root: str, path: str = "") -> Dataset:
    """Return files below a root: a folder, or a bucket's URL without secrets.

    A path such as ``orders/*.csv``, all files of a folder, is that folder; other patterns stay.

    Args:
        root: an absolute folder, a URL, or a store's identity: ``az://container/x at account``.
        path: relative to it.
    """
    where, _, server = root.partition(" at ")
    scheme, separator, rest = where.partition("://")
    path = _ALL_FILES.sub("", path)
    rest = rest.partition("?")[0]
    if not separator:
        return Dataset("file", posixpath.normpath(posixpath.join(where, path)))
    bucket, _, base = rest.partition("/")
    if scheme == "file":
        return Dataset("file", posixpath.normpath(f"/{base}/{path}"))
    if scheme == "az":
        host = server + _AZURE if re.fullmatch(r"\w+", server) else server  # an account
        scheme, bucket = "abfss", f"{bucket}@{host}" if host else bucket
    if scheme not in _AZURE_SCHEMES:
        bucket = bucket.rpartition("@")[2]
    name = posixpath.normpath(f"/{base}/{path}").strip("/")
    return Dataset(f"{scheme}://{bucket}", name or "/")


def tables_of(ref: StreamRef, dialect: str, default_schema: str) -> list[Table]:
    """Return the tables that a stream of a database reads; see :func:`query_tables`."""
    if ref.table is not None:
        schema, name = split_table(ref.table)
        return [Table(schema or default_schema, name)]
    found = query_tables(ref.query or "", dialect)
    return [Table(table.schema or default_schema, table.name) for table in found]


def query_tables(sql: str, dialect: str) -> tuple[Table, ...]:
    """Return the tables that a query reads; none without sqlglot, or where it can't tell.

    Args:
        sql: the query.
        dialect: its system, which sqlglot knows by the same name.
    """
    try:
        with warnings.catch_warnings():  # it warns of sqlglotrs, which others may have brought
            warnings.simplefilter("ignore", DeprecationWarning)
            import sqlglot
            from sqlglot.errors import SqlglotError
    except ImportError:
        return ()
    try:
        found = list(_tables(sqlglot.parse_one(sql, dialect=dialect), dialect))
    except (SqlglotError, RecursionError):
        return ()
    return tuple(dict.fromkeys(found))


def _tables(tree: exp.Expr, dialect: str) -> Iterator[Table]:
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    def name(part: object) -> str:
        if not isinstance(part, exp.Identifier):
            return ""
        text = str(part.this)
        return text.lower() if dialect == "postgres" and not part.args.get("quoted") else text

    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
                continue  # a query, or a function
            if file_type(source.name) is None:  # DuckDB reads files, too
                yield Table(name(source.args.get("db")), name(source.this))
