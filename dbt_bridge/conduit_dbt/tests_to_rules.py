"""From dbt's generic tests to quality rules. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from conduit_dbt.rules import ALIVE, UnfitError, columns_of
from conduit_dbt.sqltext import (
    both,
    has_jinja,
    not_null,
    plain_name,
    read_bound,
    sql_bound,
    sql_name,
    without,
)
from conduit_dbt.tables import GenericTest, Rule

_UTILS, _EXPECT = "dbt_utils", "dbt_expectations"


def rule_of(test: GenericTest) -> Rule | str:
    """Return the rule that says what a test says of a table, or a text that says why none does.

    Whether the rule can hold a load to it, too, depends on the stream: see ``importing``.
    """
    reader = _READERS.get(test.name)
    if reader is None:
        return "no rule tests that"
    if has_jinja(test.where) or has_jinja(dict(test.arguments)):
        return "it is written with a template, which a pipeline file hasn't"
    left = {key: value for key, value in test.arguments.items() if value is not None}
    where = both(test.where.strip(), str(left.pop("row_condition", "")).strip())
    try:
        fields = reader(test, left)
    except UnfitError as why:
        return str(why)
    if left:
        return f"no rule has its argument {', '.join(sorted(left))}"
    where = without(where, ALIVE)
    columns = columns_of(fields)
    if fields["rule"] == "regex" or len(columns) > 1:
        where = without(where, not_null(columns))
    if where:
        fields["where"] = where
    if test.severity == "warn":
        fields["action"] = "warn"
    return fields


_Arguments: TypeAlias = "dict[str, object]"


def _rule(test: GenericTest, kind: str) -> dict[str, object]:
    if not test.column:
        raise UnfitError("it names no column")
    return {"rule": kind, "column": test.column}


def _read_columns(kind: str, key: str) -> Callable[[GenericTest, _Arguments], _Arguments]:
    def read(_test: GenericTest, left: _Arguments) -> _Arguments:
        names = left.pop(key, None)
        left.pop("quote_columns", None)
        left.pop("ignore_row_if", None)
        if not isinstance(names, list | tuple) or not names:
            raise UnfitError("its columns are no list")
        columns = [plain_name(str(name)) for name in names]
        return {"rule": kind, **one_or_many(columns)}

    return read


def one_or_many(columns: list[str]) -> dict[str, object]:
    """Return a rule's `column` or `columns`."""
    return {"column": columns[0]} if len(columns) == 1 else {"columns": columns}


def _read_plain(kind: str) -> Callable[[GenericTest, _Arguments], _Arguments]:
    return lambda test, _left: _rule(test, kind)


def _read_values(key: str, quote: str) -> Callable[[GenericTest, _Arguments], _Arguments]:
    def read(test: GenericTest, left: _Arguments) -> _Arguments:
        value, has_quotes = left.pop(key, None), left.pop(quote, True)
        values = list(value) if isinstance(value, list | tuple) else []
        if not values or any(each is None for each in values):
            raise UnfitError("its values are no list without null")
        if has_quotes:
            read = [v.replace("''", "'") if isinstance(v, str) else v for v in values]
        else:
            read = [_raw_value(each) for each in values]
        return {**_rule(test, "accepted_values"), "values": read}

    return read


def _raw_value(value: object) -> object:
    if isinstance(value, bool) or str(value).casefold() in {"true", "false"}:
        return str(value).casefold() == "true"
    return _literal(value)


def _literal(value: object) -> object:
    found = read_bound(value)
    if found is None:
        raise UnfitError(f"{value!r} is SQL, not a number or a literal")
    return found


def _read_bounds(left: _Arguments) -> dict[str, object]:
    ends = {end: left.pop(f"{end}_value", None) for end in ("min", "max")}
    out = {end: _literal(value) for end, value in ends.items() if value is not None}
    if not out:
        raise UnfitError("it has no bounds")
    return out


def _read_range(test: GenericTest, left: _Arguments) -> _Arguments:
    is_open = left.pop("inclusive", True) is False
    is_open = left.pop("strictly", False) is True or is_open
    out, bounds = _rule(test, "range"), _read_bounds(left)
    if not is_open:
        return {**out, **bounds}
    column = sql_name(str(test.column))
    signs = {"min": ">", "max": "<"}
    parts = [f"{column} {signs[end]} {sql_bound(value)}" for end, value in bounds.items()]
    return {"rule": "expression", "sql": " and ".join(parts)}


def _read_length(test: GenericTest, left: _Arguments) -> _Arguments:
    return {**_rule(test, "length"), **_whole(_read_bounds(left))}


def _read_length_equal(test: GenericTest, left: _Arguments) -> _Arguments:
    value = left.pop("value", None)
    left.update(min_value=value, max_value=value)
    return _read_length(test, left)


def _read_row_count(_test: GenericTest, left: _Arguments) -> _Arguments:
    return {"rule": "row_count", **_whole(_read_bounds(left))}


def _whole(bounds: dict[str, object]) -> dict[str, object]:
    if not all(isinstance(value, int) for value in bounds.values()):
        raise UnfitError("its bounds are no whole numbers")
    return bounds


def _read_regex(test: GenericTest, left: _Arguments) -> _Arguments:
    left.pop("is_raw", None)
    pattern = left.pop("regex", None)
    if not isinstance(pattern, str):
        raise UnfitError("its pattern is no text")
    return {**_rule(test, "regex"), "pattern": pattern.replace("''", "'")}


def _read_expression(test: GenericTest, left: _Arguments) -> _Arguments:
    sql = str(left.pop("expression", ""))
    return {"rule": "expression", "sql": f"{sql_name(test.column)} {sql}" if test.column else sql}


_READERS: Mapping[str, Callable[[GenericTest, _Arguments], _Arguments]] = {
    "not_null": _read_plain("not_null"),
    "unique": _read_plain("unique"),
    "accepted_values": _read_values("values", "quote"),
    f"{_UTILS}.unique_combination_of_columns": _read_columns("unique", "combination_of_columns"),
    f"{_UTILS}.accepted_range": _read_range,
    f"{_UTILS}.expression_is_true": _read_expression,
    f"{_EXPECT}.expression_is_true": _read_expression,
    f"{_EXPECT}.expect_column_values_to_not_be_null": _read_plain("not_null"),
    f"{_EXPECT}.expect_column_values_to_be_unique": _read_plain("unique"),
    f"{_EXPECT}.expect_compound_columns_to_be_unique": _read_columns("unique", "column_list"),
    f"{_EXPECT}.expect_column_values_to_be_in_set": _read_values("value_set", "quote_values"),
    f"{_EXPECT}.expect_column_values_to_be_between": _read_range,
    f"{_EXPECT}.expect_column_values_to_match_regex": _read_regex,
    f"{_EXPECT}.expect_column_value_lengths_to_be_between": _read_length,
    f"{_EXPECT}.expect_column_value_lengths_to_equal": _read_length_equal,
    f"{_EXPECT}.expect_table_row_count_to_be_between": _read_row_count,
}
