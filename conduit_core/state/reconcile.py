"""Reconciling the state store with the ledger: one pure decision, first match wins (a table)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from conduit_core.errors import StateDivergedError, StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord, newest, watermark_record
from conduit_core.state.store import POINTER, StateEntry

Decision = Literal["equal", "roll_forward", "rewind"]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the plan goes on with.

    Args:
        decision: ``equal``, ``roll_forward`` (the store lagged) or ``rewind`` (a person's edit).
        cursor: the watermark to read from; None is the start.
        note: one line for the user, empty when there is nothing to say.
        other: the watermark where it is over other columns than the stream's cursor is now, so
            that ``cursor`` is None: only a load that reads everything can go on from that.
    """

    decision: Decision
    cursor: Cursor | None
    note: str = ""
    other: Cursor | None = None


def reconcile(
    chain: list[LedgerRecord],
    stored: str | None,
    *,
    target_fingerprint: str,
    columns: tuple[str, ...],
    mode: str,
) -> Reconciled:
    """Decide which watermark a plan starts from.

    Args:
        chain: the target's ledger records.
        stored: the store's raw text for the target, None when there is none.
        target_fingerprint: of the target this pipeline writes to now.
        columns: the stream's cursor columns.
        mode: the stream's mode; a rewind of ``append`` is refused here.

    Raises:
        StateDivergedError: the entry is of another target, or ahead of the ledger, or of a
            different load at the same version.
        StateError: the entry is unreadable, of other columns or types, moved forward by hand, or
            rewound under ``append``.
    """
    entry = None if stored is None else _entry(stored, target_fingerprint)
    mark = _cursor_of(watermark_record(chain))
    if mark is None or not columns or mark.columns == columns:
        return _decide(chain, entry, mark if columns else None, columns, mode)
    decided = _decide(chain, entry, None, columns, mode)
    return replace(decided, other=mark)


def _decide(
    chain: list[LedgerRecord],
    entry: StateEntry | None,
    cursor: Cursor | None,
    columns: tuple[str, ...],
    mode: str,
) -> Reconciled:
    """Go through the table; ``cursor`` is the ledger's watermark over the stream's columns."""
    last = newest(chain)
    if entry is None:
        note = "the state store is empty: it is rolled forward from the ledger" if last else ""
        return Reconciled("roll_forward" if last else "equal", cursor, note)
    if entry.is_edited:
        wanted = _wanted(entry, chain, cursor, columns)
        return _edited(wanted, cursor, mode)
    version = _version(entry)
    known = last.version if last else 0
    if version > known:
        raise StateDivergedError(
            f"the state store is at version {version} (load {entry.load_id}), the destination's"
            f" ledger at {known}{f' (load {last.load_id})' if last else ''}: the destination was"
            " restored or emptied, or is another one",
            command="conduit state reset",
        )
    if version < known:
        note = f"the state store is at version {version}, the ledger at {known}: rolled forward"
        return Reconciled("roll_forward", cursor, note)
    if last is not None and entry.load_id != last.load_id:
        raise StateDivergedError(
            f"version {version} is load {entry.load_id} in the state store and load {last.load_id}"
            " in the destination's ledger: one of them was restored",
            command="conduit state reset",
        )
    return Reconciled("equal", cursor)


def _entry(stored: str, target_fingerprint: str) -> StateEntry:
    try:
        entry = StateEntry.from_json(stored)
    except StateError:
        if _other_fingerprint(stored, target_fingerprint):
            raise _other_target() from None
        raise
    if entry.target_fingerprint != target_fingerprint:
        raise _other_target()
    return entry


def _other_fingerprint(stored: str, fingerprint: str) -> bool:
    return '"target_fingerprint"' in stored and fingerprint not in stored


def _other_target() -> StateDivergedError:
    return StateDivergedError(
        "the state store's entry belongs to another target (destination, schema or table): the"
        " pipeline file wins, but not silently. If the move is meant, clear the entry",
        command="conduit state show",
    )


def _version(entry: StateEntry) -> int:
    try:
        return int(entry.version)
    except ValueError as error:
        raise StateError(
            f"the state store's version is not a number: {entry.version!r}",
            command="conduit state show",
        ) from error


def _cursor_of(record: LedgerRecord | None) -> Cursor | None:
    return Cursor.from_json(record.cursor) if record is not None and record.cursor else None


def _wanted(
    entry: StateEntry, chain: list[LedgerRecord], now: Cursor | None, columns: tuple[str, ...]
) -> Cursor | None:
    """Return the cursor that a person's edit asks for; None is the start."""
    if entry.cursor in ("", "initial"):
        return None
    wanted = _pointed(entry.cursor, chain)
    if wanted is None or wanted.columns != columns:
        has = list(wanted.columns) if wanted else "no columns"
        raise StateError(
            f"the edited state entry has {has}, the stream's cursor is {list(columns)}:"
            f" {entry.cursor!r}",
            command="conduit state show",
        )
    types, known = ([v.type for v in c.values] if c else [] for c in (wanted, now))
    if now is not None and types != known:
        raise StateError(
            f"the edited state entry is of type {', '.join(map(str, types))}, the watermark of"
            f" {', '.join(map(str, known))}: {entry.cursor!r}",
            command="conduit state show",
        )
    return wanted


def _pointed(text: str, chain: list[LedgerRecord]) -> Cursor | None:
    """Read a cursor's text, or follow ``ledger:VERSION`` to the record that has it."""
    if not text.startswith(POINTER):
        return Cursor.from_json(text)
    found = [r for r in chain if f"{POINTER}{r.version}" == text]
    if not found:
        raise StateError(
            f"the state entry points at a record that the ledger doesn't have: {text!r}",
            command="conduit runs",
        )
    return Cursor.from_json(found[0].cursor) if found[0].cursor else None


def _edited(wanted: Cursor | None, cursor: Cursor | None, mode: str) -> Reconciled:
    if wanted is not None:
        if cursor is None or wanted.compare(cursor) > 0:
            raise StateError(
                f"the state entry was moved forward by hand to {wanted.display()}, past the"
                f" watermark {cursor.display() if cursor else 'start'}: rows between would never"
                " load. To skip them on purpose: `conduit state set --cursor VALUE --skip`",
                command=f"conduit state set --cursor '{wanted.display()}' --skip",
            )
        if wanted.compare(cursor) == 0:
            return Reconciled("roll_forward", cursor, "the edited state entry changes nothing")
    if cursor is None:
        return Reconciled("equal", None)
    where = wanted.display() if wanted else "the start"
    if mode == "append":
        raise StateError(
            f"the state entry was rewound to {where}; under append the rows after it would be there"
            " twice. To delete and load them again: `conduit state set --cursor VALUE"
            " --replace-after`",
            command="conduit state set --cursor VALUE --replace-after",
        )
    return Reconciled("rewind", wanted, f"rewound by hand from {cursor.display()} to {where}")
