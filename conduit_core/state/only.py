"""A slice by value: the rows whose column has one of some values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from conduit_core.errors import StateError
from conduit_core.state.cursor import Value, from_text, to_text
from conduit_core.types.schema import parse_type

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Only:
    """Which rows: those whose ``column`` has one of ``values``, none of which is NULL.

    :meth:`of` makes the one form that the same values have, whatever their order.
    """

    column: str
    values: tuple[Value, ...]

    @classmethod
    def of(cls, column: str, values: Iterable[Value]) -> Self:
        """Return the canonical form: each value once, in the order of their texts.

        Raises:
            ValueError: there is no value, or a NULL among them, or values of two types.
        """
        given = list(values)
        if len({value.type for value in given}) != 1 or not all(v.is_valid for v in given):
            raise ValueError(f"a slice of {column!r} has values of one type, at least one, no NULL")
        found = {to_text(value): value for value in given}
        return cls(column, tuple(found[text] for text in sorted(found)))

    @property
    def type(self) -> pa.DataType:
        """The type of the values."""
        return self.values[0].type

    def to_item(self) -> dict[str, object]:
        """Return it as part of a window's JSON."""
        texts = [to_text(value) for value in self.values]
        return {"column": self.column, "type": str(self.type), "values": texts}

    @classmethod
    def from_item(cls, item: dict[str, object]) -> Self:
        """Read what :meth:`to_item` wrote.

        Raises:
            StateError: it is not of that form.
        """
        try:
            kind, texts = parse_type(str(item["type"])), item["values"]
            if not isinstance(texts, list):
                raise TypeError("values")
            return cls.of(str(item["column"]), [from_text(kind, str(text)) for text in texts])
        except (ValueError, KeyError, TypeError, ArithmeticError, pa.ArrowException) as error:
            raise StateError(f"not a slice by value: {item!r}", command="conduit runs") from error

    def holds(self, column: pa.Array[pa.Scalar[pa.DataType]]) -> pa.BooleanArray:
        """Return which values of a column are among these; NULL isn't.

        Raises:
            StateError: they don't compare.
        """
        import pyarrow.compute as pc

        try:
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            values = pa.array([value.as_py() for value in self.values], self.type)
            mask = pc.is_in(column, value_set=values.cast(column.type), skip_nulls=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise StateError(
                f"a slice by values of {self.type} can't be compared with column {self.column!r}"
                f" of type {column.type}",
                command="conduit plan",
            ) from error
        return mask

    def is_apart(self, other: Only) -> bool:
        """Say whether no row can be in both, which one column of one type alone can tell."""
        if (self.column, self.type) != (other.column, other.type):
            return False
        return {to_text(v) for v in self.values}.isdisjoint(to_text(v) for v in other.values)

    def display(self) -> str:
        """Return it for people: ``region = 'eu'``, ``customer in (41, 42)``."""
        quoted = pa.types.is_string(self.type) or pa.types.is_large_string(self.type)
        texts = [repr(text) if quoted else text for text in map(to_text, self.values)]
        if len(texts) == 1:
            return f"{self.column} = {texts[0]}"
        if len(texts) > _SHOWN:
            texts = [*texts[:_SHOWN], f"and {len(texts) - _SHOWN} more"]
        return f"{self.column} in ({', '.join(texts)})"
