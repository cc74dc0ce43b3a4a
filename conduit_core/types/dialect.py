"""How a SQL system spells things: identifiers, literals of DDL, column types. Text only, no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Table:
    """A table by schema and name, as the system spells them (case kept). Schema may be empty."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a source column lands in a new table of a system.

    Args:
        ddl: the column's type in the system's DDL.
        arrow: the Arrow type that batches are cast to before they are handed to the destination.
        loss: what a reader of the table loses against the source, or None; shown by ``plan``.
    """

    ddl: str
    arrow: pa.DataType
    loss: str | None = None


Effort = Literal["catalogue", "rewrite", "rebuild", "impossible"]
"""What a column's change of type takes: an ALTER that touches no row, an ALTER that writes every
row again, a new table in the old one's place where the system has no such ALTER; or it can't be."""


class Dialect(ABC):
    """The text rules of one system; subclasses live in the connector's folder."""

    name: str
    max_identifier_bytes: int | None = None
    placeholder: str = "?"
    has_ddl: bool = True
    """Whether the system makes tables by statements."""

    def quote(self, identifier: str) -> str:
        """Return the identifier quoted; quotes inside are doubled (the SQL standard's rule).

        Raises:
            ValueError: the identifier is empty or has a NUL character.
        """
        if not identifier or "\0" in identifier:
            raise ValueError(f"not an identifier: {identifier!r}")
        return '"' + identifier.replace('"', '""') + '"'

    def table(self, table: Table) -> str:
        """Return the table quoted, with its schema if it has one."""
        if not table.schema:
            return self.quote(table.name)
        return f"{self.quote(table.schema)}.{self.quote(table.name)}"

    def columns(self, names: list[str] | tuple[str, ...]) -> str:
        """Return a comma list of quoted column names."""
        return ", ".join(self.quote(n) for n in names)

    def param(self, position: int) -> str:
        """Return the placeholder of the ``position``-th bound value (from 1)."""
        return self.placeholder

    @abstractmethod
    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where the field lands in a new table.

        Raises:
            SchemaError: the system has no place for the type.
        """

    @abstractmethod
    def field_of(self, name: str, ddl: str, *, nullable: bool = True) -> pa.Field[pa.DataType]:
        """Return what a column of a DDL type holds, with its tags: :meth:`landing` the other way.

        The field of a landing's DDL lands in that DDL again, so that a source's columns, taken
        through both, can be compared with a target's.
        """

    @abstractmethod
    def effort(self, old: str, new: str) -> Effort:
        """Say what it takes to widen a column from one DDL type to another."""

    def alter_type(self, table: Table, column: str, ddl: str) -> str:
        """Return the statement that widens a column to a DDL type; not where it is a rebuild."""
        return f"ALTER TABLE {self.table(table)} ALTER COLUMN {self.quote(column)} TYPE {ddl}"

    def drop_not_null(self, table: Table, column: str) -> str | None:
        """Return the statement that lets a column have NULLs; None where it takes a rebuild."""
        return f"ALTER TABLE {self.table(table)} ALTER COLUMN {self.quote(column)} DROP NOT NULL"

    def converted(self, expression: str, old: str, new: str) -> str:
        """Return the SQL of a column's value in a wider DDL type, for a rebuild."""
        return f"CAST({expression} AS {new})"
