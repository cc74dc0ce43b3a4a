"""The steps that a publish is made of, as data: what a destination runs, or prints, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from conduit_core.connectors.publish import Column, Guard
from conduit_core.connectors.sql.session import Row, Value
from conduit_core.errors import ConduitError
from conduit_core.types.dialect import Table


@dataclass(frozen=True, slots=True)
class Sql:
    """One statement.

    Args:
        text, values: what is run.
        count: what its affected rows add to.
        when: a count without which (0) the statement isn't run.
    """

    text: str
    values: tuple[Value, ...] = ()
    count: str | None = None
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Ingest:
    """The staged rows stream into a table.

    Args:
        table, columns: where they go.
        count: what the driver's row count adds to.
        numbered: the name of a column that takes each row's place in the order of reading, where
            the system doesn't keep that order itself.
    """

    table: Table
    columns: tuple[Column, ...]
    count: str | None = None
    numbered: str | None = None


@dataclass(frozen=True, slots=True)
class LookForRows:
    """``target_has_rows`` becomes 1 if the target has a row."""

    table: Table


@dataclass(frozen=True, slots=True)
class Count:
    """The number that a query gives adds to ``count``."""

    text: str
    count: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A query that gives no rows, or the load ends with ``error`` of them.

    With ``when``, the query isn't run where that count is 0.
    """

    text: str
    error: Callable[[list[Row]], ConduitError]
    when: str | None = None


Step = Sql | Ingest | LookForRows | Count | Refuse | Guard


def temp_name(role: str, load_id: str) -> str:
    """Return the name of a private relation of a load: short, lower case, unlikely to be taken."""
    return f"_conduit_{role}_{hashlib.sha256(load_id.encode()).hexdigest()[:12]}"
