"""What a merge by key needs of a system: how it compares and orders, and where rows lie."""

from __future__ import annotations

from collections.abc import Callable

from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import Row, SqlSession
from conduit_core.connectors.sql.steps import Tell
from conduit_core.errors import SourceDataError, number
from conduit_core.types.dialect import Table

POSITION = "_conduit_position"
"""The column of the temporary relation that says in which order the rows were read."""


class Merging:
    """How a system says what a merge needs; subclasses live in the connector's folder."""

    position_ddl = "BIGINT"
    numbers_rows = True
    """Whether the position comes with the rows; else the system fills it in, in their order."""
    place_is_unique = True
    """Whether no two rows of a target have the same place."""

    def comparable(self, column: Column, value: str) -> str:
        """Return the value so that ``IS DISTINCT FROM`` tells whether it was changed."""
        return value

    def ordered(self, column: Column, value: str) -> str:
        """Return the value so that it orders as the cursor does."""
        return value

    def can_be_key(self, column: Column) -> bool:
        """Say whether two values of the column's type can be equal."""
        return True

    def can_order(self, column: Column) -> bool:
        """Say whether :meth:`ordered` orders the column's values as their type does."""
        return True

    def typed(self, column: Column, parameter: str) -> str:
        """Return a parameter that is bound as text, as a value of the column's type."""
        return f"CAST({parameter} AS {column.ddl})"

    def fills(self, session: SqlSession, target: Table) -> frozenset[str]:
        """Return the columns of the target that have a value of their own: defaults, identities."""
        return frozenset()

    def place(self, session: SqlSession, target: Table, columns: tuple[Column, ...]) -> str | None:
        """Return the column that says where in the target a row lies; None where there is none."""
        return "rowid" if all(c.name.lower() != "rowid" for c in columns) else None

    def rewrites(self, session: SqlSession, target: Table) -> bool:
        """Say whether rows are better deleted and inserted anew than updated; they have a place."""
        return False

    def hold(self, target: str) -> list[str]:
        """Return what keeps others from changing the target until the transaction ends."""
        return []

    def filled(self, staged: str, key: str) -> list[str]:
        """Return what is run once the temporary relation is filled."""
        return []

    def paired(self, pairs: str) -> list[str]:
        """Return what is run once the pairs are found."""
        return []

    def go_to_places(self) -> list[str]:
        """Return what is run before rows are changed where the pairs say that they lie."""
        return []

    def merged(self) -> list[str]:
        """Return what is run once the pairs have done their work."""
        return []

    def doubled(self, staged: str, key: tuple[Column, ...], listed: str) -> str:
        """Return the query of a number that is 0 where no key comes twice; none is NULL."""
        twice = f"SELECT 1 FROM {staged} GROUP BY {listed} HAVING count(*) > 1 LIMIT 1"
        return f"SELECT count(*) FROM ({twice}) AS d"

    def at_once(self, session: SqlSession, target: Table) -> Callable[[str], Tell] | None:
        """Return how a MERGE into the target tells what it did; None where it can't be asked to.

        Of the rows that its join gave it tells how many it ``inserted``, ``updated``, and left
        alone (``unchanged``).
        """
        return None


def null_in_key(found: list[Row], key: tuple[str, ...], so: str) -> SourceDataError:
    """Return the error of rows with a NULL in the key, whose number a query found."""
    which = "the unique_key" if len(key) == 1 else "a column of the unique_key"
    rows = number(int(str(found[0][0])), "row has", "rows have")
    return SourceDataError(
        f"{rows} a NULL in {which} ({', '.join(key)}), so {so}: leave them out in a `query:` (WHERE"
        " ... IS NOT NULL), or choose a key that every row has",
        command="conduit plan",
    )


def comes_after(
    one: str,
    other: str,
    order: tuple[str, ...],
    quote: Callable[[str], str],
    ordered: Callable[[str, str], str],
) -> str:
    """Return the condition that a row comes after another by ``order``; NULL is before all values.

    Args:
        one: the alias of the row.
        other: the alias of the other.
        order: the columns; at least one.
        quote: quotes a name.
        ordered: gives a column, by its name and ``alias.``, so that it orders as the cursor does.
    """
    first, rest = order[0], order[1:]
    mine, theirs = ordered(first, f"{one}."), ordered(first, f"{other}.")
    null = f"({one}.{quote(first)} IS NOT NULL AND {other}.{quote(first)} IS NULL)"
    newer = f"COALESCE({mine} > {theirs}, {null})"
    if not rest:
        return newer
    next_ones = comes_after(one, other, rest, quote, ordered)
    return f"{newer} OR ({mine} IS NOT DISTINCT FROM {theirs} AND ({next_ones}))"
