"""A stream's rules over the rows that are in its target now: nothing is loaded, nothing kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import DELETED_AT, VALID_TO
from conduit_core.engine.audit import RuleReport, rule_reports
from conduit_core.engine.columns import VERSION_COLUMNS
from conduit_core.engine.rules import judged_schema
from conduit_core.errors import ConduitError, ConfigError, SchemaError
from conduit_core.quality import Judge, Ruleset, compile_rules, judge_counts, judge_load
from conduit_core.quality.arrays import filtered
from conduit_core.quality.finding import did_you_mean
from conduit_core.spec.rules import RuleSpec, rule_names

if TYPE_CHECKING:
    import pyarrow as pa

    from conduit_core.engine.pipeline import Ends, Pipeline
    from conduit_core.spec import StreamSpec
    from conduit_core.types.dialect import Table


def check_rules(
    pipeline: Pipeline, stream: str, rules: Sequence[str] | None = None
) -> list[RuleReport]:
    """Hold the rows that a stream's target has now to the stream's rules. Read-only.

    The table is read once, batch by batch; deleted rows that are still there (``apply: soft``) and
    closed versions (``mode: scd2``) don't count. Every rule looks at all other rows, whatever its
    ``action``. What compares loads (``drift``, a ``row_count`` by a share) is ``not_judged``.

    Args:
        pipeline: whose stream it is.
        stream: which one, by name.
        rules: names of its rules; None for all.

    Returns:
        What each rule found; a broken one is ``failed`` and raises nothing. A ceiling that is
        passed makes the rule's ``action`` ``fail``, as in a load's report.

    Raises:
        ConfigError: there is no such stream or rule, or a rule doesn't fit its column.
        SchemaError: nothing was loaded yet, or the target lacks a rule's column.
        QualityError: a function or model of a rule broke.
    """
    (chosen,) = pipeline.select((stream,))
    try:
        wanted = _wanted(chosen, rules)
        if not wanted:
            return []
        with pipeline.open() as ends:
            return _found(chosen, wanted, ends, pipeline.target(chosen, ends.destination))
    except ConduitError as error:
        raise pipeline.at(error, stream, "conduit check") from error.__cause__


def _wanted(stream: StreamSpec, names: Sequence[str] | None) -> list[RuleSpec]:
    """Return the chosen rules in the file's order, each by the name that it has among all."""
    known = dict(zip(rule_names(stream.quality), stream.quality, strict=True))
    for name in names or ():
        if name not in known:
            near = did_you_mean(name, list(known))
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"the stream has no rule {name!r}{near or ';'} {there}")
    return [
        rule.model_copy(update={"name": name})
        for name, rule in known.items()
        if names is None or name in names
    ]


def _found(
    stream: StreamSpec, rules: Sequence[RuleSpec], ends: Ends, target: Table
) -> list[RuleReport]:
    columns, gone = _columns(stream, rules, ends, target)
    with ends.destination.scan(target, columns) as reader:
        ruleset = compile_rules(rules, _judged(stream, reader.schema), folder=ends.base_dir)
        judge = Judge(_taking_out_none(ruleset), redact=frozenset(stream.redact))
        try:
            for batch in reader:
                rows = _current(batch, gone)
                if rows.num_rows:
                    judge.judge(rows)
            tally = judge.tally()
        finally:
            judge.close()
    outcomes = [
        *judge_counts(ruleset, tally),
        *judge_load(ruleset, tally, None, datetime.now(UTC)),
    ]
    return list(rule_reports(rules, tally, outcomes))


def _columns(
    stream: StreamSpec, rules: Sequence[RuleSpec], ends: Ends, target: Table
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the columns to read (None: all), and those with a value where a row is gone."""
    shape = ends.destination.describe(target)
    if shape is None:
        raise SchemaError(
            f"{target} doesn't exist: nothing was loaded into it yet, or it was dropped",
            command="conduit run",
        )
    there = [column.name for column in shape.columns]
    marks = (DELETED_AT, *((VALID_TO,) if stream.mode == "scd2" else ()))
    gone = tuple(mark for mark in marks if mark in there)
    if any(rule.where is not None or _looks_at_rows(rule) for rule in rules):
        return None, gone
    needed = {*gone, *(column for rule in rules for column in rule.columns)}
    if not needed.issubset(there):
        return None, gone  # for the error to list what there is
    return tuple(name for name in there if name in needed) or (there[0],), gone


def _looks_at_rows(rule: RuleSpec) -> bool:
    """Whether a rule may look at any column."""
    return rule.is_of_rows and not rule.needs_columns


def _judged(stream: StreamSpec, schema: pa.Schema) -> pa.Schema:
    """Return the columns that rules look at, as they do at a load: not those that it adds."""
    import pyarrow as pa

    own = VERSION_COLUMNS if stream.mode == "scd2" else frozenset()
    return pa.schema([field for field in judged_schema(schema) if field.name not in own])


def _taking_out_none(ruleset: Ruleset) -> Ruleset:
    """Return rules of which each looks at every row: those that broke another are there, too."""
    return replace(
        ruleset,
        rows=tuple(replace(rule, action="warn") for rule in ruleset.rows),
        uniques=tuple(replace(rule, action="warn") for rule in ruleset.uniques),
    )


def _current(batch: pa.RecordBatch, gone: Sequence[str]) -> pa.RecordBatch:
    for name in gone:
        mark = batch.column(name)
        if mark.null_count < len(mark):
            batch = filtered(batch, mark.is_null())
    return batch
