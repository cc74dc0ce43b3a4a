"""From quality rules to dbt's generic tests. Pure.

A rule judges the rows of a load, a test those of the table: only what holds for the table becomes a
test. What can't be said is a note, never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TypeAlias

from conduit_dbt.rules import (
    ALIVE,
    CURRENT,
    DELETED_AT,
    Check,
    UnfitError,
    checks,
    columns_of,
    told,
)
from conduit_dbt.sqltext import both, has_jinja, not_null, read_number, sql_bound, sql_name
from conduit_dbt.tables import GenericTest, Rule, SourceTable
from conduit_dbt.tests_to_rules import rule_of

_UTILS, _EXPECT = "dbt_utils", "dbt_expectations"
# What RE2 knows and PostgreSQL doesn't, or reads as something else (\b is a backspace there).
_RE2_ONLY = re.compile(r"\\[bBpPzQCx]|\(\?(?!:|i\))|(?<!^)\(\?i")


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests that express a table's rules, and a note for each rule that none expresses."""

    tests: tuple[GenericTest, ...]
    notes: tuple[str, ...]


_Written: TypeAlias = "tuple[str | None, str, dict[str, object], str]"  # column, name, args, guard


def tests_of(table: SourceTable, packages: frozenset[str]) -> Tests:
    """Return the tests that express what a stream's key and rules promise of its table.

    Args:
        table: the table, its mode and its rules.
        packages: the names of the dbt packages that the project has; no other's test is used.
    """
    made: dict[tuple[Check, ...], GenericTest] = {}
    notes: list[str] = []
    sources: list[tuple[str, Callable[[], Iterator[GenericTest]]]] = [
        ("unique_key", partial(_of_key, table, packages)),
        *((f"rule {told(rule)}", partial(_of_rule, rule, table, packages)) for rule in table.rules),
    ]
    for label, make in sources:
        try:
            for test in make():
                said = rule_of(test)
                if isinstance(said, str):
                    raise UnfitError(said)
                made.setdefault(checks(said), test)
        except UnfitError as why:
            notes.append(f"{table.label}: {label} has no dbt test: {why}")
    return Tests(tuple(made.values()), tuple(notes))


def _of_key(table: SourceTable, packages: frozenset[str]) -> Iterator[GenericTest]:
    for column in table.key:
        yield GenericTest(name="not_null", column=column)
    if table.key:
        # Each key has many versions, one of which is current.
        where = CURRENT if table.mode == "scd2" else ""
        unit, name, arguments, _ = _unique_test(table.key, table, packages)
        yield GenericTest(name=name, column=unit, arguments=arguments, where=where)


def _of_rule(rule: Rule, table: SourceTable, packages: frozenset[str]) -> Iterator[GenericTest]:
    writer = _WRITERS.get(str(rule.get("rule")))
    if writer is None:
        raise UnfitError("it is judged by the load alone")
    where = str(rule.get("where") or "")
    if has_jinja(dict(rule)) or "\\" in where:
        raise UnfitError("dbt would render its text as a template")
    if table.system == "postgres":
        _refuse_bare_names(f"{where} {rule.get('sql') or ''}", table)
    alive = ALIVE if table.column(DELETED_AT) else ""
    severity = "warn" if rule.get("action") == "warn" else "error"
    for column, name, arguments, guard in writer(rule, table, packages):
        yield GenericTest(
            name=name,
            column=column,
            arguments=arguments,
            where=both(both(where, guard), alive),
            severity=severity,
        )


def _refuse_bare_names(sql: str, table: SourceTable) -> None:
    """Refuse SQL with a name that PostgreSQL would look for in lower case."""
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", " ", sql)
    words = set(re.findall(r"\w+", bare))
    for column in table.columns:
        if column.name in words and column.name != column.name.lower():
            raise UnfitError(f"its SQL needs {column.name} in double quotes on PostgreSQL")


def _package(packages: frozenset[str], *names: str) -> str:
    for name in names:
        if name in packages:
            return name
    raise UnfitError(f"it needs the dbt package {' or '.join(names)}")


def _each(rule: Rule, name: str, arguments: dict[str, object]) -> Iterator[_Written]:
    for column in columns_of(rule):
        yield column, name, arguments, ""


def _bounds(rule: Rule) -> dict[str, object]:
    ends = ("min", "max")
    return {f"{end}_value": sql_bound(rule[end]) for end in ends if rule.get(end) is not None}


def _write_not_null(rule: Rule, _table: SourceTable, _: frozenset[str]) -> Iterator[_Written]:
    return _each(rule, "not_null", {})


def _write_accepted(rule: Rule, _table: SourceTable, _: frozenset[str]) -> Iterator[_Written]:
    value = rule.get("values")
    values = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(each, str) for each in values):  # dbt puts quotes around, and escapes nothing
        escaped = [each.replace("'", "''") if isinstance(each, str) else each for each in values]
        return _each(rule, "accepted_values", {"values": escaped})
    plain = [read_number(str(each)) if isinstance(each, Decimal) else each for each in values]
    return _each(rule, "accepted_values", {"values": plain, "quote": False})


def _write_range(rule: Rule, _table: SourceTable, packages: frozenset[str]) -> Iterator[_Written]:
    package = _package(packages, _UTILS, _EXPECT)
    name = "accepted_range" if package == _UTILS else "expect_column_values_to_be_between"
    return _each(rule, f"{package}.{name}", _bounds(rule))


def _write_regex(rule: Rule, table: SourceTable, packages: frozenset[str]) -> Iterator[_Written]:
    package = _package(packages, _EXPECT)
    pattern = str(rule.get("pattern"))
    if table.system == "postgres" and (found := _RE2_ONLY.search(pattern)):
        raise UnfitError(f"PostgreSQL reads {found[0]!r} in its pattern as something else")
    arguments: dict[str, object] = {"regex": pattern.replace("'", "''")}
    for column in columns_of(rule):
        # PostgreSQL finds no match in NULL, which the test then counts as a failure.
        name = f"{package}.expect_column_values_to_match_regex"
        yield column, name, arguments, not_null([column])


def _write_length(rule: Rule, table: SourceTable, packages: frozenset[str]) -> Iterator[_Written]:
    package = _package(packages, _EXPECT)
    for name in columns_of(rule):
        column = table.column(name)
        kind = column.data_type.casefold() if column else ""
        if kind.endswith("]") or kind == "blob":
            raise UnfitError(f"dbt's test can't take the length of type {kind} ({name})")
    return _each(rule, f"{package}.expect_column_value_lengths_to_be_between", _bounds(rule))


def _write_row_count(
    rule: Rule, table: SourceTable, packages: frozenset[str]
) -> Iterator[_Written]:
    if table.mode != "replace":
        raise UnfitError(f"it counts a load's rows; under mode: {table.mode} the table has others")
    if "%" in f"{rule.get('min')}{rule.get('max')}":
        raise UnfitError("a share is of the last loads, which dbt doesn't know")
    if rule.get("max") is not None and any(r.get("action") == "dlq" for r in table.rules):
        raise UnfitError("a replay of dead letters adds rows, so its `max` is the load's alone")
    package = _package(packages, _EXPECT)
    yield None, f"{package}.expect_table_row_count_to_be_between", _bounds(rule), ""


def _write_expression(
    rule: Rule, _table: SourceTable, packages: frozenset[str]
) -> Iterator[_Written]:
    package = _package(packages, _UTILS, _EXPECT)
    yield None, f"{package}.expression_is_true", {"expression": rule.get("sql")}, ""


def _write_unique(rule: Rule, table: SourceTable, packages: frozenset[str]) -> Iterator[_Written]:
    columns = columns_of(rule)
    by_key = bool(table.key) and set(table.key) <= set(columns) and table.mode != "scd2"
    if not by_key and table.mode != "replace" and rule.get("within") != "target":
        raise UnfitError(
            f"it holds among the rows of a load; under mode: {table.mode} the table has others"
            " (`within: target` looks at them)"
        )
    yield _unique_test(columns, table, packages)


def _unique_test(
    columns: tuple[str, ...], table: SourceTable, packages: frozenset[str]
) -> _Written:
    if len(columns) == 1:
        return columns[0], "unique", {}, ""
    package = _package(packages, _UTILS)
    found = [table.column(name) for name in columns]
    # In GROUP BY two NULLs are one; to the rule NULL equals nothing.
    can_be_null = any(c is None or c.nullable for c in found) and set(columns) != set(table.key)
    names = [sql_name(name) for name in columns]
    arguments: dict[str, object] = {"combination_of_columns": names}
    guard = not_null(columns) if can_be_null else ""
    return None, f"{package}.unique_combination_of_columns", arguments, guard


_WRITERS: Mapping[str, Callable[[Rule, SourceTable, frozenset[str]], Iterator[_Written]]] = {
    "not_null": _write_not_null,
    "unique": _write_unique,
    "accepted_values": _write_accepted,
    "range": _write_range,
    "regex": _write_regex,
    "length": _write_length,
    "row_count": _write_row_count,
    "expression": _write_expression,
}
