"""Publish is data: requirements and actions, made by a strategy, carried out by a destination.

All of it is frozen and JSON-serialisable, so that ``conduit plan --sql`` can print what publish
will do, another process can do it, and strategies are tested without a server.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from conduit_core.errors import GuardError
from conduit_core.state.ledger import LedgerRecord

SAMPLE = 5
"""How many keys an error, a guard or a note shows."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Data):
    """A column of the target as it will be: name, the destination's DDL type, nullability."""

    name: str
    ddl: str
    nullable: bool = True


# --- requirements: checked under the target's lock, inside the transaction ------------------------


class NoNewerRecord(_Data):
    """No record newer than ``version`` but given-window ones (a watermark, full or replay load)."""

    kind: Literal["no_newer_record"] = "no_newer_record"
    version: int


class NoOverlappingRecord(_Data):
    """No record newer than ``version`` overlaps the window (a given-window load)."""

    kind: Literal["no_overlapping_record"] = "no_overlapping_record"
    version: int
    window: str


class OwnedBy(_Data):
    """The target's chain is empty or belongs to this stream of this pipeline."""

    kind: Literal["owned_by"] = "owned_by"
    pipeline: str
    stream: str


class TargetIs(_Data):
    """The target still has just the columns the plan saw (names, in order; None: no table)."""

    kind: Literal["target_is"] = "target_is"
    columns: tuple[str, ...] | None


Requirement = Annotated[
    NoNewerRecord | NoOverlappingRecord | OwnedBy | TargetIs, Field(discriminator="kind")
]


# --- actions: carried out in order ----------------------------------------------------------------


class CreateTable(_Data):
    """Create the target with these columns (its schema too, where systems have schemas)."""

    kind: Literal["create_table"] = "create_table"
    columns: tuple[Column, ...]


class AppendStaged(_Data):
    """Insert the staged rows into the target. Counts ``inserted``."""

    kind: Literal["append_staged"] = "append_staged"


class ReplaceWithStaged(_Data):
    """Make the staged rows the target's whole content. Counts ``inserted`` and ``removed``.

    ``swap`` fills a new table with ``columns`` and puts it in the old one's place, carrying over
    indexes, constraints, owner, grants, comments and identity where the system has them;
    ``in_place`` deletes and inserts.
    """

    kind: Literal["replace_with_staged"] = "replace_with_staged"
    how: Literal["swap", "in_place"]
    columns: tuple[Column, ...]


class AddColumn(_Data):
    """Add a nullable column to the target. Done where the target is first touched after the rows.

    So that nobody waits for the ALTER while rows are on their way.
    """

    kind: Literal["add_column"] = "add_column"
    column: Column


class WidenColumn(_Data):
    """Give a column of the target a wider type, or let it have NULLs. Done where AddColumn is.

    The lattice of ``conduit_core.types.lattice`` says what is wider. Where the system has no such
    ALTER, a new table takes the old one's place, as ``swap`` of :class:`ReplaceWithStaged` does.

    Args:
        column: the column as it will be.
        was: the column as it is.
        recreate: drop what keeps the column as it is (views, rules), and make it anew afterwards
            in the same transaction; without it that is an error, which lists them.
    """

    kind: Literal["widen_column"] = "widen_column"
    column: Column
    was: Column
    recreate: bool = False


class StartOver(_Data):
    """Empty the target, for the actions that follow; ``how`` as of :class:`ReplaceWithStaged`.

    ``swap`` puts an empty table with ``columns`` in its place. Counts ``removed`` where rows are
    deleted.
    """

    kind: Literal["start_over"] = "start_over"
    how: Literal["swap", "in_place"]
    columns: tuple[Column, ...]


class DeleteWindow(_Data):
    """Delete the target's rows inside a window (``Window`` JSON). Counts ``removed``."""

    kind: Literal["delete_window"] = "delete_window"
    window: str


class DeleteMatching(_Data):
    """Delete target rows whose values of ``columns`` occur in the staged rows. Counts ``removed``.

    Comes before :class:`AppendStaged`; the staged rows then wait in a temporary relation.
    """

    kind: Literal["delete_matching"] = "delete_matching"
    columns: tuple[str, ...]


FILE = "_conduit_file"
"""The column that says which file a row came from."""
DELETED_AT = "_conduit_deleted_at"
"""The column that says when a row was deleted; NULL: it is there. In staged rows it is the flag."""


class KeepNewest(_Data):
    """Leave one staged row of each key; the staged rows then wait in a temporary relation.

    The newest by ``order`` (the cursor's columns) stays; of equals, and without an order, the one
    that was read last. Counts ``deduplicated`` (equal to the one that stays in all ``compare``
    columns) and ``superseded`` (the others). A NULL in the key is refused.
    """

    kind: Literal["keep_newest"] = "keep_newest"
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()


class Deletes(_Data):
    """How a load learns which rows are gone at the source, and what becomes of them.

    ``flag``: a staged row whose ``DELETED_AT`` isn't NULL says that its key is gone; it counts as
    ``flagged`` (and so ``deleted``), whatever it finds in the target.

    ``missing``: the key rows (:class:`conduit_core.connectors.base.KeyRows`) are all keys that the
    source has. Target rows with another key are gone, but for keys staged in this load. A key of
    theirs that has no row in the target (none that isn't deleted), was not staged, and lies in
    ``window``, counts as ``lacking`` and is read again by key; those rows are merged like the rest.

    ``listed``: the key rows are tombstones. A row, staged or in the target, is gone where its key
    has a tombstone whose ``time`` is not before the row's first ``order`` column; without ``time``,
    where its key has one and was not staged in this load.

    Key rows that carry a NULL in the key are no one's, and are left aside.

    Counts, beside: ``keys`` (key rows read), ``target_rows`` (rows of the target that aren't
    deleted, before the load; only where a guard asks), ``gone`` (rows of the target that the load
    deletes, by whichever way). ``deleted`` is ``flagged`` plus what was ``gone`` without a staged
    row of its own. A sample of the keys that go is kept for the guards that follow.

    Args:
        detect: see above.
        soft: ``DELETED_AT``, a column of the target, is set to ``at`` (in scd2: the current version
            ends, too), and to NULL where a key comes back with a row. Otherwise rows (in scd2: all
            versions of a key) are deleted.
        at: the load's time, which ``DELETED_AT`` takes, as UTC ``YYYY-MM-DD HH:MM:SS.ffffff+00:00``
            text.
        keys: the columns of the key rows, as in the target: the key, then for ``missing`` the
            ``order`` columns, for ``listed`` the time.
        time: of ``listed``: the name of the time among ``keys``.
        window: of ``missing``: JSON of a ``Window`` over the ``order`` columns, outside of which a
            key is no concern of the target yet; None: all are.
    """

    detect: Literal["flag", "missing", "listed"]
    soft: bool
    at: str
    keys: tuple[Column, ...] = ()
    time: str | None = None
    window: str | None = None


class MergeStaged(_Data):
    """Insert staged rows whose key is new, update those that differ: of each key the newest.

    Which of several staged rows of a key counts is as :class:`KeepNewest` says. Counts
    ``inserted``, ``updated``, ``unchanged``, ``deduplicated``, ``superseded``. Unchanged rows are
    not rewritten. A NULL in the key, and a staged key that the target has twice, are refused, and
    nothing is changed.

    Args:
        key: the columns that identify a row; the target needs no index on them.
        order: the columns that say which of two rows is newer.
        compare: the stream's own columns in this load: a row that is equal in them is unchanged.
        update: False leaves rows alone whose key is there; they count as unchanged.
        only_newer: leaves rows alone whose ``order`` is above the staged one's, and without an
            ``order`` all that are there; they count as unchanged.
    """

    kind: Literal["merge_staged"] = "merge_staged"
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    update: bool = True
    only_newer: bool = False
    deletes: Deletes | None = None


VALID_FROM, VALID_TO, IS_CURRENT = "valid_from", "valid_to", "is_current"


class CloseVersions(_Data):
    """Keep every version of a key (scd2): the staged rows are versions, in the order of the cursor.

    The target has, beside the staged columns, ``valid_from`` and ``valid_to`` (of the type of the
    first ``order`` column) and ``is_current``. A row of the target is a version: it holds from its
    first cursor value up to the next version's, half-open; its own cursor columns are the last
    cursor it was seen with. Versions next to each other that are equal in ``track`` are one: the
    newer row's other columns are taken over in place. A late row splits the interval it falls in.

    Counts ``inserted`` (versions opened), ``updated`` (staged rows that an existing version took
    over), ``unchanged``, ``deduplicated`` and ``superseded`` (staged rows of one key and one
    ``valid_from``, as :class:`KeepNewest` says), ``flagged``.

    Args:
        key, order, compare: as of :class:`MergeStaged`; ``order`` isn't empty and has no NULL.
        track: the columns whose change makes a version.
        deletes: how versions end without a next one.
        ends_at: the load's time in the type of the first ``order`` column, as text: where a version
            ends whose key is missing (never before its last cursor).
    """

    kind: Literal["close_versions"] = "close_versions"
    key: tuple[str, ...]
    order: tuple[str, ...]
    compare: tuple[str, ...]
    track: tuple[str, ...]
    deletes: Deletes | None = None
    ends_at: str | None = None


class Guard(_Data):
    """Stop the load, inside its transaction, unless ``expr`` holds over the counts known so far.

    ``expr`` compares sums, products and quotients of counts and numbers; ``and``, ``or``, ``not``.
    Names: the kinds of :class:`Counts`, those of :class:`Deletes`, and ``target_has_rows`` (0 or 1,
    before the load). The error shows a sample of the keys that the actions before it took away.
    """

    kind: Literal["guard"] = "guard"
    expr: str
    message: str
    command: str | None = None


class LetterFilter(_Data):
    """Which open dead letters of a target; what isn't None must hold.

    Args:
        load_id: of the load that rejected them last.
        rule: one that they break.
        ids: their ids.
    """

    load_id: str | None = None
    rule: str | None = None
    ids: tuple[str, ...] | None = None


class AppendDeadLetters(_Data):
    """Keep the load's rejected rows (``Tally.letters``) as dead letters of the target.

    Rows with one letter id are one letter: a new one has one attempt; one that is there gets
    another, is open again, and tells of this load. Carried out after the rows are in.

    Args:
        schema_fingerprint: of the payloads' schema.
        schema_text: that schema as JSON, kept once in ``_conduit_schemas``.
        adds_copies: whether a row that comes again is a further copy (each row is read once), or
            the same row read again.
    """

    kind: Literal["append_dead_letters"] = "append_dead_letters"
    schema_fingerprint: str
    schema_text: str
    adds_copies: bool = False


class ResolveDeadLetters(_Data):
    """Settle the target's open dead letters that the load covers and didn't reject (again).

    A letter with a row of its ``key`` in the load is ``resolved``; one whose key came only as a
    rejected row of another id, or as a deleted one, is ``superseded``. So are, beside these,

    * all others, where the load ``covers`` the whole target,
    * those whose ``order`` columns lie in ``window``, where it replaces a slice,
    * those of the files (``_conduit_file``) that came again, where it covers ``files``.

    Of a replay (``replays``) it settles the letters that were replayed: where the target had a
    newer row of the key by ``order`` before the load (without an order: any row), or where the
    replay's row is not in it, ``superseded``; else, unless it was rejected again, ``resolved``.

    Args:
        key: the stream's unique key; empty: rows have none.
        order: the cursor's columns.
        covers: what the load replaces.
        window: of ``covers: window``: JSON of a ``Window`` over the ``order`` columns.
        replays: the letters whose payloads are the load's rows.
        schema_text: schema of the rows as staged, as JSON: the types of ``key`` and ``order``.
    """

    kind: Literal["resolve_dead_letters"] = "resolve_dead_letters"
    key: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    covers: Literal["rows", "files", "window", "target"] = "rows"
    window: str | None = None
    replays: LetterFilter | None = None
    schema_text: str = "[]"


class CheckUnique(_Data):
    """Look for two rows of the target, as it is after the load, with the same ``columns``.

    NULLs never match. ``stops``: the load ends with a QualityError that shows some; else a note
    says how many rows there are beside the first of each. ``hides``: no value is shown.
    """

    kind: Literal["check_unique"] = "check_unique"
    rule: str
    columns: tuple[str, ...]
    stops: bool = True
    hides: bool = False


class RecordLoad(_Data):
    """Write the ledger record; version and counts are filled in inside the transaction.

    ``schema_text`` is the load's schema as JSON, kept once in ``_conduit_schemas`` under the
    record's ``schema_fingerprint``.
    """

    kind: Literal["record_load"] = "record_load"
    record: LedgerRecord
    schema_text: str


Action = Annotated[
    CreateTable
    | AddColumn
    | WidenColumn
    | AppendStaged
    | ReplaceWithStaged
    | StartOver
    | DeleteWindow
    | DeleteMatching
    | KeepNewest
    | MergeStaged
    | CloseVersions
    | AppendDeadLetters
    | ResolveDeadLetters
    | CheckUnique
    | Guard
    | RecordLoad,
    Field(discriminator="kind"),
]


class Wire(_Data):
    """A format of rows that source and target share, so that nothing has to decode them.

    ``constants`` are the staged columns with one value in every row, as text: either side may
    supply them.
    """

    format: str
    constants: dict[str, str] = {}


class Publish(_Data):
    """One transaction on one target: what must hold, and what to do.

    With a ``wire`` the staged rows may be taken undecoded, if they can be had so. ``in_splits``
    says that they wait in staging, for :meth:`Destination.render`.
    """

    target_schema: str
    target_table: str
    staged_columns: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    actions: tuple[Action, ...]
    wire: Wire | None = None
    in_splits: bool = False

    @property
    def record(self) -> LedgerRecord:
        """The ledger record that the last action writes."""
        for action in self.actions:
            if isinstance(action, RecordLoad):
                return action.record
        raise ValueError("a publish without RecordLoad")

    @property
    def creates_target(self) -> bool:
        """Whether the target doesn't exist yet."""
        return "create_table" in self.action_kinds

    @property
    def action_kinds(self) -> frozenset[str]:
        """The kinds of its actions, to compare with a destination's capabilities."""
        return frozenset(a.kind for a in self.actions)


BALANCE = Guard(
    expr="read == inserted + updated + unchanged + flagged + deduplicated + superseded + rejected",
    message="the balance does not hold: not every row read is accounted for",
)

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_BOOL: dict[type[ast.boolop], Callable[[Iterable[bool]], bool]] = {ast.And: all, ast.Or: any}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def check_guard(
    guard: Guard, counts: Mapping[str, int], sample: Callable[[], tuple[str, ...]] = tuple
) -> None:
    """Evaluate a guard over counts; ``sample`` finds keys to show where it doesn't hold.

    Raises:
        GuardError: it doesn't hold, or divides by zero; the message lists the counts it looked at.
        ValueError: the expression uses something else than counts, numbers and comparisons.
    """
    try:
        tree = ast.parse(guard.expr, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not an expression: {guard.expr!r}") from error
    truth = _truth(tree, counts)  # the whole expression is looked at before any of it is evaluated
    try:
        holds = truth()
    except ZeroDivisionError:
        holds = False
    if not holds:
        used = sorted((n.col_offset, n.id) for n in ast.walk(tree) if isinstance(n, ast.Name))
        names = dict.fromkeys(name for _, name in used)
        told = [f"{name} {counts[name]}" for name in names if name != "target_has_rows"]
        if shown := dict.fromkeys(sample()):
            told.append(f"for example {'; '.join(shown)}")
        facts = f" ({', '.join(told)})" if told else ""
        raise GuardError(f"{guard.message}{facts}", command=guard.command)


def _number(node: ast.expr, counts: Mapping[str, int]) -> Callable[[], float]:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return lambda: value
        case ast.Name(id=name) if name in counts:
            return lambda: counts[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            apply, a, b = _BINARY[type(op)], _number(left, counts), _number(right, counts)
            return lambda: apply(a(), b())
        case _:
            raise ValueError(f"not allowed in a guard: {ast.unparse(node)}")


def _truth(node: ast.expr, counts: Mapping[str, int]) -> Callable[[], bool]:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts, combine = [_truth(v, counts) for v in values], _BOOL[type(op)]
            return lambda: combine(part() for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _truth(operand, counts)
            return lambda: not inner()
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            compare, a, b = _COMPARE[type(op)], _number(left, counts), _number(right, counts)
            return lambda: compare(a(), b())
        case _:
            raise ValueError(f"not allowed in a guard: {ast.unparse(node)}")
