"""What happened in a run, as a tree of spans; pure, until the tree is told to a tracer.

The tree is made of the events' own times, when all is over: nothing is sent while rows are loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from opentelemetry.trace import StatusCode, Tracer, set_span_in_context

from conduit_core import events as ev
from conduit_core.observe.otlp_batches import Batches

if TYPE_CHECKING:
    from opentelemetry.context import Context

Value = str | int | float | bool
Step = Literal["plan", "stage", "audit", "publish", "mirror"]

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Node:
    """A span to be: its parts are inside it.

    Args:
        name: of the span; pipelines, streams and steps, so that there are few.
        start, end: None: it has not ended yet.
        facts: its attributes.
        error: the class of the error that ended it; "" for none.
        notes: what happened in it: name, when, attributes.
        parts: the spans below it.
    """

    name: str
    start: datetime
    end: datetime | None = None
    facts: dict[str, Value] = field(default_factory=dict)
    error: str = ""
    notes: list[tuple[str, datetime, Mapping[str, Value]]] = field(default_factory=list)
    parts: list[Node] = field(default_factory=list)

    @property
    def load_id(self) -> str:
        """The load that it is about; "" where there isn't one, or it isn't known."""
        return str(self.facts.get("conduit.load_id", ""))

    def fail(self, error: str, at: datetime, exit_code: int | None = None) -> None:
        """End it with an error."""
        self.end, self.error = at, error
        self.facts["error.type"] = error
        if exit_code is not None:
            self.facts["conduit.exit_code"] = exit_code


class Story:
    """Takes the events of a run, or of a step that is a process of its own, and gives its spans.

    Args:
        opened: when it began to listen: steps that say when they end, and not when they begin,
            begin here.
        run: attributes of the run's span.
        load: attributes of each load's span.
    """

    def __init__(
        self, opened: datetime, run: Mapping[str, Value], load: Mapping[str, Value]
    ) -> None:
        self._opened = opened
        self._about_run, self._about_load = run, load
        self._run: Node | None = None
        self._roots: list[Node] = []
        self._loads: dict[str, _Load] = {}
        self._hooks: dict[str, Node] = {}
        self._last = opened

    def hear(self, event: ev.Event) -> None:
        """Take an event in."""
        take = _LOADS.get(type(event))
        if take is not None:
            self._last = event.at
            take(self._load_of(event), event)
            if isinstance(event, ev.StreamFinished | ev.StreamFailed):
                del self._loads[event.stream]
            return
        match event:
            case ev.RunStarted():
                name = f"run {event.pipeline}"
                facts = {"conduit.pipeline": event.pipeline, **self._about_run}
                self._run = self._placed(Node(name, event.at, facts=facts))
            case ev.RunFinished():
                self._finished(event)
            case ev.HookStarted():
                self._hook(event, event.at)
            case ev.HookFinished():
                node = self._hook(event, event.at - timedelta(seconds=event.seconds))
                node.end = event.at
                node.facts["conduit.outcome"] = event.outcome
            case ev.HookFailed():
                node = self._hook(event, event.at)
                node.fail(event.error, event.at, event.exit_code)
                node.facts["conduit.outcome"] = "failed"
            case _:
                pass

    def end(self, at: datetime) -> list[Node]:
        """Return the spans at the top; what hasn't ended ends now, or with its last event."""
        for load in self._loads.values():
            load.leave(at if self._run is not None else self._last)
        self._loads.clear()
        if self._run is not None:
            self._run.end = at
            self._run.facts["conduit.outcome"] = "interrupted"
        return self._roots

    def _placed(self, node: Node) -> Node:
        (self._roots if self._run is None else self._run.parts).append(node)
        return node

    def _load_of(self, event: ev.Event) -> _Load:
        load = self._loads.get(event.stream)
        if load is None:
            start = self._opened
            if isinstance(event, ev.StreamStarted):
                start = event.at
            elif isinstance(event, ev.PlanReady):
                start = event.at - timedelta(seconds=event.seconds)
            facts = {"conduit.pipeline": event.pipeline, "conduit.stream": event.stream}
            node = Node(f"load {event.stream}", start, facts={**facts, **self._about_load})
            load = self._loads[event.stream] = _Load(self._placed(node))
        return load

    def _hook(self, event: ev.HookStarted | ev.HookFinished | ev.HookFailed, at: datetime) -> Node:
        node = self._hooks.get(event.hook)
        if node is None:
            facts: dict[str, Value] = {"conduit.hook": event.hook}
            node = Node(f"hook {event.hook}", at, facts=facts)
            self._hooks[event.hook] = self._placed(node)
        if not isinstance(event, ev.HookStarted):
            del self._hooks[event.hook]
        return node

    def _finished(self, event: ev.RunFinished) -> None:
        run = self._run
        if run is None:
            return
        run.end = event.at
        told = {"published": event.published, "empty": event.empty, "failed": event.failed}
        run.facts |= {f"conduit.streams.{kind}": len(names) for kind, names in told.items()}
        failed = next((part.error for part in run.parts if part.error), "")
        run.facts["conduit.outcome"] = "failed" if failed else "succeeded"
        if failed:
            run.fail(failed, event.at)
        self._run = None


class _Load:
    """One stream's load: its span, and the step that it is at.

    A step begins where the one before it ended. A whole load (it told that it started) is read once
    it is planned; a plan alone is not.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._step: Node | None = None
        self._done = node.start
        self._judged = node.start
        self._published: Node | None = None
        self._is_whole = False
        self._attempt = 1
        self._batches: dict[str, Batches] = {}
        self._splits: dict[str, Node] = {}

    # --- steps ------------------------------------------------------------------------------------

    def _enter(self, step: Step, at: datetime) -> Node:
        self._close(at)
        facts: dict[str, Value] = {"conduit.attempt": self._attempt}
        self._step = Node(step, at, facts=facts)
        self._node.parts.append(self._step)
        return self._step

    def _close(self, at: datetime) -> None:
        step, self._step = self._step, None
        if step is None:
            return
        if step.end is None:
            step.end = max(at, step.start)
        if self._node.load_id:
            step.facts["conduit.load_id"] = self._node.load_id
        if step.name == "stage":
            self._tell_batches(step)
        self._done = step.end

    def _tell_batches(self, stage: Node) -> None:
        stage.parts.extend(self._splits.values())
        for split, batches in self._batches.items():
            into = self._splits.get(split, stage)
            for group in batches.groups(len(self._batches)):
                into.parts.append(Node("batches", group.start, group.end, group.facts()))
        self._batches, self._splits = {}, {}

    def _at(self, step: Step) -> Node:
        if self._step is None or self._step.name != step:
            return self._enter(step, self._done)
        return self._step

    def _publishing(self) -> Node:
        """Return the step that publishes; the audit before it ends with its last rule."""
        if self._step is not None and self._step.name == "audit":
            self._close(self._judged)
        self._published = self._at("publish")
        return self._published

    def _is_of(self, load_id: str) -> None:
        self._node.facts["conduit.load_id"] = load_id

    def leave(self, at: datetime) -> None:
        """End it where nobody said how it ended: it is a step of its own, or was interrupted."""
        self._close(at)
        self._node.end = at
        if self._is_whole:
            self._node.facts["conduit.outcome"] = "interrupted"

    # --- events -----------------------------------------------------------------------------------

    def started(self, event: ev.StreamStarted) -> None:
        self._is_whole = True
        self._enter("plan", event.at)

    def planned(self, event: ev.PlanReady) -> None:
        began = max(event.at - timedelta(seconds=event.seconds), self._done)
        plan = self._at("plan")
        plan.start = max(plan.start, began)
        self._is_of(event.load_id)
        self._node.facts |= {"conduit.target": event.target, "conduit.mode": event.mode}
        if "db.system.name" in self._node.facts:
            self._node.facts["db.collection.name"] = event.target
        self._close(event.at)
        if self._is_whole and not event.empty:
            self._enter("stage", event.at)

    def read(self, event: ev.BatchRead) -> None:
        self._staging(event.load_id, event.split).read(event)

    def written(self, event: ev.BatchWritten) -> None:
        self._staging(event.load_id, event.split).written(event)

    def _staging(self, load_id: str, split: str) -> Batches:
        if self._step is None or self._step.name != "stage":
            self._is_of(load_id)
            self._at("stage")
        return self._batches.setdefault(split, Batches())

    def staged(self, event: ev.SplitStaged) -> None:
        self._is_of(event.load_id)
        self._at("stage").facts["conduit.splits"] = event.splits
        facts: dict[str, Value] = {
            "conduit.split": event.split,
            "conduit.worker": event.worker,
            "conduit.rows.read": event.rows,
            "conduit.bytes.read": event.bytes,
        }
        start = event.at - timedelta(seconds=event.seconds)
        self._splits[event.split] = Node("split", start, event.at, facts)

    def read_all(self, event: ev.AuditStarted) -> None:
        self._is_of(event.load_id)
        begins = self._done if self._step is None else event.at
        self._judged = event.at
        self._enter("audit", begins).facts["conduit.rows.read"] = event.rows_read

    def judged(self, event: ev.RuleChecked) -> None:
        self._judged = event.at
        facts: dict[str, Value] = {
            "conduit.rule": event.rule,
            "conduit.action": event.action,
            "conduit.result": event.result,
            "conduit.rows.checked": event.checked,
            "conduit.rows.failed": event.failed,
        }
        self._at("audit").notes.append(("rule", event.at, facts))

    def opened(self, event: ev.PublishStarted) -> None:
        """The target is locked; where rows go straight into it, they are read only now."""
        self._is_of(event.load_id)
        step = self._step
        if step is None or step.name != "stage":
            step = self._publishing()
        step.notes.append(("locked", event.at, {}))

    def committing(self, event: ev.CommitStarted) -> None:
        self._publishing().notes.append(("commit", event.at, {}))

    def committed(self, event: ev.Committed) -> None:
        self._publishing().facts["conduit.version"] = event.version
        self._close(event.at)

    def altered(self, event: ev.SchemaChanged) -> None:
        if self._published is not None:
            facts: dict[str, Value] = {
                "conduit.column": event.column,
                "conduit.change": event.change,
            }
            self._published.notes.append(("schema changed", event.at, facts))

    def mirrored(self, event: ev.StateMirrored) -> None:
        self._is_of(event.load_id)
        self._enter("mirror", self._done)
        self._close(event.at)

    def retrying(self, event: ev.Retrying) -> None:
        self._broken(event.error_class, event.at, None)
        facts: dict[str, Value] = {
            "conduit.attempt": self._attempt,
            "error.type": event.error_class,
            "conduit.seconds.wait": event.wait_seconds,
        }
        self._node.notes.append(("retry", event.at, facts))
        self._attempt += 1
        self._enter("plan", event.at + timedelta(seconds=event.wait_seconds))

    def _broken(self, error: str, at: datetime, exit_code: int | None) -> None:
        """End the step that broke: once the rules are judged, that is the publish."""
        step = self._step
        if step is not None and step.name == "audit" and error != "QualityError":
            step = self._publishing()
        if step is not None:
            step.fail(error, at, exit_code)
        self._close(at)

    def finished(self, event: ev.StreamFinished) -> None:
        self._close(event.at)
        if event.load_id and event.outcome != "empty":  # an empty one names the load before it
            self._is_of(event.load_id)
        rows = {f"conduit.rows.{kind}": count for kind, count in event.counts.items()}
        self._node.facts |= {
            "conduit.outcome": event.outcome,
            "conduit.attempts": self._attempt,
            "conduit.rows.read": event.rows_read,
            "conduit.bytes.read": event.bytes_read,
            **rows,
        }
        self._node.end = event.at

    def failed(self, event: ev.StreamFailed) -> None:
        self._broken(event.error, event.at, event.exit_code)
        self._node.facts |= {"conduit.outcome": "failed", "conduit.attempts": self._attempt}
        self._node.fail(event.error, event.at, event.exit_code)


_LOADS: dict[type[ev.Event], Callable[..., None]] = {
    ev.StreamStarted: _Load.started,
    ev.PlanReady: _Load.planned,
    ev.BatchRead: _Load.read,
    ev.BatchWritten: _Load.written,
    ev.SplitStaged: _Load.staged,
    ev.AuditStarted: _Load.read_all,
    ev.RuleChecked: _Load.judged,
    ev.PublishStarted: _Load.opened,
    ev.CommitStarted: _Load.committing,
    ev.Committed: _Load.committed,
    ev.SchemaChanged: _Load.altered,
    ev.StateMirrored: _Load.mirrored,
    ev.Retrying: _Load.retrying,
    ev.StreamFinished: _Load.finished,
    ev.StreamFailed: _Load.failed,
}


def trace_id_of(load_id: str) -> int:
    """Return the trace of a load whose steps are processes of their own, and have no parent."""
    return int(hashlib.sha256(f"conduit {load_id}".encode()).hexdigest()[:32], 16)


def tell(tracer: Tracer, node: Node, context: Context) -> None:
    """Make a span of a node, and of all that is in it; clocks of workers may be a little off."""
    _tell(tracer, node, context, _nanos(node.start), None)


def _tell(tracer: Tracer, node: Node, context: Context, low: int, high: int | None) -> None:
    start = max(_nanos(node.start), low)
    end = max(_nanos(node.end or node.start), start)
    if high is not None:
        start, end = min(start, high), min(end, high)
    span = tracer.start_span(node.name, context, attributes=node.facts, start_time=start)
    for name, at, facts in node.notes:
        span.add_event(name, facts, min(max(_nanos(at), start), end))
    if node.error:
        code = node.facts.get("conduit.exit_code")
        told = node.error if code is None else f"{node.error} (exit code {code})"
        span.set_status(StatusCode.ERROR, told)
    inside = set_span_in_context(span, context)
    for part in node.parts:
        _tell(tracer, part, inside, start, end)
    span.end(end)


def _nanos(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
