"""What planning looks at before anything else: the target, its ledger, the runner's state.

Refuses what the two ends can't do, and loads into a target that isn't this stream's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from conduit_core.connectors.base import TargetShape
from conduit_core.connectors.chain import owned_by_another
from conduit_core.engine.asking import such_as
from conduit_core.engine.identity import request_text, target_fingerprint
from conduit_core.engine.model import RunRequest
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.windows import Choice
from conduit_core.errors import ConduitError, ConfigError, StateError
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord, newest, since_emptied, watermark_record
from conduit_core.state.reconcile import Reconciled, reconcile
from conduit_core.state.store import StateStore
from conduit_core.state.window import Window
from conduit_core.sync.strategies import Effective
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Seen:
    """What planning has read so far.

    Args:
        target, fingerprint: the target, and what makes it itself.
        existing: the table as it is; None: there is none.
        chain: its ledger records.
        stored: the entry of the runner's state store.
        reconciled: where the watermark is.
    """

    target: Table
    fingerprint: str
    existing: TargetShape | None
    chain: list[LedgerRecord]
    stored: str | None
    reconciled: Reconciled


def state_key(target: Table) -> str:
    """Return the key of a target in a state store: ``schema.table``, as a rule.

    A schema that would make it read in two ways is quoted: no two targets have one key.
    """
    plain = not any(sign in target.schema for sign in '."')
    return f"{target.schema if plain else json.dumps(target.schema)}.{target.name}"


def watermark_state(chain: list[LedgerRecord]) -> str:
    """Return the error line that says what a failed load has left behind."""
    base = watermark_record(chain)
    if base is None:
        return (
            "nothing published; the target has no watermark yet"
            if not chain
            else (f"nothing published; the target stays at version {chain[-1].version}")
        )
    if base.cursor is None:
        return f"nothing published; the target stays at version {chain[-1].version}"
    return f"nothing published; watermark unchanged at {Cursor.from_json(base.cursor).display()}"


def look(pipeline: Pipeline, stream: StreamSpec, ends: Ends, store: StateStore | None) -> Seen:
    """Read the target, its ledger and the runner's state.

    Raises:
        StateError: the target belongs to another stream, or state and ledger don't go together.
        ConfigError: the target is a view.
    """
    target = pipeline.target(stream, ends.destination)
    fingerprint_ = target_fingerprint(ends.destination.identity, target)
    chain = ends.destination.records(target)
    last = newest(chain)
    if last is not None and (last.pipeline, last.stream) != (pipeline.name, stream.name):
        raise owned_by_another(last, str(target)).at(state=watermark_state(chain))
    stored = store.get(state_key(target)) if store else None
    try:
        reconciled = reconcile(
            chain,
            stored,
            target_fingerprint=fingerprint_,
            columns=stream.cursor,
            mode=stream.mode,
        )
    except ConduitError as error:
        raise error.at(state=watermark_state(chain)) from error.__cause__
    if store is None:  # the ledger is the only state: nothing lags behind it
        reconciled = Reconciled("equal", reconciled.cursor, other=reconciled.other)
    existing = ends.destination.describe(target)
    if existing is not None and not existing.is_table:
        raise ConfigError(f"{target} is a view, not a table: give the stream another `into`")
    return Seen(target, fingerprint_, existing, chain, stored, reconciled)


def refuse_itself(stream: StreamSpec, ends: Ends, target: Table) -> None:
    """Refuse a stream that reads the table it writes.

    Raises:
        ConfigError: it does.
    """
    if stream.source_table is None or ends.source.identity != ends.destination.identity:
        return
    schema, name = stream.source_table
    pair = [Table(schema or ends.source.default_schema, name), target]
    if not ends.destination.capabilities.case_sensitive_names:
        pair = [Table(t.schema.lower(), t.name.lower()) for t in pair]
    if pair[0] == pair[1]:
        raise ConfigError(f"{target} would be loaded into itself: give the stream another `into`")


def refuse_unsupported(stream: StreamSpec, ends: Ends) -> None:
    """Refuse what the stream's source can't do.

    Raises:
        ConfigError: what it is, and what there is instead.
    """
    kinds = ends.source.capabilities.kinds
    kind = next(k for k in ("table", "query", "path") if getattr(stream, k) is not None)
    if kind not in kinds:
        raise ConfigError(
            f"a {ends.source.system} source takes {' or '.join(sorted(kinds))}, not {kind}"
        )
    if "file" in stream.metadata and "path" not in kinds:
        raise ConfigError(f"metadata: [file] is for sources of files, not {ends.source.system}")
    virtual = [c for c in stream.cursor if c.startswith("_file_")]
    if virtual and stream.mode in ("replace_window", "scd2"):
        raise ConfigError(
            f"`mode: {stream.mode}` needs a cursor that is a column of the rows, not of the files:"
            " use append with `metadata: [load, file]`, which replaces the rows of a changed file"
        )
    unknown = [c for c in virtual if c not in ends.source.capabilities.virtual_cursor]
    if unknown:
        raise ConfigError(f"{ends.source.system} has no {unknown[0]}: it is for sources of files")


def replayed_record(request: RunRequest, chain: list[LedgerRecord]) -> LedgerRecord | None:
    """Return the load that the request key has published before.

    Raises:
        StateError: the key was used for another request.
    """
    if request.request_key is None:
        return None
    text = request_text(request)
    for record in chain:
        if record.request_key != request.request_key:
            continue
        if record.request != text:
            raise StateError(
                f"request key {request.request_key!r} was used for another request"
                f" ({record.request}): a key is for one request",
                command="conduit runs",
            )
        return record
    return None


def replayed_choice(record: LedgerRecord) -> Choice:
    """Return what a load chose that was published before."""
    known = (mode for mode in get_args(Effective) if mode == record.mode)
    effective: Effective = next(known, "replace")
    cursor = Cursor.from_json(record.cursor) if record.cursor else None
    return Choice(Window.from_json(record.load_window), effective, cursor, None, 0, empty=True)


def refuse_other_cursor(
    stream: StreamSpec, request: RunRequest, seen: Seen, kinds: tuple[pa.DataType, ...]
) -> None:
    """Refuse to go on from a watermark over other columns; what reads everything needs none.

    Args:
        stream: whose cursor was changed.
        request: a full refresh reads everything.
        seen: what the target's watermark is over.
        kinds: types of the cursor's columns now.

    Raises:
        StateError: it says both ways on.
    """
    other = seen.reconciled.other
    if other is None or request.full_refresh or stream.mode == "replace":
        return
    raise StateError(
        f"the watermark is over {list(other.columns)}, the stream's cursor is now"
        f" {list(stream.cursor)}: load everything again, or go on from"
        f" {such_as(stream.cursor, kinds)}, with `conduit state set --skip`",
        command="conduit run --full-refresh",
    )


def is_lost(seen: Seen) -> bool:
    """Say whether the ledger has loads and the table is gone: an increment would look like all."""
    return (
        seen.existing is None
        and seen.reconciled.cursor is not None
        and any(not r.is_aside for r in seen.chain)
    )


def lost_target(seen: Seen) -> StateError:
    """Return the error for a target that is gone."""
    return StateError(
        f"the ledger is at version {seen.chain[-1].version} but {seen.target} is gone: it was"
        " dropped by hand, and an increment would not bring its rows back",
        command="conduit run --full-refresh",
    )


def refuse_forgotten_files(chain: list[LedgerRecord]) -> None:
    """Refuse an append of files to loads that didn't note theirs: a changed one would look new."""
    for record in since_emptied(chain):
        if record.is_aside:
            continue
        if record.counts.read and not record.is_given and '"files":' not in record.load_window:
            raise StateError(
                f"version {record.version} of the target was loaded in another mode or with other"
                " `metadata`, which don't remember the files: a changed one couldn't be told from"
                " a new one. Load everything once more, or set `metadata: [load, file]`",
                command="conduit run --full-refresh",
            )
