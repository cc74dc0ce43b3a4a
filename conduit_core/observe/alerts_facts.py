"""What a run's events say that people may be told of: no row's value, no secret.

An error's first line may show values, so only those of errors about settings, connections and state
are told. Of an error about rows there are its class, the rules and their counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from conduit_core import events as ev
from conduit_core.connectors.incidents import About
from conduit_core.errors import ConduitError
from conduit_core.observe.alerts_decide import Fact
from conduit_core.observe.words import WITHOUT_VALUES

MAX_TEXT = 300
CANCELLED = 130
WHOLE = ""
"""The stream of what is about the pipeline as a whole: it couldn't begin."""
_OF_STATE = frozenset({"StateDivergedError", "StateError"})
"""Errors whose lines may show a cursor."""
_TOLD = WITHOUT_VALUES | _OF_STATE | {"HookError"}
"""Errors whose first line names settings, systems, versions and counts, and nothing of a row."""


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """What an alert says of one stream: the names that ``if:`` and ``template:`` may use.

    Args:
        about: failure, success, recovered, rejected, schema_change or stale.
        was: recovered: of what; else "".
        pipeline, stream: where; of a hook the stream is ``after.NAME``, of a run that couldn't
            begin it is "".
        at: when it happened.
        text: one line for people.
        error: the class of the error, "" without one.
        exit_code: the error's.
        state: what the target looks like after a failure.
        retry: whether a retry helps.
        command: one command to paste.
        load_id, target, mode: the load.
        read, rejected: rows.
        counts: rows by what became of them.
        rules: rules that rows broke, and how many rows.
        columns: columns that the load changed: column, change, was, now.
        watermark: the cursor after the load.
        lag_seconds, freshness_seconds: how far the watermark is behind, and may be.
        seconds: how long the load took.
        opened_at, times: since when it goes on, and in how many runs it was seen.
        runner, run, url: who runs it, the runner's id of the run, and a page that shows it.
    """

    about: str = ""
    was: str = ""
    pipeline: str = ""
    stream: str = ""
    at: str = ""
    text: str = ""
    error: str = ""
    exit_code: int = 0
    state: str = ""
    retry: str = ""
    command: str = ""
    load_id: str = ""
    target: str = ""
    mode: str = ""
    read: int = 0
    rejected: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[Mapping[str, str | None], ...] = ()
    watermark: str = ""
    lag_seconds: float | None = None
    freshness_seconds: float | None = None
    seconds: float = 0.0
    opened_at: str = ""
    times: int = 1
    runner: str = ""
    run: str = ""
    url: str = ""

    def plain(self) -> dict[str, object]:
        """Return it as plain JSON data."""
        return {**asdict(self), "columns": [dict(c) for c in self.columns]}


@dataclass(slots=True)
class _Stream:
    """The newest events of one stream, or hook."""

    planned: ev.PlanReady | None = None
    failed: ev.StreamFailed | ev.HookFailed | None = None
    finished: ev.StreamFinished | None = None
    is_done: bool = False
    seen: ev.StreamSeen | None = None
    checked: dict[str, ev.RuleChecked] = field(default_factory=dict)
    changes: list[ev.SchemaChanged] = field(default_factory=list)


class Collector:
    """A listener that keeps what alerts are made of; a few numbers for each stream.

    Args:
        origin: runner, run and url, which each alert has.
        mask: takes secrets out of a text.
        hides: streams whose cursor is a redacted column.
    """

    def __init__(
        self, origin: Mapping[str, str], mask: Callable[[str], str], hides: frozenset[str]
    ) -> None:
        self._origin = dict(origin)
        self._mask = mask
        self._hides = hides
        self._streams: dict[str, _Stream] = {}

    def __call__(self, event: ev.Event) -> None:
        """Take an event in."""
        match event:
            case ev.RunStarted():
                self._of(WHOLE).is_done = True
            case ev.PlanReady():
                self._of(WHOLE).is_done = True  # a load in steps has no run that starts
                self._streams[event.stream] = _Stream(planned=event)
            case ev.RuleChecked():
                self._of(event.stream).checked[event.rule] = event
            case ev.SchemaChanged():
                self._of(event.stream).changes.append(event)
            case ev.StreamFinished():
                self._of(event.stream).finished = event
            case ev.StreamFailed():
                self._of(event.stream).failed = event
            case ev.StreamSeen():
                self._of(event.stream).seen = event
            case ev.HookFailed():
                self._of(f"after.{event.hook}").failed = event
            case ev.HookFinished():
                self._of(f"after.{event.hook}").is_done = True
            case _:
                pass

    def raised(self, pipeline: str, error: ConduitError) -> None:
        """Take in what ended a run, where no stream or hook said that it failed."""
        if any(s.failed for s in self._streams.values()):
            return
        self._of(WHOLE).failed = ev.StreamFailed(
            pipeline=pipeline,
            error=type(error).__name__,
            exit_code=error.exit_code,
            lines=tuple(error.lines()),
        )

    def _of(self, stream: str) -> _Stream:
        return self._streams.setdefault(stream, _Stream())

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams that were loaded, or should have been."""
        return tuple(
            name
            for name, s in self._streams.items()
            if s.finished or (name and isinstance(s.failed, ev.StreamFailed))
        )

    @property
    def replayed(self) -> dict[str, str]:
        """Load ids of streams whose load was published by an earlier run."""
        ended = {name: s.finished for name, s in self._streams.items() if s.finished is not None}
        return {name: e.load_id for name, e in ended.items() if e.outcome == "replayed"}

    def facts(self, *, failures: bool = True) -> list[Fact]:
        """Return what the run says.

        Args:
            failures: whether failures count: not where the runner tries again.
        """
        ended = [s.failed for s in self._streams.values() if s.failed is not None]
        failures = failures and all(f.exit_code != CANCELLED for f in ended)
        return [
            fact
            for name, stream in self._streams.items()
            for fact in self._facts(name, stream, failures=failures)
        ]

    def _facts(self, name: str, s: _Stream, *, failures: bool) -> Iterator[Fact]:
        if s.failed is not None and failures:
            yield self._fact("failure", name, s, error=s.failed.error, code=s.failed.exit_code)
        elif s.failed is None and (s.finished is not None or s.is_done):
            yield self._fact("failure", name, s, over=True)
        if s.finished is not None and s.failed is None and s.finished.outcome != "empty":
            yield from self._of_load(name, s, s.finished)
        if s.seen is not None and s.seen.freshness_seconds is not None:
            yield self._fact("stale", name, s, over=not s.seen.is_stale)

    def _of_load(self, name: str, s: _Stream, finished: ev.StreamFinished) -> Iterator[Fact]:
        yield self._fact("success", name, s)
        yield self._fact("rejected", name, s, over=not finished.counts.get("rejected", 0))
        if s.changes:
            yield self._fact("schema_change", name, s)

    def _fact(
        self,
        about: About,
        name: str,
        s: _Stream,
        *,
        over: bool = False,
        error: str = "",
        code: int = 0,
    ) -> Fact:
        load_id = _load_id(s) if about != "stale" else ""
        plain = self._alert(name, s, about).plain()
        again = s.finished is not None and s.finished.outcome == "replayed"
        return Fact(
            name,
            about,
            plain,
            over=over,
            error=error,
            exit_code=code,
            load_id=load_id,
            again=again,
        )

    def _alert(self, name: str, s: _Stream, about: About) -> AlertFacts:
        event = self._event(s, about)
        failed = s.failed if about == "failure" else None
        lines = tuple(self._mask(line) for line in failed.lines) if failed else ()
        text, state, retry, command = (*lines, "", "", "", "")[:4]
        hidden = name in self._hides
        if hidden and failed and failed.error in _OF_STATE:
            text = command = ""
        seen = s.seen if about == "stale" else None
        done = s.finished
        rules = {e.rule: e.failed for e in s.checked.values() if e.failed}
        counts = dict(done.counts) if done else {}
        mark = (seen.watermark if seen else done.watermark if done else None) or ""
        return AlertFacts(
            about=about,
            pipeline=event.pipeline,
            stream=name,
            at=event.at.isoformat(),
            text=_first_line(failed, text, name, rules) if failed else "",
            error=failed.error if failed else "",
            exit_code=failed.exit_code if failed else 0,
            state="" if hidden else state,
            retry=retry,
            command=command,
            load_id=_load_id(s),
            target=s.planned.target if s.planned else "",
            mode=s.planned.mode if s.planned else "",
            read=done.rows_read if done else 0,
            rejected=counts.get("rejected", 0),
            counts=counts,
            rules=rules,
            columns=tuple(_change(c) for c in s.changes),
            watermark="" if hidden else mark,
            lag_seconds=seen.lag_seconds if seen else None,
            freshness_seconds=seen.freshness_seconds if seen else None,
            seconds=round(done.seconds, 3) if done else 0.0,
            runner=self._origin.get("runner", ""),
            run=self._origin.get("run", ""),
            url=self._origin.get("url", ""),
        )

    def _event(self, s: _Stream, about: About) -> ev.Event:
        events = (s.seen,) if about == "stale" else (s.failed, s.finished)
        return next((e for e in events if e is not None), ev.Event())


def _load_id(s: _Stream) -> str:
    if s.finished is not None and s.finished.load_id:
        return s.finished.load_id
    return s.planned.load_id if s.planned else ""


def _change(event: ev.SchemaChanged) -> dict[str, str | None]:
    return {
        "column": event.column,
        "change": event.change,
        "was": event.was,
        "now": event.now,
    }


def _first_line(
    failed: ev.StreamFailed | ev.HookFailed, line: str, name: str, rules: Mapping[str, int]
) -> str:
    """Return what is said of an error: its first line, or only its class and rules."""
    if failed.error in _TOLD and line:
        for where in (f"{name} ({failed.pipeline})", failed.pipeline, name):
            line = line.removeprefix(f"{where}: ")
        return f"{failed.error}: {cut(line)}"
    broken = ", ".join(f"{rule} ({count})" for rule, count in rules.items())
    return f"{failed.error}: rules broken: {cut(broken)}" if broken else failed.error


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text in one line, not longer than that."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def moment(text: object) -> datetime | None:
    """Return a time of plain facts; None where there is none."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
