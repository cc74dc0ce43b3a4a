"""Rules of one column as Arrow kernels: each is compiled to what says which rows of a batch pass.

NULL passes every rule but ``not_null``. What comes out may be NULL where the value is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import pyarrow as pa

from conduit_core.errors import ConfigError
from conduit_core.quality.arrays import (
    Column,
    constant,
    either,
    is_binary,
    is_text,
    kernels,
    pick,
    plain_type,
)
from conduit_core.quality.literals import UnfitError, Value, Written, bound, equal
from conduit_core.spec.rules import AcceptedValues, Length, NotNull, Range, Regex
from conduit_core.types.schema import logical_type

Check: TypeAlias = "Callable[[pa.RecordBatch], pa.BooleanArray]"
ColumnSpec: TypeAlias = NotNull | Range | Regex | AcceptedValues | Length
_EXACT = pa.decimal256(76, 30)
"""In which a decimal without bounds, which travels as text, is compared if it fits."""


def compile_check(rule: ColumnSpec, field: pa.Field[pa.DataType]) -> tuple[Check, str]:
    """Return what checks one column, and the reason of a row that breaks it.

    Raises:
        ConfigError: the rule doesn't fit the column's type, or its own value is wrong.
    """
    if isinstance(rule, NotNull):
        return lambda batch: batch.column(field.name).is_valid(), "is NULL"
    if isinstance(rule, Range):
        return _range(rule, field)
    if isinstance(rule, Regex):
        return _regex(rule, field)
    if isinstance(rule, AcceptedValues):
        return _accepted(rule, field)
    return _length(rule, field)


def compile_pattern(pattern: str) -> None:
    """Try an RE2 pattern.

    Raises:
        UnfitError: it doesn't compile; the message says what RE2 leaves out.
    """
    try:
        kernels.match_substring_regex(
            pa.array([""]), pattern=pattern
        )  # none is compiled for no text
    except (pa.ArrowException, UnicodeEncodeError) as error:
        text = str(error).removeprefix("Invalid regular expression: ")
        raise UnfitError(
            f"pattern {pattern!r} doesn't compile: {text}; RE2 has no look-around,"
            " back-references, possessive or atomic groups"
        ) from error


def _range(rule: Range, field: pa.Field[pa.DataType]) -> tuple[Check, str]:
    name, kind = field.name, plain_type(field.type)
    parts = [
        f"{word} {value}"
        for word, value in (("below", rule.min), ("above", rule.max))
        if value is not None
    ]
    reason = f"is {' or '.join(parts)}"
    as_number = is_text(kind) and logical_type(field) == "numeric"
    kinds = (_EXACT, pa.float64()) if as_number else (kind,)
    try:
        tests = [_within(rule.min, rule.max, each) for each in kinds]
    except UnfitError as error:
        raise _unfit(rule, field, error) from error
    if as_number:
        return lambda batch: _numeric(pick(batch, name), tests), reason
    return lambda batch: tests[0](pick(batch, name)), reason


def _within(
    low: Written | None, high: Written | None, kind: pa.DataType
) -> Callable[[Column], pa.BooleanArray]:
    least = True if low is None else bound(low, kind, "min")
    most = True if high is None else bound(high, kind, "max")
    is_float = pa.types.is_floating(kind)

    def test(column: Column) -> pa.BooleanArray:
        if least is False or most is False:
            return cast("pa.BooleanArray", kernels.is_null(column))
        at_least = None if least is True else kernels.greater_equal(column, least)
        at_most = None if most is True else kernels.less_equal(column, most)
        if at_least is not None and at_most is not None:
            return cast("pa.BooleanArray", kernels.and_(at_least, at_most))
        one = at_least if at_most is None else at_most
        if one is None:
            one = kernels.equal(column, column) if is_float else constant(len(column), value=True)
        return cast("pa.BooleanArray", one)

    return test


def _numeric(column: Column, tests: list[Callable[[Column], pa.BooleanArray]]) -> pa.BooleanArray:
    """Compare decimals that travel as text: exactly, or as floats where one doesn't fit (NaN)."""
    exact, rough = tests
    try:
        return exact(kernels.cast(column, _EXACT))
    except pa.ArrowInvalid:
        return rough(kernels.cast(column, pa.float64()))


def _regex(rule: Regex, field: pa.Field[pa.DataType]) -> tuple[Check, str]:
    name = field.name
    if not is_text(plain_type(field.type)):
        raise _unfit(rule, field, UnfitError(f"a column of type {field.type} is no text"))
    try:
        compile_pattern(rule.pattern)
    except UnfitError as error:
        raise _unfit(rule, field, error) from error

    def check(batch: pa.RecordBatch) -> pa.BooleanArray:
        found = kernels.match_substring_regex(pick(batch, name), pattern=rule.pattern)
        return cast("pa.BooleanArray", found)

    return check, f"doesn't match {rule.pattern}"


def _accepted(rule: AcceptedValues, field: pa.Field[pa.DataType]) -> tuple[Check, str]:
    name, kind = field.name, plain_type(field.type)
    try:
        scalars = [equal(value, kind) for value in rule.values]
    except UnfitError as error:
        raise _unfit(rule, field, error) from error
    allowed = _array([scalar for scalar in scalars if scalar is not None], kind)
    shown = ", ".join(str(value) for value in rule.values[:5])
    more = ", ..." if len(rule.values) > 5 else ""

    def check(batch: pa.RecordBatch) -> pa.BooleanArray:
        column = pick(batch, name)
        found = cast("pa.BooleanArray", kernels.is_in(column, value_set=allowed))
        return either(found, column.is_null()) if column.null_count else found

    return check, f"is none of {shown}{more}"


def _array(scalars: list[Value], kind: pa.DataType) -> Column:
    return pa.array([scalar.as_py() for scalar in scalars], kind)


def _length(rule: Length, field: pa.Field[pa.DataType]) -> tuple[Check, str]:
    name, kind = field.name, plain_type(field.type)
    if is_text(kind):
        measure, unit = kernels.utf8_length, "characters"
    elif is_binary(kind):
        measure, unit = kernels.binary_length, "bytes"
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        measure, unit = kernels.list_value_length, "items"
    else:
        raise _unfit(rule, field, UnfitError(f"a column of type {field.type} has no length"))
    wide = _within(rule.min, rule.max, pa.int64())

    def check(batch: pa.RecordBatch) -> pa.BooleanArray:
        return wide(measure(pick(batch, name)))

    sides = (("fewer than", rule.min), ("more than", rule.max))
    parts = [f"{word} {value}" for word, value in sides if value is not None]
    return check, f"has {' or '.join(parts)} {unit}"


def _unfit(rule: ColumnSpec, field: pa.Field[pa.DataType], error: UnfitError) -> ConfigError:
    return ConfigError(
        f"`rule: {rule.rule}` of column {field.name!r} ({field.type}): {error}",
        command="conduit check",
    )
