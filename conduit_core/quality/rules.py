"""A stream's rules, compiled against the schema its rows have after ``transform``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from conduit_core.errors import ConduitError, ConfigError, SchemaError
from conduit_core.quality.arrays import is_number, is_text, is_time, plain_type
from conduit_core.quality.checks import Check, ColumnSpec, compile_check
from conduit_core.quality.custom import compile_custom
from conduit_core.quality.expressions import Condition
from conduit_core.quality.finding import Finding, did_you_mean
from conduit_core.quality.imports import need
from conduit_core.quality.storable import NAME as STORABLE
from conduit_core.quality.storable import Capacity, storable_checks
from conduit_core.spec.amounts import Share
from conduit_core.spec.rules import (
    Action,
    Custom,
    Drift,
    Expression,
    Freshness,
    LoadSpec,
    Pandera,
    RowCount,
    RuleSpec,
    Unique,
    rule_names,
)

Look: TypeAlias = "Callable[[pa.RecordBatch], Sequence[Finding]]"


@dataclass(frozen=True)
class RowRule:
    """A rule that judges each row by itself."""

    name: str
    kind: str
    action: Action
    look: Look
    where: Condition | None = None
    max_rejected: int | Share | None = None


@dataclass(frozen=True)
class UniqueRule:
    """A rule that judges a row by the rows before it."""

    name: str
    action: Action
    columns: tuple[str, ...]
    where: Condition | None = None
    max_rejected: int | Share | None = None
    within: str = "load"

    kind = "unique"


@dataclass(frozen=True)
class LoadRule:
    """A rule that judges a whole load, at its audit."""

    name: str
    spec: LoadSpec

    @property
    def kind(self) -> str:
        """The rule's kind."""
        return self.spec.rule

    @property
    def action(self) -> Action:
        """What a broken rule does."""
        return self.spec.action


@dataclass(frozen=True)
class Ruleset:
    """All rules of a stream, compiled; it keeps nothing between batches: threads may share it."""

    schema: pa.Schema
    rows: tuple[RowRule, ...] = ()
    uniques: tuple[UniqueRule, ...] = ()
    loads: tuple[LoadRule, ...] = ()
    profiled: tuple[str, ...] = field(default=())
    """Columns whose distribution a rule of the load looks at."""

    @property
    def of_rows(self) -> tuple[RowRule | UniqueRule, ...]:
        """The rules that judge rows, in the order they do."""
        return (*self.rows, *self.uniques)

    def __bool__(self) -> bool:
        return bool(self.rows or self.uniques or self.loads)


def compile_rules(
    rules: Sequence[RuleSpec],
    schema: pa.Schema,
    *,
    folder: Path | None = None,
    capacities: Mapping[str, Capacity] | None = None,
    storable_action: Action = "fail",
) -> Ruleset:
    """Compile rules against a schema; whatever can be wrong with them is said here.

    Args:
        rules: the stream's rules.
        schema: the rows' columns after ``transform``.
        folder: where modules that rules name are looked for too.
        capacities: what the destination's text columns take, by column: the built-in rule.
        storable_action: what happens to rows that the destination wouldn't take.

    Raises:
        SchemaError: a rule looks at a column that isn't there.
        ConfigError: a rule doesn't fit its column, or names what doesn't import or compile. Where
            several rules are wrong, the message has all of them.
    """
    rows: list[RowRule] = []
    uniques: list[UniqueRule] = []
    loads: list[LoadRule] = []
    problems: list[ConduitError] = []
    try:
        names = rule_names(rules)
    except ValueError as error:
        raise ConfigError(f"`quality`: {error}", command="conduit check") from error
    for name, rule in zip(names, rules, strict=True):
        try:
            _need(rule.columns, schema, name)
            if isinstance(rule, Unique):
                uniques.append(_unique(name, rule, schema))
            elif isinstance(rule, RowCount | Freshness | Drift):
                loads.append(_load_rule(name, rule, schema))
            else:
                made, more = _row_rule(name, rule, schema, folder)
                rows.append(made)
                uniques.extend(more)
        except ConduitError as error:
            named = f"rule {name!r}" in error.message
            text = error.message if named else f"rule {name!r}: {error.message}"
            problems.append(type(error)(text, command="conduit check"))
            problems[-1].__cause__ = error
    if len(problems) == 1:
        raise problems[0] from problems[0].__cause__
    if problems:
        lines = [f"{len(problems)} rules are wrong", *(each.message for each in problems)]
        raise type(problems[0])("\n  ".join(lines), command="conduit check")
    built_in = storable_checks(schema, capacities or {})
    if built_in:
        rows.append(RowRule(STORABLE, STORABLE, storable_action, _looks(built_in)))
    of_loads = (name for rule in loads for name in rule.spec.columns)
    return Ruleset(
        schema, tuple(rows), tuple(uniques), tuple(loads), tuple(dict.fromkeys(of_loads))
    )


def _need(columns: Sequence[str], schema: pa.Schema, name: str) -> None:
    for column in columns:
        if schema.names.count(column) != 1:
            raise SchemaError(
                f"rule {name!r} looks at column {column!r}, which the rows don't have"
                f"{did_you_mean(column, schema.names) or ';'} they have {', '.join(schema.names)}",
                command="conduit check",
            )


def _where(rule: RuleSpec, schema: pa.Schema, name: str) -> Condition | None:
    return (
        None if rule.where is None else Condition(rule.where, schema, f"`where` of rule {name!r}")
    )


def _row_rule(
    name: str,
    rule: ColumnSpec | Custom | Expression | Pandera,
    schema: pa.Schema,
    folder: Path | None,
) -> tuple[RowRule, list[UniqueRule]]:
    where = _where(rule, schema, name)
    more: list[UniqueRule] = []
    if isinstance(rule, Pandera):
        from conduit_core.quality.frames import FrameSchema

        frame = FrameSchema(rule.model, schema, folder)
        for columns in frame.unique:
            each = f"{name}.unique({', '.join(columns)})"
            _need(columns, schema, each)
            more.append(UniqueRule(each, rule.action, columns, where, rule.max_rejected))
        look: Look = frame.findings
    elif isinstance(rule, Custom):
        look = _looks([(None, f"breaks {rule.function}", compile_custom(rule.function, folder))])
    elif isinstance(rule, Expression):
        condition = Condition(rule.sql, schema, f"rule {name!r}:")
        look = _looks([(None, f"breaks {rule.sql}", condition.flags)])
    else:
        checks: list[tuple[str | None, str, Check]] = []
        for column in rule.columns:
            check, reason = compile_check(rule, schema.field(column))
            checks.append((column, reason, check))
        look = _looks(checks)
    return RowRule(name, rule.rule, rule.action, look, where, rule.max_rejected), more


def _looks(checks: Sequence[tuple[str | None, str, Check]]) -> Look:
    def look(batch: pa.RecordBatch) -> Sequence[Finding]:
        return [Finding(column, reason, check(batch)) for column, reason, check in checks]

    return look


def _unique(name: str, rule: Unique, schema: pa.Schema) -> UniqueRule:
    need("numpy", f"rule {name!r}")
    for column in rule.columns:
        kind = plain_type(schema.field(column).type)
        if pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_null(kind):
            raise ConfigError(
                f"`rule: unique` of column {column!r}: values of type {kind} aren't compared",
                command="conduit check",
            )
    where = _where(rule, schema, name)
    return UniqueRule(name, rule.action, rule.columns, where, rule.max_rejected, rule.within)


def _load_rule(name: str, rule: LoadSpec, schema: pa.Schema) -> LoadRule:
    for column in rule.columns:
        kind = plain_type(schema.field(column).type)
        if isinstance(rule, Freshness):
            if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
                _refuse(name, column, kind, "is no date or timestamp")
            if rule.timezone is None and getattr(kind, "tz", None) is None:
                _refuse(name, column, kind, "has no time zone: give the rule a `timezone`")
        elif not (is_number(kind) or is_text(kind) or is_time(kind) or pa.types.is_boolean(kind)):
            _refuse(name, column, kind, "has no mean")
    return LoadRule(name, rule)


def _refuse(name: str, column: str, kind: pa.DataType, text: str) -> None:
    raise ConfigError(f"rule {name!r}: column {column!r} ({kind}) {text}", command="conduit check")
