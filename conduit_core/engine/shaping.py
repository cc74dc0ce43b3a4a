"""What a stream makes of its source's columns: transform, target, rules; all that is wrong is said.

Most streams have neither transform nor rules, and never import what those need.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Shape, TargetShape
from conduit_core.connectors.letters import KeepsLetters
from conduit_core.connectors.publish import (
    AddColumn,
    AppendDeadLetters,
    CheckUnique,
    ResolveDeadLetters,
    WidenColumn,
)
from conduit_core.connectors.splits import SplitBy
from conduit_core.engine.columns import (
    Staged,
    Wishes,
    cursor_columns,
    refuse_missing_key,
    stage_columns,
)
from conduit_core.engine.pipeline import Ends
from conduit_core.engine.seen import Seen
from conduit_core.errors import ConfigError, SchemaError
from conduit_core.spec import StreamSpec
from conduit_core.spec.expected import read_schemas
from conduit_core.sync.letters import LetterFacts, letter_actions
from conduit_core.types.schema import fingerprint, schema_from_json, schema_to_json

if TYPE_CHECKING:
    import pyarrow as pa

    from conduit_core.engine.windows import Choice
    from conduit_core.spec.rules import Unique

_COMMAND = "conduit check"


@dataclass(frozen=True, slots=True)
class Shaped:
    """A stream's columns on their way.

    Args:
        rows: their schema after ``transform``.
        staged: what the destination takes.
        takes_out: whether a rule may make dead letters.
        history: what rules of whole loads compare with, as JSON.
    """

    rows: pa.Schema
    staged: Staged
    takes_out: bool = False
    history: tuple[str, ...] = ()


def shape_rows(
    stream: StreamSpec,
    shape: Shape,
    ends: Ends,
    seen: Seen,
    fit_into: TargetShape | None,
    also: tuple[pa.Field[pa.DataType], ...] = (),
) -> Shaped:
    """Compile a stream's transform and rules, and fit its columns into the target. Reads little.

    Args:
        stream: the stream.
        shape: what the source said of it.
        ends: asked for landings, earlier schemas and reports.
        seen: the target.
        fit_into: the table that is loaded into; None: a new one.
        also: columns that come with the rows beside the source's.

    Raises:
        ConduitError: a step, a rule or a change is impossible or unwanted.
    """
    rows = rows_schema(stream, shape.schema)
    for field in also:
        rows = rows.append(field)
    refuse_missing_key(stream, rows)
    staged = stage_columns(
        rows,
        Wishes.of(stream, inferred=ends.source.capabilities.infers_types),
        ends.destination,
        fit_into,
        seen.target,
        before=partial(_before, ends, seen),
        expected=expected_schema(stream, ends),
    )
    if not needs_screen(stream, ends):
        if stream.max_rejected is not None:
            raise ConfigError(
                "`max_rejected` counts dead letters, and the stream has no rule that makes any:"
                " give it `quality:` with `action: dlq`",
                command=_COMMAND,
            )
        return Shaped(rows, staged)
    from conduit_core.engine.audit import read_history
    from conduit_core.engine.rules import rules_of

    rules = rules_of(stream, staged.schema, ends)
    if unknown := [name for name in stream.redact if name not in rows.names]:
        raise SchemaError(
            f"`redact` names {unknown[0]!r}, which the rows don't have; they have"
            f" {', '.join(rows.names)}",
            command=_COMMAND,
        )
    _refuse_what_it_cannot(stream, ends, takes_out=rules.takes_out)
    history = read_history(stream, ends.destination, seen.target)
    return Shaped(rows, staged, rules.takes_out, history)


def needs_screen(stream: StreamSpec, ends: Ends) -> bool:
    """Say whether something has to look at the stream's rows: a rule, or for unreadable values."""
    return bool(stream.quality) or ends.source.capabilities.gives_unreadable


def rows_schema(stream: StreamSpec, source: pa.Schema) -> pa.Schema:
    """Return the columns that a stream's rows have after its transform.

    Raises:
        ConduitError: a step doesn't fit the source's columns.
    """
    if not stream.transform:
        return source
    from conduit_core.quality import Transform

    return Transform(stream.transform, source).schema


def expected_schema(stream: StreamSpec, ends: Ends) -> pa.Schema | None:
    """Return what the stream's ``expected:`` file says of it; None where it names none.

    Raises:
        ConfigError: the file is missing or wrong, or doesn't know the stream.
    """
    if stream.expected is None:
        return None
    path = ends.base_dir / stream.expected
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"`expected: {stream.expected}` can't be read: {error}", command="conduit schema export"
        ) from error
    schemas = read_schemas(text, stream.expected)
    if stream.name not in schemas:
        raise ConfigError(
            f"`expected: {stream.expected}` has no stream {stream.name!r}; it has"
            f" {', '.join(schemas)}",
            command="conduit schema export",
        )
    return schemas[stream.name]


def _before(ends: Ends, seen: Seen) -> pa.Schema | None:
    """Return the rows' schema of the last load that had one."""
    for record in reversed(seen.chain):
        if record.is_aside:
            continue
        text = ends.destination.kept_schema(seen.target, record.schema_fingerprint)
        if text is not None:
            return schema_from_json(json.loads(text))
    return None


# --- what a destination, a mode or splits can't do ------------------------------------------------


def _refuse_what_it_cannot(stream: StreamSpec, ends: Ends, *, takes_out: bool) -> None:
    destination = ends.destination
    if stream.keep_rejected_staging and not ends.has_staging:
        raise ConfigError(
            "`keep_rejected_staging` needs a place where rows are staged: give the destination a"
            " `staging:` (a folder or a URL)",
            command=_COMMAND,
        )
    if takes_out and not isinstance(destination, KeepsLetters):
        raise ConfigError(
            f"a {destination.system} destination keeps no dead letters: use `action: fail` or"
            " `warn`, or load into a database",
            command=_COMMAND,
        )
    if takes_out and isinstance(destination, KeepsLetters):
        destination.check_letters()
    for name, rule in _unique_rules(stream):
        if rule.within != "target":
            continue
        if rule.action == "dlq" and stream.mode != "append":
            raise ConfigError(
                f"rule {name!r}: `within: target` with `action: dlq` is for mode: append: mode"
                f" {stream.mode} takes rows of the target away, or changes them; use `action:"
                " fail` or `warn`",
                command=_COMMAND,
            )
        if rule.where is not None:
            raise ConfigError(
                f"rule {name!r}: `within: target` looks at all rows of the target: leave out"
                " `where`",
                command=_COMMAND,
            )
        if rule.action != "dlq" and "check_unique" not in destination.capabilities.actions:
            raise ConfigError(
                f"rule {name!r}: a {destination.system} destination can't look for two rows that"
                " are one: leave out `within: target`",
                command=_COMMAND,
            )


def refuse_cut_keys(stream: StreamSpec, splits: SplitBy) -> None:
    """Refuse a unique rule whose equal rows may lie in two splits, which don't know each other.

    Raises:
        ConfigError: it names the rule, and what to split by.
    """
    if splits.count < 2:
        return
    renamed = {name for step in stream.transform for name in step.takes_away}
    for name, rule in _unique_rules(stream):
        is_apart = splits.column is not None and splits.column in set(rule.columns) - renamed
        if is_apart or (rule.within == "target" and rule.action != "dlq"):
            continue
        raise ConfigError(
            f"rule {name!r}: rows that are one may lie in two splits, which don't know each other:"
            f" split by one of its columns (`splits: {{count: {splits.count}, column:"
            f" {rule.columns[0]}}}`), or leave out `splits`",
            command="conduit plan",
        )


def _unique_rules(stream: StreamSpec) -> list[tuple[str, Unique]]:
    if not stream.quality:
        return []
    from conduit_core.spec.rules import Unique, rule_names

    named = zip(rule_names(stream.quality), stream.quality, strict=True)
    return [(name, rule) for name, rule in named if isinstance(rule, Unique)]


# --- what publish does about it -------------------------------------------------------------------


def quality_actions(
    stream: StreamSpec,
    shaped: Shaped,
    choice: Choice,
    ends: Ends,
    seen: Seen,
    *,
    replaces_files: bool,
) -> tuple[ResolveDeadLetters | AppendDeadLetters | CheckUnique, ...]:
    """Return what publish does for the rules, after the rows are in.

    ``replaces_files`` says that rows of files that come again are deleted first.

    Raises:
        ConfigError: a rule would take rows that the load replaces for twins of those it brings.
    """
    if choice.effective == "replace_window" or replaces_files:
        _refuse_own_twins(stream, "files" if replaces_files else "a window")
    checks = [
        CheckUnique(
            rule=name,
            columns=rule.columns,
            stops=rule.action == "fail",
            hides=not set(stream.redact).isdisjoint(rule.columns),
        )
        for name, rule in _unique_rules(stream)
        if rule.within == "target" and rule.action != "dlq"
    ]
    destination = ends.destination
    has_open = (
        bool(seen.chain)
        and isinstance(destination, KeepsLetters)
        and destination.open_letters(seen.target) > 0
    )
    payload = payload_fields(shaped.staged.schema)
    names = set(shaped.staged.schema.names)
    key = stream.unique_key if names.issuperset(stream.unique_key) else ()
    letters = letter_actions(
        LetterFacts(
            makes=shaped.takes_out,
            has_open=has_open,
            effective=choice.effective,
            key=key,
            order=cursor_columns(stream, names),
            window=choice.window,
            replaces_files=replaces_files,
            fingerprint=fingerprint(payload),
            payload_text=schema_text(payload),
            staged_text=schema_text(shaped.staged.schema),
        )
    )
    return (*letters, *checks)


def _refuse_own_twins(stream: StreamSpec, what: str) -> None:
    """Refuse to look for twins among rows of the target that the same load deletes first."""
    for name, rule in _unique_rules(stream):
        if rule.within == "target" and rule.action == "dlq":
            raise ConfigError(
                f"rule {name!r}: a load of {what} replaces rows of the target, and `within: target`"
                " with `action: dlq` would reject those that come again; use `action: fail` or"
                " `warn`, or leave out `within`",
                command="conduit plan",
            )


def refuse_held(
    changes: tuple[AddColumn | WidenColumn, ...], stream: StreamSpec, ends: Ends, seen: Seen
) -> None:
    """Refuse to widen columns under views that keep them, unless those are to be made anew.

    Raises:
        SchemaError: it lists the columns and what keeps them.
    """
    wider = [c for c in changes if isinstance(c, WidenColumn) and c.column.ddl != c.was.ddl]
    if not wider or stream.dependents == "recreate":
        return
    holders = ends.destination.holders(seen.target, tuple(c.column.name for c in wider))
    if not holders:
        return
    told = "; ".join(f"column {c.column.name!r} ({c.was.ddl} to {c.column.ddl})" for c in wider)
    raise SchemaError(
        f"{seen.target} can't be widened: {told} is kept as it is by {', '.join(holders)}; with"
        " `dependents: recreate` they are dropped and made anew in the same transaction",
        command="conduit plan",
    )


def payload_fields(staged: pa.Schema) -> pa.Schema:
    """Return the columns that a dead letter keeps: those that the source gave."""
    import pyarrow as pa

    from conduit_core.connectors.publish import DELETED_AT
    from conduit_core.engine.flow import LOAD_ID, LOADED_AT

    return pa.schema([f for f in staged if f.name not in (LOAD_ID, LOADED_AT, DELETED_AT)])


def schema_text(schema: pa.Schema) -> str:
    """Return a schema as the JSON text that ``_conduit_schemas`` keeps."""
    return json.dumps(schema_to_json(schema), ensure_ascii=False, separators=(",", ":"))
