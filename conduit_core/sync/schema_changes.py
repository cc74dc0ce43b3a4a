"""What ``on_schema_change`` makes of the changes a plan found: actions, warnings or an error. Pure.

=============  ========================  =================================  =====================
change         auto                      warn (says it), ignore (doesn't)   fail
=============  ========================  =================================  =====================
added          AddColumn, nullable       not loaded                         error
removed        stays; NOT NULL is        stays; error if NOT NULL without   error
               dropped                   a default
widened,       WidenColumn               loaded if each value can be        error
capacity                                 checked, else not loaded
incompatible   error                     not loaded                         error
nullability    NOT NULL is dropped       loaded; a NULL stops the load      error
narrowed       loaded                    loaded, silently                   loaded, silently
renamed        a warning                 a warning, or nothing              named in the error
=============  ========================  =================================  =====================

A key or a cursor is never left out, and its type changes only so that its values compare as before.
A NOT NULL column of the target is never left out either. Names that the destination can't have are
errors under every word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from conduit_core.connectors.publish import AddColumn, Column, WidenColumn
from conduit_core.errors import SchemaError
from conduit_core.spec.schema_changes import SchemaChangeSpec, Word
from conduit_core.types.casts import can_hold
from conduit_core.types.dialect import Dialect, Landing, Table
from conduit_core.types.diff import Change, Lands
from conduit_core.types.fields import same_type, shown


@dataclass(frozen=True, slots=True)
class Decision:
    """What a load does about the changes.

    Args:
        actions: what publish does to the target.
        left_out: columns of the source that this load doesn't bring.
        warnings: what to say; the load is green.
        problems: why nothing may be published; empty where it may.
    """

    actions: tuple[AddColumn | WidenColumn, ...] = ()
    left_out: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def refuse(self, target: Table) -> None:
        """Stop where there are problems.

        Raises:
            SchemaError: all of them at once.
        """
        if not self.problems:
            return
        one = len(self.problems) == 1
        text = f" {self.problems[0]}" if one else "\n  ".join(["", *self.problems])
        raise SchemaError(
            f"{target} doesn't fit the source:{text}", command="conduit run --full-refresh"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What a decision must know of the target and the stream.

    Args:
        dialect: the destination's.
        ddl: each column of the target with its DDL type.
        filled: columns that the destination fills in by itself (a default, an identity).
        key: the stream's unique key.
        cursor: the stream's cursor.
        before: the source's columns, landed, at the last load; None where there was none. A column
            of the target that no load has brought isn't one that was removed, and NOT NULL that no
            load has asked for is not dropped.
        lands: the destination's ``landing``, where it knows more than its dialect.
    """

    dialect: Dialect
    ddl: dict[str, str]
    filled: frozenset[str] = frozenset()
    key: tuple[str, ...] = ()
    cursor: tuple[str, ...] = ()
    before: pa.Schema | None = None
    lands: Lands | None = None

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a field lands in a new table."""
        return (self.lands or self.dialect.landing)(field)


@dataclass(slots=True)
class _Draft:
    """A decision on its way: what each kind's rule adds to."""

    target: Target
    actions: dict[str, AddColumn | WidenColumn] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def say(self, word: Word, change: Change, what: str) -> None:
        if word == "warn":
            self.warnings.append(f"{change.fact}; {what}")

    def widen(self, change: Change, ddl: str, *, nullable: bool) -> None:
        """Widen a column; a change of its type and one of its NULLs are one action."""
        earlier = self.actions.get(change.column)
        was = Column(
            name=change.column, ddl=self.target.ddl[change.column], nullable=_nullable(change)
        )
        if isinstance(earlier, WidenColumn):
            ddl = earlier.column.ddl if ddl == was.ddl else ddl
            nullable = nullable or earlier.column.nullable
        wider = Column(name=change.column, ddl=ddl, nullable=nullable)
        self.actions[change.column] = WidenColumn(column=wider, was=was)

    def leave_out(self, word: Word, change: Change) -> None:
        """Load without the column, where that can be."""
        name = change.column
        if name in (*self.target.key, *self.target.cursor):
            role = "unique_key" if name in self.target.key else "cursor"
            self.problems.append(f"{change}; it is part of the {role} and can't be left out")
        elif change.old is not None and not change.old.nullable and name not in self.target.filled:
            self.problems.append(f"{change}; it is NOT NULL in the target and can't be left out")
        else:
            self.left_out.add(name)
            self.say(word, change, "it is not loaded")


def decide(changes: Sequence[Change], policy: SchemaChangeSpec, target: Target) -> Decision:
    """Return what a load does about the changes between its target and its source.

    Args:
        changes: as :func:`conduit_core.types.diff.preflight` found them. A source that isn't what
            an ``expected:`` file says is an error unless the policy's word for it is warn or
            ignore; the target follows the source, so what the file says of it is for people.
        policy: the stream's ``on_schema_change``.
        target: the target and the stream.
    """
    draft = _Draft(target)
    for change in changes:
        if "target" not in change.between:
            _unexpected(draft, change, policy)
        elif "source" not in change.between:
            continue
        elif change.kind in _RULES:
            word, rule = _RULES[change.kind]
            rule(draft, change, word(policy))
        elif change.kind in ("case", "too_long", "too_many"):
            draft.problems.append(str(change))
        elif change.kind == "renamed" and policy.removed != "ignore":
            hints = draft.problems if policy.removed == "fail" else draft.warnings
            hints.append(str(change))
    return Decision(
        tuple(draft.actions.values()),
        frozenset(draft.left_out),
        tuple(draft.warnings),
        tuple(draft.problems),
    )


def _nullable(change: Change) -> bool:
    return change.old is None or change.old.nullable


# --- one rule for each kind -----------------------------------------------------------------------


def _added(draft: _Draft, change: Change, word: Word) -> None:
    if word == "fail":
        draft.problems.append(f"{change.fact}: `on_schema_change: {{added: auto}}` adds it")
    elif word == "auto" and change.new is not None:
        landing = draft.target.landing(change.new)
        column = Column(name=change.column, ddl=landing.ddl)
        draft.actions[change.column] = AddColumn(column=column)
    else:
        draft.leave_out(word, change)


def _removed(draft: _Draft, change: Change, word: Word) -> None:
    before = draft.target.before
    ours = before is not None and change.column in before.names
    needs_value = not _nullable(change) and change.column not in draft.target.filled
    if change.column in (*draft.target.key, *draft.target.cursor):
        draft.problems.append(f"{change.fact}; the stream's key or cursor names it")
    elif not ours and not needs_value:
        return  # a column of the target's own
    elif word == "fail" and ours:
        draft.problems.append(f"{change.fact}: `on_schema_change: {{removed: auto}}` keeps it")
    elif needs_value and ours and word == "auto" and before is not None:
        draft.widen(change, draft.target.ddl[change.column], nullable=True)
    elif needs_value:
        draft.problems.append(f"{change.fact} and is NOT NULL without a default: give it one")
    else:
        draft.say(word, change, "the target keeps it, new rows have NULL there")


def _widened(draft: _Draft, change: Change, word: Word) -> None:
    if word == "fail":
        draft.problems.append(
            f"{change.fact}: `on_schema_change: {{type_changed: auto}}` widens it"
        )
    elif word == "auto":
        _widen(draft, change)
    elif change.new is not None and change.old is not None and _checkable(change.new, change.old):
        draft.say(word, change, "each value is checked, and one that doesn't fit stops the load")
    else:
        draft.leave_out(word, change)


def _widen(draft: _Draft, change: Change) -> None:
    wider, name = change.wider, change.column
    if wider is None:
        return
    dialect, target = draft.target.dialect, draft.target
    ddl = target.landing(wider).ddl
    there = dialect.field_of(name, ddl)
    if not same_type(there, wider) or dialect.effort(target.ddl[name], ddl) == "impossible":
        draft.problems.append(
            f"{change.fact}; {shown(wider)} would hold both, but {dialect.name} can't have it: cast"
            " the column in a `query:`"
        )
    elif name in (*target.key, *target.cursor) and not _compares_alike(change):
        role = "unique_key" if name in target.key else "cursor"
        draft.problems.append(
            f"{change.fact}; it is part of the {role}, whose values would no longer meet those that"
            " are there: cast it in a `query:`, or make the table anew with `conduit run"
            " --full-refresh`"
        )
    else:
        draft.widen(change, ddl, nullable=_nullable(change))


def _incompatible(draft: _Draft, change: Change, word: Word) -> None:
    target = draft.target
    if word in ("auto", "fail") and change.column in (*target.key, *target.cursor):
        role = "unique_key" if change.column in target.key else "cursor"
        draft.problems.append(f"{change}; it is part of the {role}")
    elif word in ("auto", "fail"):
        draft.problems.append(str(change))
    else:
        draft.leave_out(word, change)


def _nullability(draft: _Draft, change: Change, word: Word) -> None:
    before = draft.target.before
    known = before is not None and change.column in before.names
    if before is None or not known or before.field(change.column).nullable:
        return  # the source always was as it is: NOT NULL is the target's own wish
    if change.column in draft.target.key:
        return  # a NULL in the key is refused anyway
    if word == "fail":
        draft.problems.append(str(change))
    elif word == "auto":
        draft.widen(change, draft.target.ddl[change.column], nullable=True)
    else:
        draft.say(word, change, "a NULL stops the load")


def _unexpected(draft: _Draft, change: Change, policy: SchemaChangeSpec) -> None:
    """Judge a difference from the ``expected:`` file: nothing is altered to fit it."""
    if change.kind in ("narrowed", "renamed"):
        return
    word = _RULES[change.kind][0](policy) if change.kind in _RULES else "fail"
    if word in ("auto", "fail"):
        draft.problems.append(f"{change.fact}: mend the file, or what it speaks of")
    else:
        draft.say(word, change, "the file says otherwise")


def _checkable(new: pa.Field[pa.DataType], old: pa.Field[pa.DataType]) -> bool:
    """Say whether values on their way in can be told to fit one by one."""
    return can_hold(new.type, old.type)


def _compares_alike(change: Change) -> bool:
    """Say whether old values equal, and order among, new ones in the wider column."""
    kinds = [f.type for f in (change.old, change.new) if f is not None]
    exact = all(pa.types.is_integer(k) or pa.types.is_decimal(k) for k in kinds)
    times = all(pa.types.is_temporal(k) for k in kinds)
    return exact or times or change.kind == "capacity"


_RULES: dict[
    str, tuple[Callable[[SchemaChangeSpec], Word], Callable[[_Draft, Change, Word], None]]
] = {
    "added": (lambda p: p.added, _added),
    "removed": (lambda p: p.removed, _removed),
    "widened": (lambda p: p.type_changed, _widened),
    "capacity": (lambda p: p.type_changed, _widened),
    "incompatible": (lambda p: p.type_changed, _incompatible),
    "nullability": (lambda p: p.type_changed, _nullability),
}
