"""Showing and mending state: watermarks, the ledger's history, cleaning.

``state_set``, ``state_reset`` and ``state_adopt`` write a ledger record without rows, in one
transaction under the target's lock, so every runner sees them.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from conduit_core.connectors.base import CleanItem, Cleans
from conduit_core.connectors.chain import owned_by_another
from conduit_core.connectors.letters import KeepsLetters
from conduit_core.connectors.publish import (
    Action,
    DeleteWindow,
    NoNewerRecord,
    OwnedBy,
    Publish,
    RecordLoad,
    Requirement,
)
from conduit_core.engine.asking import example
from conduit_core.engine.identity import digest, stream_fingerprint, target_fingerprint
from conduit_core.engine.outcome import entry_of
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.standing import mark_of
from conduit_core.errors import ConduitError, ConfigError, StateError, number
from conduit_core.events import ignore
from conduit_core.spec import StreamSpec
from conduit_core.state.coverage import coverage
from conduit_core.state.cursor import Cursor, parse_point
from conduit_core.state.ledger import LedgerRecord, newest, since_emptied, watermark_record
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class StateView(_Data):
    """A target's state as the ledger has it.

    Where it holds given windows: ``slices`` are theirs, one by one; ``covered`` is what all loads
    together cover of the cursor's first column, and ``gaps`` what is missing in between.

    Args:
        stream, target: whose state it is.
        version: the target's version; 0 before the first load.
        watermark, cursor: the watermark for people, and as JSON.
        load_id, mode, published_at: of the newest record.
        owner: the stream that the target belongs to.
    """

    stream: str
    target: str
    version: int
    watermark: str | None
    cursor: str | None
    load_id: str | None
    mode: str | None
    published_at: datetime | None
    owner: str | None
    slices: tuple[str, ...]
    covered: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _What:
    """A change of state: its kind, the watermark after it, rows that go with it, who asks."""

    kind: str
    cursor: Cursor | None
    delete: Window | None
    runner: str


def state_show(pipeline: Pipeline, streams: tuple[str, ...] | None = None) -> list[StateView]:
    """Return each target's state from the ledger; needs the destination only.

    Args:
        pipeline: whose streams.
        streams: their names; None for all.

    Raises:
        ConfigError: no such stream.
        ConduitError: the destination can't be asked.
    """
    views = []
    with pipeline.open() as ends:
        for stream in pipeline.select(streams):
            target = pipeline.target(stream, ends.destination)
            chain = ends.destination.records(target)
            last, base = newest(chain), watermark_record(chain)
            cursor = base.cursor if base else None
            found = coverage(chain)
            views.append(
                StateView(
                    stream=stream.name,
                    target=str(target),
                    version=last.version if last else 0,
                    watermark=Cursor.from_json(cursor).display() if cursor else None,
                    cursor=cursor,
                    load_id=last.load_id if last else None,
                    mode=last.mode if last else None,
                    published_at=last.published_at if last else None,
                    owner=f"{last.pipeline}/{last.stream}" if last else None,
                    slices=tuple(
                        Window.from_json(r.load_window).display()
                        for r in since_emptied(chain)
                        if r.is_given
                    ),
                    covered=tuple(s.display() for s in found.covered),
                    gaps=tuple(s.display() for s in found.gaps),
                )
            )
    return views


def state_set(
    pipeline: Pipeline,
    stream: str,
    cursor: str,
    *,
    replace_after: bool = False,
    skip: bool = False,
    runner: str = "{}",
) -> LedgerRecord:
    """Set a stream's watermark.

    Args:
        pipeline: whose stream it is.
        stream: which one, by name.
        cursor: the value; for several cursor columns, separated by commas or as JSON text.
        replace_after: delete the target's rows behind the new watermark, so that they load again.
        skip: allow a move forward: rows between are never loaded.
        runner: who asks, as JSON (ids, actor), recorded in the ledger.

    Raises:
        StateError: a move forward without ``skip``, or back under ``append`` without
            ``replace_after``.
        ConfigError: the stream has no cursor, or the value is not of its type.
    """
    (chosen,) = pipeline.select((stream,))
    if replace_after and chosen.mode == "scd2":
        error = ConfigError(
            "--replace-after would cut versions in two: a row of mode scd2 tells of all the time"
            " from its valid_from on. Set the watermark back without it; what comes again is found",
            command=f"conduit state set --cursor {shlex.quote(cursor)}",
        )
        raise pipeline.at(error, stream)
    with pipeline.open() as ends:
        target, chain = _owned(pipeline, chosen, ends)
        try:
            wanted = _parse(chosen, cursor, chain, ends)
            now = mark_of(chain, chosen)
            forward = now is None or wanted.compare(now) > 0
            if forward and not skip and watermark_record(chain) is not None:
                raise _forward(wanted, now, watermark_record(chain), cursor)
            if not forward and chosen.mode == "append" and not replace_after and wanted != now:
                raise _doubles(f"set --cursor {shlex.quote(cursor)}")
            window = Window("watermark", wanted, None) if replace_after else None
            what = _What("state_set", wanted, window, runner)
            return _write(pipeline, chosen, ends, target, chain, what)
        except ConduitError as error:
            raise pipeline.at(error, stream, "conduit state show") from error.__cause__


def state_reset(
    pipeline: Pipeline, stream: str, *, replace_after: bool = False, runner: str = "{}"
) -> LedgerRecord:
    """Forget a stream's watermark: the next run reads from the start.

    Args:
        pipeline: whose stream it is.
        stream: which one, by name.
        replace_after: delete the target's rows, so that they load again.
        runner: who asks, as JSON, recorded in the ledger.

    Raises:
        StateError: under ``append`` without ``replace_after``, where rows would be there twice.
    """
    (chosen,) = pipeline.select((stream,))
    with pipeline.open() as ends:
        target, chain = _owned(pipeline, chosen, ends)
        exists = ends.destination.describe(target) is not None
        if chosen.mode == "append" and chosen.cursor and exists and not replace_after:
            raise pipeline.at(_doubles("reset"), stream)
        window = Window("watermark") if replace_after else None
        what = _What("state_reset", None, window, runner)
        return _write(pipeline, chosen, ends, target, chain, what)


def state_adopt(pipeline: Pipeline, stream: str, *, runner: str = "{}") -> LedgerRecord:
    """Take over a target whose chain belongs to another stream; its watermark is kept.

    ``runner`` is who asks, as JSON, recorded in the ledger.
    """
    (chosen,) = pipeline.select((stream,))
    with pipeline.open() as ends:
        target = pipeline.target(chosen, ends.destination)
        chain = ends.destination.records(target)
        base = watermark_record(chain)
        kept = Cursor.from_json(base.cursor) if base and base.cursor else None
        what = _What("state_adopt", kept, None, runner)
        return _write(pipeline, chosen, ends, target, chain, what)


def state_entry(pipeline: Pipeline, stream: str) -> str | None:
    """Return what a state store should hold for a stream's target, as the ledger has it now.

    It is the sealed entry of the newest record, as a load writes it into the runner's store. Needs
    the destination only.

    Args:
        pipeline: whose stream it is.
        stream: which one, by name.

    Returns:
        The entry's canonical JSON text; None where the target has no record.

    Raises:
        ConfigError: there is no such stream.
    """
    (chosen,) = pipeline.select((stream,))
    with pipeline.open() as ends:
        target = pipeline.target(chosen, ends.destination)
        fingerprint = target_fingerprint(ends.destination.identity, target)
        entry = entry_of(ends.destination.records(target), fingerprint)
    return entry.to_json() if entry is not None else None


def runs(
    pipeline: Pipeline, streams: tuple[str, ...] | None = None, limit: int | None = None
) -> list[LedgerRecord]:
    """Return what was published into the pipeline's targets, newest first.

    Args:
        pipeline: whose targets.
        streams: names of streams; None for all.
        limit: how many, at most; None for all.

    Raises:
        ConfigError: no such stream.
        ConduitError: the destination can't be asked.
    """
    with pipeline.open() as ends:
        found: list[LedgerRecord] = []
        for stream in pipeline.select(streams):
            found.extend(ends.destination.records(pipeline.target(stream, ends.destination)))
    found.sort(key=lambda r: r.published_at, reverse=True)
    return found[:limit]


def clean(pipeline: Pipeline, older_than: timedelta, *, dry_run: bool) -> list[CleanItem]:
    """Remove what has aged in the destination; return what went.

    Staging, old ledger records, and the rows of dead letters that are settled: an open one stays
    until it is purged by name.
    """
    with pipeline.open() as ends:
        destination = ends.destination
        items = (
            destination.clean(older_than, dry_run=dry_run)
            if isinstance(destination, Cleans)
            else []
        )
        if isinstance(destination, KeepsLetters):
            items += _clean_letters(destination, older_than, dry_run=dry_run)
        if ends.staging_url is not None:
            published = {r.load_id for r in destination.records(None)}
            items += ends.staging().sweep(older_than, published, dry_run=dry_run)
        return items


def _clean_letters(
    destination: KeepsLetters, older_than: timedelta, *, dry_run: bool
) -> list[CleanItem]:
    """Forget the rows of letters that were settled long ago; open ones wait for someone."""
    border = datetime.now(UTC) - older_than
    settled = ("resolved", "superseded")
    if dry_run:
        found = destination.letters(None, statuses=settled)
        count = sum(1 for letter in found if letter.last_seen_at < border)
    else:
        count = destination.purge_letters(None, statuses=settled, seen_before=border)
    if not count:
        return []
    name = number(count, "dead letter", "dead letters")
    return [CleanItem("letters", name, f"settled, rejected before {border:%Y-%m-%d}")]


def _owned(pipeline: Pipeline, stream: StreamSpec, ends: Ends) -> tuple[Table, list[LedgerRecord]]:
    target = pipeline.target(stream, ends.destination)
    chain = ends.destination.records(target)
    last = newest(chain)
    if last is not None and (last.pipeline, last.stream) != (pipeline.name, stream.name):
        raise pipeline.at(owned_by_another(last, str(target)), stream.name)
    return target, chain


def _forward(
    wanted: Cursor, now: Cursor | None, base: LedgerRecord | None, typed: str
) -> StateError:
    """Return the error for a move ahead, or from a watermark over other columns, without skip."""
    text = (
        f"{wanted.display()} is ahead of the watermark {now.display() if now else 'start'}:"
        " rows between would never load"
    )
    other = Cursor.from_json(base.cursor) if base and base.cursor and now is None else None
    if other is not None:
        text = (
            f"the watermark {other.display()} is over {list(other.columns)}, and {wanted.display()}"
            f" over {list(wanted.columns)}: they don't compare, so what lies between may never"
            " load, or load twice. To go on from there all the same, add --skip"
        )
    return StateError(text, command=f"conduit state set --cursor {shlex.quote(typed)} --skip")


def _doubles(what: str) -> StateError:
    return StateError(
        "under append the rows behind the new watermark would be there twice: delete them in the"
        " same step with --replace-after",
        command=f"conduit state {what} --replace-after",
    )


def _parse(stream: StreamSpec, text: str, chain: list[LedgerRecord], ends: Ends) -> Cursor:
    if not stream.cursor:
        raise ConfigError(f"stream {stream.name!r} has no cursor", command="conduit state show")
    if text.lstrip().startswith('[{"'):
        cursor = Cursor.from_json(text)
        if cursor.columns != stream.cursor:
            raise ConfigError(f"the cursor is {list(stream.cursor)}, not {list(cursor.columns)}")
        return cursor
    now = mark_of(chain, stream)
    kinds = (
        tuple(v.type for v in now.values)
        if now
        else ends.source.describe(stream_ref(stream)).cursor_types
    )
    parts = [text] if len(kinds) == 1 else [p.strip() for p in text.split(",")]
    if len(parts) != len(kinds):
        raise ConfigError(
            f"the cursor has {len(kinds)} columns {list(stream.cursor)}: give a value for each,"
            f" separated by commas, such as {example(kinds)}"
        )
    values = (parse_point(p, k, stream.cursor_timezone) for p, k in zip(parts, kinds, strict=True))
    return Cursor(stream.cursor, tuple(values))


def _write(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    target: Table,
    chain: list[LedgerRecord],
    what: _What,
) -> LedgerRecord:
    """Write a record without rows, deleting what it says in the same transaction."""
    delete = what.delete
    base = watermark_record(chain)
    version = base.version if base else 0
    last = newest(chain)
    text = what.cursor.to_json() if what.cursor else None
    fingerprint = target_fingerprint(ends.destination.identity, target)
    now = datetime.now(UTC)
    record = LedgerRecord(
        target_schema=target.schema,
        target_table=target.name,
        version=0,
        pipeline=pipeline.name,
        stream=stream.name,
        load_id=digest(fingerprint, str(last.version if last else 0), what.kind, text or ""),
        request=json.dumps(
            {"kind": what.kind} | ({"replace_after": True} if delete else {}), separators=(",", ":")
        ),
        mode=what.kind,
        load_window=Window("watermark").to_json(),
        cursor=text,
        schema_fingerprint=last.schema_fingerprint if last else "",
        spec_fingerprint=stream_fingerprint(stream, ends.source.identity, ends.base_dir),
        target_fingerprint=fingerprint,
        runner=what.runner,
        started_at=now,
        published_at=now,
    )
    requirements: list[Requirement] = [NoNewerRecord(version=version)]
    if what.kind != "state_adopt":
        requirements.append(OwnedBy(pipeline=pipeline.name, stream=stream.name))
    actions: list[Action] = []
    if delete is not None and ends.destination.describe(target) is not None:
        if any(c.startswith("_file_") for c in stream.cursor) and delete.low is not None:
            raise ConfigError("--replace-after needs a cursor that is a column of the rows")
        actions.append(DeleteWindow(window=delete.to_json()))
    actions.append(RecordLoad(record=record, schema_text="[]"))
    publish = Publish(
        target_schema=target.schema,
        target_table=target.name,
        staged_columns=(),
        requirements=tuple(requirements),
        actions=tuple(actions),
    )
    commit = ends.destination.commit(publish, None, ignore)
    if commit.record is None:
        raise StateError("the ledger took no record", command="conduit state show")
    return commit.record
