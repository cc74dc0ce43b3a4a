"""What differs between two schemas, column by column, as typed changes. Pure.

Both sides are Arrow schemas with tags. Beside a destination they are what its columns hold: its
catalogue through ``Dialect.field_of``, and a source through :func:`landed`, so that a difference is
one of the table, not one of the systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

import pyarrow as pa

from conduit_core.types.casts import can_hold
from conduit_core.types.dialect import Dialect, Landing
from conduit_core.types.fields import Field, same_type, shown, widen_field
from conduit_core.types.schema import max_length

Kind = Literal[
    "added", "removed", "widened", "capacity", "narrowed", "incompatible", "nullability",
    "renamed", "case", "too_long", "too_many",
]  # fmt: skip
"""``capacity`` is a widening by which only a bound grows: characters, or digits of a decimal.
``narrowed``: the old type holds what comes, or each value is checked on its way in. ``renamed`` is
a hint beside an ``added`` and a ``removed``, never a fact."""

_OURS = "_conduit_"
"""How the names of the columns that Conduit adds begin: nobody renames a column to one of them."""
_ALIKE = 0.6
"""How alike two names are, from 0 to 1, to be taken for one that was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of one column.

    Args:
        kind: see ``Kind``.
        column: the column's name on the new side, or on the old one where only that has it.
        old, new: the field on either side, None where it hasn't one.
        wider: of ``widened`` and ``capacity``: what holds both; of ``nullability``: the old field
            with NULLs.
        other: of ``renamed`` the new name, of ``case`` the name it collides with.
        between: what the two sides are called.
        remedy: what to do about it.
    """

    kind: Kind
    column: str
    old: pa.Field[pa.DataType] | None
    new: pa.Field[pa.DataType] | None
    remedy: str
    between: tuple[str, str] = ("target", "source")
    wider: pa.Field[pa.DataType] | None = None
    other: str | None = None

    def __str__(self) -> str:
        return f"{self.fact}: {self.remedy}"

    @property
    def fact(self) -> str:
        """What is so, naming the column and both types, without the remedy."""
        old, new = self.between
        was = shown(self.old) if self.old is not None else ""
        now = shown(self.new) if self.new is not None else ""
        column = f"column {self.column!r}"
        match self.kind:
            case "added":
                return f"{column} ({now}) is new in the {new}: the {old} has none"
            case "removed":
                return f"{column} ({was}) of the {old} is not in the {new}"
            case "renamed":
                return f"{column} ({was}) may now be called {self.other!r}"
            case "case" if self.other == self.column:
                return f"{column} occurs twice in the {new}"
            case "case":
                return f"columns {self.column!r} and {self.other!r} differ by case only"
            case "too_long":
                return f"{column} has {len(self.column.encode())} bytes"
            case "too_many":
                return f"the {new} has more columns than one table takes"
            case _:
                return f"{column}: the {new} has {now}, the {old} {was}"

    def as_json(self) -> dict[str, str | None]:
        """Return it as plain data: both types as text, the column, the remedy."""
        return {
            "kind": self.kind,
            "column": self.column,
            self.between[0]: shown(self.old) if self.old is not None else None,
            self.between[1]: shown(self.new) if self.new is not None else None,
            "becomes": shown(self.wider) if self.wider is not None else None,
            "other": self.other,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """What a system allows of names: as its capabilities say."""

    system: str
    case_sensitive_names: bool = True
    max_identifier_bytes: int | None = None
    max_columns: int | None = None


Lands: TypeAlias = "Callable[[pa.Field[pa.DataType]], Landing]"
"""Where a field lands: the dialect's ``landing``, or the destination's, which knows its server."""


def landed(schema: pa.Schema, dialect: Dialect, lands: Lands | None = None) -> pa.Schema:
    """Return what a new table of the system would hold of the schema's columns.

    Raises:
        SchemaError: the system has no place for a type.
    """
    lands = lands or dialect.landing
    return pa.schema([dialect.field_of(f.name, lands(f).ddl, nullable=f.nullable) for f in schema])


def diff(
    old: pa.Schema, new: pa.Schema, between: tuple[str, str] = ("target", "source")
) -> tuple[Change, ...]:
    """Return what changed from ``old`` to ``new``: new columns in the new order, then those gone.

    Columns are matched by name, case kept; their order is no difference. None is named twice, but
    for a change of NULLs beside one of the type, and a hint at a new name.
    """
    before, after = _by_name(old), _by_name(new)
    changes: list[Change] = []
    for name, field in after.items():
        if name in before:
            changes += _changed(before[name], field, between)
        else:
            remedy = "`auto` adds it, nullable; else it is not loaded"
            changes.append(Change("added", name, None, field, remedy, between))
    for name, field in before.items():
        if name not in after:
            remedy = f"the {between[0]} keeps it: new rows have NULL there"
            changes.append(Change("removed", name, field, None, remedy, between))
    return (*changes, *_renamed(old, new, between))


def name_problems(schema: pa.Schema, limits: Limits, between: str = "source") -> tuple[Change, ...]:
    """Return what a system can't have of a schema's names: twins, length, number of columns."""
    return tuple(_names(schema, limits, ("target", between)))


def preflight(
    source: pa.Schema,
    dialect: Dialect,
    limits: Limits,
    target: pa.Schema | None = None,
    expected: pa.Schema | None = None,
    lands: Lands | None = None,
) -> tuple[Change, ...]:
    """Compare a source with the target and with what is expected of both; all findings at once.

    Args:
        source: as described, its metadata columns included.
        dialect: the destination's.
        limits: the destination's.
        target: what its columns hold (``Dialect.field_of``); None: there is no table yet.
        expected: an ``expected:`` file.
        lands: the destination's ``landing``, where it knows more than its dialect.

    Raises:
        SchemaError: the destination has no place for a type of the source or of the file.
    """
    found = list(name_problems(source, limits))
    fitting = landed(source, dialect, lands)
    if expected is not None:
        found += diff(expected, at_detail(source, expected), ("expected file", "source"))
    if target is not None:
        found += _twins(target, fitting, limits)
        found += diff(target, fitting)
    if target is not None and expected is not None:
        found += diff(target, landed(expected, dialect, lands), ("target", "expected file"))
    return tuple(found)


def _by_name(schema: pa.Schema) -> dict[str, Field]:
    return {field.name: field for field in schema}


def at_detail(source: pa.Schema, expected: pa.Schema) -> pa.Schema:
    """Return the source's fields without the capacity that the file doesn't speak of."""
    limits = {f.name: max_length(f) for f in expected}
    return pa.schema(
        [f if limits.get(f.name) or not max_length(f) else _without_native(f) for f in source]
    )


def _without_native(field: Field) -> Field:
    tags = {k: v for k, v in (field.metadata or {}).items() if k == b"conduit:type"}
    return field.with_metadata(dict[bytes | str, bytes | str](tags.items()))


# --- one column on both sides ---------------------------------------------------------------------


def _changed(old: Field, new: Field, between: tuple[str, str]) -> Iterator[Change]:
    if not same_type(old, new):
        yield _type_change(old, new, between)
    if new.nullable and not old.nullable:
        remedy = f"a NULL stops the load unless the {between[0]}'s column allows it"
        wider = old.with_nullable(nullable=True)
        yield Change("nullability", new.name, old, new, remedy, between, wider)


def _type_change(old: Field, new: Field, between: tuple[str, str]) -> Change:
    wider = widen_field(old, new)
    if wider is not None and same_type(wider, old):
        remedy = f"nothing to do: the {between[0]}'s type holds it"
        return Change("narrowed", new.name, old, new, remedy, between)
    if wider is not None:
        wider = wider.with_nullable(old.nullable)
        kind: Kind = "capacity" if _by_bound_only(old, wider) else "widened"
        remedy = f"`auto` makes the column {shown(wider)}, which holds both"
        return Change(kind, new.name, old, new, remedy, between, wider)
    if can_hold(new.type, old.type):
        remedy = "each value is checked: one that doesn't fit stops the load"
        return Change("narrowed", new.name, old, new, remedy, between)
    remedy = (
        "no type holds both without loss: cast it in a `query:`, or make the table anew with"
        " `conduit run --full-refresh`"
    )
    return Change("incompatible", new.name, old, new, remedy, between)


def _by_bound_only(old: Field, wider: Field) -> bool:
    if pa.types.is_decimal(old.type) and pa.types.is_decimal(wider.type):
        return True
    return old.type == wider.type and max_length(old) is not None


# --- names ----------------------------------------------------------------------------------------


def _renamed(old: pa.Schema, new: pa.Schema, between: tuple[str, str]) -> Iterator[Change]:
    """Yield hints: a column that is gone, and a new one of its type, alike in name or in place."""
    came = [f for f in new if f.name not in old.names]
    for gone in (f for f in old if f.name not in new.names):
        scored = [(score, f) for f in came if (score := _alike(gone, f, old, new)) > 0]
        if not scored:
            continue
        best = max(scored, key=lambda pair: pair[0])[1]
        came.remove(best)
        remedy = f"if so, rename it in the {between[0]}, or keep the old name in a `query:`"
        yield Change("renamed", gone.name, gone, best, remedy, between, other=best.name)


def _alike(gone: Field, came: Field, old: pa.Schema, new: pa.Schema) -> float:
    if not same_type(gone, came) or any(f.name.startswith(_OURS) for f in (gone, came)):
        return 0.0
    score = SequenceMatcher(None, gone.name.lower(), came.name.lower()).ratio()
    if score >= _ALIKE:
        return score
    return 0.1 if old.names.index(gone.name) == new.names.index(came.name) else 0.0


def _names(schema: pa.Schema, limits: Limits, between: tuple[str, str]) -> Iterator[Change]:
    seen: dict[str, str] = {}
    for field in schema:
        key = _key(field.name, limits)
        if key in seen:
            yield _twin(field, seen[key], limits, between)
        seen.setdefault(key, field.name)
        most = limits.max_identifier_bytes
        if most is not None and len(field.name.encode()) > most:
            remedy = f"{limits.system} takes {most}: rename it in a `query:`"
            yield Change("too_long", field.name, None, field, remedy, between)
    if limits.max_columns is not None and len(schema) > limits.max_columns:
        remedy = f"{limits.system} takes {limits.max_columns}, not {len(schema)}: leave some out"
        yield Change("too_many", "", None, None, remedy, between)


def _twins(target: pa.Schema, source: pa.Schema, limits: Limits) -> Iterator[Change]:
    """Yield columns of the source whose name the target has in another case, where that is one."""
    there = {_key(name, limits): name for name in target.names}
    for field in source:
        name = there.get(_key(field.name, limits))
        if name is not None and name != field.name and field.name not in target.names:
            yield _twin(field, name, limits, ("target", "source"))


def _twin(field: Field, name: str, limits: Limits, between: tuple[str, str]) -> Change:
    remedy = f"they are one name in {limits.system}: rename one in a `query:`"
    return Change("case", field.name, None, field, remedy, between, other=name)


def _key(name: str, limits: Limits) -> str:
    return name if limits.case_sensitive_names else name.lower()


def only(changes: Sequence[Change], *kinds: Kind) -> tuple[Change, ...]:
    """Return the changes of these kinds."""
    return tuple(change for change in changes if change.kind in kinds)
