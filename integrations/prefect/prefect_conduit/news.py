"""What Prefect hears of a load: its asset's materialisation and events, each once per load.

They are told after the commit and before the state: where a Variable has a version, Prefect has
heard of it. A task that died in between leaves the Variable behind the ledger; whoever loads the
table next tells what is missing. An event's id is made of the load's, so that one that is told
twice is kept once.
"""

from __future__ import annotations

import contextvars
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventIDFilter, EventOccurredFilter
from prefect.events.schemas.events import Event
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging import get_logger

from conduit_core.errors import ConduitError, QualityError, StateError
from conduit_core.events import Committed, RuleChecked
from prefect_conduit.assets import asset_key
from prefect_conduit.related import related_runs

if TYPE_CHECKING:
    from conduit_core import LedgerRecord, Pipeline, StateStore, StreamDatasets, TableFacts
    from conduit_core.events import Event as CoreEvent

T = TypeVar("T")
Kind = Literal["published", "rejected", "failed", "schema-changed"]
MOST_LOADS = 50
"""Loads told at once, the newest: Prefect answers for no more events in one call."""
MOST_ITEMS = 200
"""Columns, changes and rules that one event names."""
MOST_SOURCES = 50
"""Sources that one event refers to: Prefect refuses an event with more than 100 resources."""
_LONGEST = 500
_OURS = uuid.UUID("5f0e9b0e-6f0c-4d1c-9c1e-2a1f5f6f1c55")
"""The namespace of our events' ids."""
_TOO_OFTEN = 429
_SERVERS_FAULT = 500


class News:
    """A state store that tells Prefect of loads before it keeps their state; a listener, too.

    Made in the task's own thread, and used by whichever thread loads.

    Args:
        store: where the state is kept.
        pipeline: the pipeline.
        stream: its stream.
    """

    def __init__(self, store: StateStore, pipeline: Pipeline, stream: str) -> None:
        self._store = store
        self._pipeline = pipeline
        self._stream = stream
        self._context = contextvars.copy_context()  # the run's, with the client that is open
        self._found: dict[str, str | None] = {}
        self._committed: set[str] = set()
        self._rules: dict[str, list[RuleChecked]] = {}

    def hear(self, event: CoreEvent) -> None:
        """Remember which loads this task has committed, and what rules found in them."""
        match event:
            case RuleChecked():
                self._rules.setdefault(event.load_id, []).append(event)
            case Committed():
                self._committed.add(event.load_id)

    def get(self, key: str) -> str | None:
        """Return the entry's text, or None.

        Raises:
            StateError: Prefect can't be asked.
        """
        self._found[key] = found = self._within(partial(self._store.get, key))
        return found

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Tell of the loads that the entry is ahead of the one that was found; then keep it.

        Raises:
            StateError: Prefect can't be told: nothing was kept, and the next run does both.
        """
        found = self._found.get(key)
        self._within(partial(self._tell, _version(found, like=entry), entry))
        return self._within(partial(self._store.set, key, entry, expect))

    def _within(self, call: Callable[[], T]) -> T:
        return self._context.copy().run(call)

    def _tell(self, known: int | None, entry: str) -> None:
        from conduit_core import runs

        now = int(json.loads(entry)["version"])
        first = now if known is None else max(known + 1, now - MOST_LOADS + 1)
        loads = [r for r in runs(self._pipeline, (self._stream,)) if first <= r.version <= now]
        told = {r.load_id: self._events(r, is_newest=r.version == now) for r in loads}
        in_doubt = [r for r in loads if r.load_id not in self._committed]
        try:
            heard = _heard(told, in_doubt)
            events = [e for r in reversed(loads) if r.load_id not in heard for e in told[r.load_id]]
            send(events)
        except Exception as error:
            raise StateError(
                f"Prefect can't be told of load {loads[0].load_id}: {error}"
            ) from error

    def _events(self, record: LedgerRecord, *, is_newest: bool) -> list[Event]:
        from conduit_core import datasets, table_facts

        changes = json.loads(record.schema_changes)
        found: list[Event] = []
        if changed(record):
            (names,) = datasets(self._pipeline, (self._stream,))
            (table,) = table_facts(self._pipeline, (self._stream,)) if is_newest else (None,)
            found += asset_events(record, names, table)
        if not record.mode.startswith("state_"):
            found.append(_of_load("published", record, {}))
        if record.counts.rejected:
            rules = [_rule(r) for r in self._rules.get(record.load_id, ()) if r.result == "failed"]
            found.append(_of_load("rejected", record, {"rules": rules[:MOST_ITEMS]}))
        if changes:
            found.append(_of_load("schema-changed", record, {"changes": changes[:MOST_ITEMS]}))
        return found


def changed(record: LedgerRecord) -> bool:
    """Say whether a load changed a row or a column of its table."""
    counts = record.counts
    touched = counts.inserted or counts.updated or counts.deleted or counts.removed
    return bool(touched or json.loads(record.schema_changes))


def asset_events(
    record: LedgerRecord, names: StreamDatasets, table: TableFacts | None
) -> list[Event]:
    """Return a table's materialisation, and the sources it refers to, as ``@materialize`` does.

    Args:
        record: the load.
        names: what the stream reads and writes.
        table: the table as it is, where the load is its newest.
    """
    if names.target is None:
        return []
    sources = sorted({asset_key(each) for each in names.sources})[:MOST_SOURCES]
    payload = facts_of(record)
    payload["dataset"] = {"namespace": names.target.namespace, "name": names.target.name}
    if changes := json.loads(record.schema_changes):
        payload["changes"] = changes[:MOST_ITEMS]
    if table is not None:
        payload["columns"] = [
            {"name": c.name, "type": c.type, "nullable": c.nullable}
            for c in table.columns[:MOST_ITEMS]
        ]
    related = [{"prefect.resource.id": s, "prefect.resource.role": "asset"} for s in sources]
    by = {"prefect.resource.id": "conduit", "prefect.resource.role": "asset-materialized-by"}
    referenced = [
        _event(
            "prefect.asset.referenced",
            {"prefect.resource.id": source},
            about=f"{record.load_id}/referenced/{source}",
            occurred=record.published_at,
        )
        for source in sources
    ]
    made = _event(
        "prefect.asset.materialization.succeeded",
        {
            "prefect.resource.id": asset_key(names.target),
            "prefect.resource.name": str(record.target),
        },
        about=f"{record.load_id}/asset",
        occurred=record.published_at,
        related=[*related, by],
        payload=payload,
    )
    return [*referenced, made]


def facts_of(record: LedgerRecord) -> dict[str, Any]:
    """Return what events say of a load: no row's value but the cursor's."""
    return {
        "pipeline": record.pipeline,
        "stream": record.stream,
        "target": str(record.target),
        "load_id": record.load_id,
        "version": record.version,
        "mode": record.mode,
        "window": record.window_text[:_LONGEST],
        "watermark": record.watermark_text and record.watermark_text[:_LONGEST],
        "rows": record.counts.model_dump(),
        "seconds": round((record.published_at - record.started_at).total_seconds(), 3),
        "published_at": record.published_at.isoformat(),
    }


def tell_failure(error: ConduitError, pipeline: str, stream: str, task_run_id: str | None) -> None:
    """Tell of a load that failed for good.

    What the error says may show values of rows: it is in the run's state, and not in the event.

    Args:
        error: why.
        pipeline: the pipeline's name; "" where it couldn't be opened.
        stream: the stream's.
        task_run_id: the task run's: it tells of one failure once.
    """
    lines = error.lines()
    payload: dict[str, Any] = {
        "pipeline": pipeline,
        "stream": stream,
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "retry": error.retry,
        "state": lines[1],
        "command": lines[3],
    }
    if isinstance(error, QualityError):
        kept = ("rule", "action", "result", "checked", "failed")
        broken = [r for r in error.reports if r.get("result") == "failed"]
        payload["rules"] = [{key: r.get(key) for key in kept} for r in broken[:MOST_ITEMS]]
    about = task_run_id or str(uuid.uuid4())
    send([_stream_event("failed", pipeline, stream, about, datetime.now(UTC), payload)])


def send(events: Sequence[Event]) -> None:
    """Send events to Prefect, and wait until it has taken them.

    ``emit_event`` would leave them to a thread that nobody hears of when it fails. What Prefect
    takes in no form is left out, with a warning: it would be the same the next time.

    Raises:
        Exception: Prefect can't be reached, or has trouble of its own.
    """
    if not events:
        return
    related = related_runs()
    for event in events:
        event.related += related
    with get_client(sync_client=True) as client:
        try:
            client.request("POST", "/events", json=[e.model_dump(mode="json") for e in events])
        except PrefectHTTPStatusError as error:
            status = error.response.status_code
            if status == _TOO_OFTEN or status >= _SERVERS_FAULT:
                raise
            get_logger("conduit").warning("Prefect refuses events of a load: %s", error)


def _heard(told: dict[str, list[Event]], loads: Iterable[LedgerRecord]) -> set[str]:
    """Return which loads Prefect has heard of: their events went together."""
    asked = {told[r.load_id][-1].id: r.load_id for r in loads if told[r.load_id]}
    if not asked:
        return set()
    days = EventOccurredFilter(until=datetime.now(UTC) + timedelta(days=1))  # clocks differ
    wanted = EventFilter(occurred=days, id=EventIDFilter(id=list(asked)))
    with get_client(sync_client=True) as client:
        page = client.read_events(wanted, limit=len(asked))
    return {asked[event.id] for event in page.events}


def _version(text: str | None, *, like: str) -> int | None:
    """Return the version of a stored entry; None where it has none, or is of another target."""
    try:
        found, wanted = json.loads(text or ""), json.loads(like)
        same = found["target_fingerprint"] == wanted["target_fingerprint"]
        return int(found["version"]) if same else None
    except (ValueError, KeyError, TypeError):
        return None


def _rule(found: RuleChecked) -> dict[str, Any]:
    return {
        "rule": found.rule,
        "action": found.action,
        "result": found.result,
        "checked": found.checked,
        "failed": found.failed,
    }


def _of_load(kind: Kind, record: LedgerRecord, more: dict[str, Any]) -> Event:
    return _stream_event(
        kind,
        record.pipeline,
        record.stream,
        record.load_id,
        record.published_at,
        {**facts_of(record), **more},
    )


def _stream_event(
    kind: Kind, pipeline: str, stream: str, about: str, occurred: datetime, payload: dict[str, Any]
) -> Event:
    resource = {
        "prefect.resource.id": f"conduit.stream.{pipeline}.{stream}",
        "prefect.resource.name": f"{pipeline}.{stream}",
    }
    return _event(
        f"conduit.load.{kind}",
        resource,
        about=f"{about}/{kind}",
        occurred=occurred,
        payload=payload,
    )


def _event(
    name: str,
    resource: dict[str, str],
    *,
    about: str,
    occurred: datetime,
    related: Sequence[dict[str, str]] = (),
    payload: dict[str, Any] | None = None,
) -> Event:
    return Event.model_validate(
        {
            "event": name,
            "resource": resource,
            "occurred": occurred,
            "related": list(related),
            "payload": payload or {},
            "id": uuid.uuid5(_OURS, about),
        }
    )
