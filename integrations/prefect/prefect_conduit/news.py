"""What Prefect hears of a load: its asset's materialisation and events, each once per load.

They are told after the commit and before the state: where a Variable has a version, Prefect has
heard of it. A task that died in between leaves the Variable behind the ledger; whoever loads the
table next tells what is missing. An event's id is made of the load's, so that one that is told
twice is kept once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventIDFilter, EventOccurredFilter
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging import get_logger

from conduit_core.errors import ConduitError, QualityError, StateError
from conduit_core.events import Committed, RuleChecked
from prefect_conduit.events import (
    MOST_ITEMS,
    OF_RULE,
    asset_events,
    changed,
    load_event,
    rule_facts,
    stream_event,
)
from prefect_conduit.failures import said_by
from prefect_conduit.related import related_runs

if TYPE_CHECKING:
    from prefect.events.schemas.events import Event

    from conduit_core import LedgerRecord, Pipeline, StateStore
    from conduit_core.events import Event as CoreEvent

MOST_LOADS = 50
"""Loads told at once, the newest: Prefect answers for no more events in one call."""
_REFUSED = (400, 404, 413, 422)
"""What an API answers to events that it won't take the next time either."""


class News:
    """A state store that tells Prefect of loads before it keeps their state; a listener, too.

    Args:
        store: where the state is kept.
        pipeline: the pipeline.
        streams: those of its streams that may be loaded: one, or a replay's.
    """

    def __init__(self, store: StateStore, pipeline: Pipeline, *streams: str) -> None:
        self._store = store
        self._pipeline = pipeline
        self._streams = streams
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
        self._found[key] = found = self._store.get(key)
        return found

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Tell of the loads that the entry is ahead of the one that was found; then keep it.

        Raises:
            StateError: Prefect can't be told: nothing was kept, and the next run does both.
        """
        found = self._found[key] if key in self._found else self.get(key)
        self._tell(_version(found, like=entry), entry)
        return self._store.set(key, entry, expect)

    def _tell(self, known: int | None, entry: str) -> None:
        from conduit_core import runs

        new = json.loads(entry)
        stream, now = self._stream_of(new["load_id"]), int(new["version"])
        first = now if known is None else max(known + 1, now - MOST_LOADS + 1)
        loads = [r for r in runs(self._pipeline, (stream,)) if first <= r.version <= now]
        told = {r.load_id: self._events(r, stream, is_newest=r.version == now) for r in loads}
        in_doubt = [r for r in loads if r.load_id not in self._committed]
        try:
            heard = _heard(told, in_doubt)
            events = [e for r in reversed(loads) if r.load_id not in heard for e in told[r.load_id]]
            send(events)
        except Exception as error:
            raise StateError(
                f"Prefect can't be told of load {loads[0].load_id}: {type(error).__name__}:"
                f" {said_by(error)}",
                retry="step",
            ) from error

    def _stream_of(self, load_id: str) -> str:
        """Return the stream that a load is of; a replay of many asks their ledger."""
        from conduit_core import runs

        if len(self._streams) == 1:
            return self._streams[0]
        loads = runs(self._pipeline, self._streams)
        return next(r.stream for r in loads if r.load_id == load_id)

    def _events(self, record: LedgerRecord, stream: str, *, is_newest: bool) -> list[Event]:
        from conduit_core import datasets, table_facts

        changes = json.loads(record.schema_changes)
        found: list[Event] = []
        if changed(record):
            (names,) = datasets(self._pipeline, (stream,))
            (table,) = table_facts(self._pipeline, (stream,)) if is_newest else (None,)
            found += asset_events(record, names, table)
        if not record.mode.startswith("state_"):
            found.append(load_event("published", record, {}))
        if record.counts.rejected:
            rules = [
                rule_facts(r) for r in self._rules.get(record.load_id, ()) if r.result == "failed"
            ]
            found.append(load_event("rejected", record, {"rules": rules[:MOST_ITEMS]}))
        if changes:
            found.append(load_event("schema-changed", record, {"changes": changes[:MOST_ITEMS]}))
        return found


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
        broken = [r for r in error.reports if r.get("result") == "failed"]
        payload["rules"] = [{key: r.get(key) for key in OF_RULE} for r in broken[:MOST_ITEMS]]
    about = task_run_id or str(uuid.uuid4())
    send([stream_event("failed", pipeline, stream, about, datetime.now(UTC), payload)])


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
            if error.response.status_code not in _REFUSED:
                raise
            get_logger("conduit").warning("Prefect refuses events of a load: %s", error)


def _heard(told: dict[str, list[Event]], loads: Iterable[LedgerRecord]) -> set[str]:
    """Return which loads Prefect has heard of: their events went together."""
    asked = {told[r.load_id][-1].id: r.load_id for r in loads if told[r.load_id]}
    if not asked:
        return set()
    tomorrow = datetime.now(UTC) + timedelta(days=1)  # clocks differ
    days = EventOccurredFilter.model_validate({"until": tomorrow})
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
