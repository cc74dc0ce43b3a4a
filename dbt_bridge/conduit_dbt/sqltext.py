"""SQL as dbt's tests take it: names, literals, and conditions that let NULL pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_JINJA = re.compile(r"\{\{|\{%|\{#")
_RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization between binary both case cast
    check collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user default deferrable desc
    describe distinct do else end except false fetch for foreign freeze from full grant group having
    ilike in initially inner intersect into is isnull join lambda lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps pivot
    placing primary qualify references returning right select session_user show similar some
    summarize symmetric table tablesample then to trailing true union unique unpivot user using
    variadic verbose when where window with
    """.split()  # noqa: SIM905 - ninety words are read more easily without their quotes
)


def needs_quotes(name: str) -> bool:
    """Tell whether a database would read a name without quotes as something else."""
    return not _PLAIN.fullmatch(name) or name in _RESERVED


def quoted(name: str) -> str:
    """Return a name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def sql_name(name: str) -> str:
    """Return a name as SQL writes it: in quotes where it needs them."""
    return quoted(name) if needs_quotes(name) else name


def plain_name(text: str) -> str:
    """Return the name that :func:`sql_name` wrote."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def sql_text(text: str) -> str:
    """Return a text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def sql_bound(value: object) -> object:
    """Return a bound as dbt pastes it into SQL: a number as it is, other text as a literal."""
    if isinstance(value, str | Decimal):
        number = read_number(str(value))
        return sql_text(str(value)) if number is None else number
    return value


def read_bound(value: object) -> object | None:
    """Return the number or text that a bound in SQL stands for; None for any other SQL."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    number = read_number(str(value))
    if number is not None:
        return number
    literal = _LITERAL.fullmatch(str(value).strip())
    return literal[1].replace("''", "'") if literal else None


def read_number(text: str) -> int | float | str | None:
    """Return a text's number, as text where a float would round it; None if it is none."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("+-").isdecimal():
        return int(text)
    return float(text) if Decimal(repr(float(text))) == Decimal(text) else text


def has_jinja(value: object) -> bool:
    """Tell whether dbt would render a text, or one inside a list or mapping."""
    if isinstance(value, dict):
        return any(has_jinja(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_jinja(item) for item in value)
    return isinstance(value, str) and bool(_JINJA.search(value))


def both(first: str, second: str) -> str:
    """Return a condition that holds where both do; an empty one holds everywhere."""
    return f"({first}) and {second}" if first and second else first or second


def not_null(columns: Sequence[str]) -> str:
    """Return the condition that leaves out rows with a NULL in one of the columns."""
    return " and ".join(f"{sql_name(column)} is not null" for column in columns)


def without(where: str, guard: str) -> str:
    """Return a condition without a guard that :func:`both` put behind it."""
    if where.casefold() == guard.casefold():
        return ""
    tail = f") and {guard}"
    if where.startswith("(") and where.endswith(tail):
        return where[1 : -len(tail)]
    return where
