"""What quality rules check, so that a rule and a dbt test can be compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from conduit_dbt.sqltext import read_number
from conduit_dbt.tables import Rule, SourceTable

CURRENT = "is_current"
"""The condition that picks the current versions of a ``scd2`` table."""


DELETED_AT = "_conduit_deleted_at"
ALIVE = f"{DELETED_AT} is null"
"""The condition that leaves out rows that are deleted at the source: no rule judges those."""


class UnfitError(Exception):
    """A rule or a test can't be said as the other; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a rule checks of one column (``unique``: of all of them), so that two can be compared.

    Not what happens to rows that break it: a rule with another ``action`` checks the same.
    """

    kind: str
    columns: tuple[str, ...]
    arguments: tuple[tuple[str, object], ...]
    where: str

    @property
    def rival(self) -> tuple[object, ...]:
        """What two checks share that can't both be meant: other bounds of the same column."""
        told = self.arguments if self.kind in {"regex", "expression"} else ()
        return self.kind, self.columns, told, self.where


def columns_of(rule: Rule) -> tuple[str, ...]:
    """Return a rule's columns, from ``column`` or ``columns``, one or a list."""
    value = rule.get("columns") or rule.get("column") or ()
    if isinstance(value, str):
        return (value,)
    return tuple(str(each) for each in value) if isinstance(value, list | tuple) else ()


def checks(rule: Rule) -> tuple[Check, ...]:
    """Return what a rule checks, one for each of its columns where it checks each of them."""
    kind, columns = str(rule.get("rule", "")), columns_of(rule)
    told = tuple(
        (key, _same(kind, rule[key]))
        for key in ("min", "max", "values", "pattern", "sql", "function", "model")
        if rule.get(key) is not None
    )
    where = " ".join(str(rule.get("where") or "").split())
    if kind == "unique" or not columns:
        return (Check(kind, tuple(sorted(columns)), told, where),)
    return tuple(Check(kind, (column,), told, where) for column in columns)


def _same(kind: str, value: object) -> object:
    if kind == "accepted_values":
        values = value if isinstance(value, list | tuple) else (value,)
        return frozenset(
            str(each).casefold() if each in (True, False) else str(each) for each in values
        )
    if isinstance(value, int | float | Decimal | str) and kind in {"range", "length", "row_count"}:
        number = read_number(str(value))
        return str(value) if number is None else Decimal(str(number))
    return " ".join(str(value).split()) if kind == "expression" else str(value)


def told(rule: Rule) -> str:
    """Return a rule in a few words, for notes and changes: ``range(amount)``."""
    names = ", ".join(columns_of(rule))
    return f"{rule.get('rule')}({names})" if names else str(rule.get("rule"))


def key_checks(table: SourceTable) -> frozenset[Check]:
    """Return what the stream's unique key says already, so that no rule has to."""
    rules: list[Rule] = [{"rule": "not_null", "columns": table.key}] if table.key else []
    if table.key:
        where = CURRENT if table.mode == "scd2" else ""
        rules.append({"rule": "unique", "columns": table.key, "where": where})
    return frozenset(check for rule in rules for check in checks(rule))
