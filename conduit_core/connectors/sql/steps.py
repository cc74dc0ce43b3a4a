"""The steps that a publish is made of, as data: what a destination runs, or prints, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import Column, Guard
from conduit_core.connectors.sql.session import Row, Value
from conduit_core.errors import ConduitError
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Sql:
    """One statement.

    Args:
        text, values: what is run.
        count: what its affected rows add to.
        also: another count that they add to.
        when: a count without which (0) the statement isn't run.
    """

    text: str
    values: tuple[Value, ...] = ()
    count: str | None = None
    also: str | None = None
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Alter(Sql):
    """A statement that changes the target's columns; ``what`` says what can't be if it fails."""

    what: str = ""


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
class IngestKeys:
    """The key rows (:class:`conduit_core.connectors.base.KeyRows`) stream into a table.

    Their number adds to ``keys``.
    """

    table: Table
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """The rows of some keys are read at the source once more, and join the staged rows.

    Args:
        keys: the query of the keys; the count ``lacking`` says how many it gives.
        sample: the query of a few of them, as text.
        target: the table that lacks them, for people.
        into: where the rows go.
    """

    keys: str
    sample: str
    target: str
    into: Ingest


@dataclass(frozen=True, slots=True)
class Sample:
    """A query of keys, as text, that the next statements take away: for guards to show.

    With ``when``, it isn't run where that count is 0.
    """

    text: str
    values: tuple[Value, ...] = ()
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """The number that a query gives adds to ``count``, and to ``also``."""

    text: str
    count: str
    also: str | None = None
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Tell:
    """A statement that does something and gives rows, in which ``read`` finds what adds to counts.

    What it finds adds to ``total`` too.
    """

    text: str
    read: Callable[[list[Row]], Mapping[str, int]]
    total: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A query that gives no rows, or the load ends with ``error`` of them.

    With ``when``, the query isn't run where that count is 0.
    """

    text: str
    error: Callable[[list[Row]], ConduitError]
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """A query of whose rows ``note`` makes a note for people, if there is something to say."""

    text: str
    note: Callable[[list[Row]], str | None]


@dataclass(frozen=True, slots=True)
class ReadLetters:
    """The open letters stream into a table: id, place, and columns of their payloads.

    Not run where the count ``open_letters`` is 0. Letters that don't decode are left out.

    Args:
        text, values: the query for (id, payload).
        table, columns: where they go.
        schema: the payloads' columns.
    """

    text: str
    values: tuple[Value, ...]
    table: Table
    columns: tuple[Column, ...]
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class IngestLetters:
    """The load's rejected rows stream into a table; not run where the count ``letters`` is 0.

    ``letters_again`` is their number where there are open letters, too.
    """

    table: Table
    columns: tuple[Column, ...]


Step = (
    Sql
    | Ingest
    | IngestKeys
    | IngestLetters
    | ReadAgain
    | ReadLetters
    | LookForRows
    | Sample
    | Count
    | Tell
    | Refuse
    | Remark
    | Guard
)


def temp_name(role: str, load_id: str) -> str:
    """Return the name of a private relation of a load: short, lower case, unlikely to be taken."""
    return f"_conduit_{role}_{hashlib.sha256(load_id.encode()).hexdigest()[:12]}"
