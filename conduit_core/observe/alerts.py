"""Alerts at the end of a run: who is told of what, once, and never at a load's expense.

What was told is kept in the destination. First it is written down that a receiver is about to be
told, then it is told, then that it was: of two processes one tells, and after a kill in between the
next run tells again, under the same key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from conduit_core.connectors.base import CheckItem, Destination
from conduit_core.connectors.incidents import Incident, KeepsIncidents
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.events import AlertTold, Event, SchemaChanged, ignore
from conduit_core.observe import alerts_text as texts
from conduit_core.observe.alerts_decide import (
    KEEP_TRYING,
    Decision,
    Fact,
    Rule,
    Sending,
    decide,
    once_id,
    settled,
)
from conduit_core.observe.alerts_facts import AlertFacts, Collector
from conduit_core.observe.alerts_send import (
    REMEDY,
    NotSentError,
    Post,
    Target,
    send_all,
    service_of,
    target_of,
)
from conduit_core.spec.notify import NotifyRule, ReceiverSpec
from conduit_core.spec.secrets import masking
from conduit_core.state.ledger import Counts

if TYPE_CHECKING:
    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.observe.observing import Scene

ALERT_SECONDS = 20.0
"""How long all of it may take at the end of a run."""
LOOK_SECONDS, KEEP_SECONDS, SEND_SECONDS, MARK_SECONDS = 4.0, 5.0, 8.0, 3.0
"""How long its parts may take: a look at what is stale, what was told before, telling, and writing
down who was told."""
ENDING_SECONDS = 1.0
"""After Ctrl-C, for what is under way: a driver that is cut off takes the process down with it."""
FRESHNESS = "say how far a watermark may lag, beside `streams:` or on a stream: freshness: 24h"
_TRIES = 10
_DEFAULTS = AlertFacts().plain()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Bound:
    """A rule, and its receivers as targets."""

    rule: Rule
    targets: tuple[Target, ...]
    say: Callable[[Mapping[str, object]], str] | None


class Alerts:
    """Collects what a run says, and tells at its end who is to be told.

    Args:
        scene: the run, and where warnings go.
        emit: takes an event for each receiver that was told, or couldn't be.
    """

    def __init__(self, scene: Scene, emit: Callable[[Event], None] = ignore) -> None:
        self._pipeline = scene.pipeline
        self._complain = scene.complain
        self._emit = emit
        self._runner = scene.origin.runner
        origin = {name: value for name, value in asdict(scene.origin).items() if name in _ORIGIN}
        hides = frozenset(s.name for s in self._pipeline.streams if set(s.cursor) & set(s.redact))
        self._mask: Callable[[str], str] | None = None
        self._collected = Collector(origin, self._masked, hides)

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        self._collected(event)

    def raised(self, error: ConduitError) -> None:
        """Take in what ended the run."""
        self._collected.raised(self._pipeline.name, error)

    def tell(self, *, will_retry: bool = False) -> None:
        """Tell who is to be told, in a bounded time.

        Args:
            will_retry: whether the runner tries again: nobody is told of a failure then.

        Raises:
            TimeoutError: it takes longer; what was not told will be by the next run.
        """
        _within(ALERT_SECONDS, lambda: self._tell(failures=not will_retry))

    def _tell(self, *, failures: bool) -> None:
        bound = self._bound()
        words = {word for b in bound for word in b.rule.on}
        if "stale" in words:
            with suppress(TimeoutError):  # the next run looks again
                _within(LOOK_SECONDS, self._look)
        rules = [b.rule for b in bound]
        recalls = "schema_change" in words and bool(self._collected.replayed)
        facts = self._collected.facts(failures=failures)
        if not recalls and not any(f.about in words for f in facts):
            return
        now = datetime.now(UTC)
        decision, kept = self._reserved(rules, failures=failures, now=now)
        if not decision.send:
            return
        posts = _posts(self._pipeline.name, bound, decision.send, self._complain, kept=kept)
        send_all(posts, SEND_SECONDS)
        outcomes: list[tuple[Sending, bool]] = []
        for post in posts:
            for number, message in enumerate(post.messages):
                reason = post.outcomes[number]
                self._told(post.target, message.word, reason)
                outcomes += [(sending, reason is None) for sending in message.sendings]
        if kept:
            self._mark(outcomes)

    def _told(self, target: Target, word: str, reason: str | None) -> None:
        self._emit(
            AlertTold(
                pipeline=self._pipeline.name,
                about=word,
                to=target.name,
                outcome="sent" if reason is None else "failed",
                text=reason or "",
            )
        )

    def _masked(self, text: str) -> str:
        if self._mask is None:
            try:
                self._mask = masking(self._pipeline.secrets())
            except Exception:  # noqa: BLE001 - nothing was opened then: no secret of an end was read
                self._mask = masking(self._pipeline.receiver_secrets())
        return self._mask(text)

    def _bound(self) -> list[_Bound]:
        """Return the rules with their receivers; what is wrong in one is a warning."""
        found = []
        for number, spec in enumerate(self._pipeline.loaded.spec.notify):
            targets = []
            for receiver in spec.to:
                try:
                    targets.append(_target(self._pipeline, receiver))
                except Exception as error:  # noqa: BLE001 - a runner's store may raise anything
                    self._complain(f"notify[{number}]: a receiver isn't told: {_said(error)}")
            if targets:
                found.append(_bound(number, spec, targets, self._complain))
        return found

    def _look(self) -> None:
        """Look how far the run's streams are behind, where they say how far they may be."""
        from conduit_core.engine.standing import status

        fresh = {s.name for s in self._pipeline.streams if s.freshness is not None}
        names = tuple(name for name in self._collected.streams if name in fresh)
        if names:
            with suppress(ConduitError):  # the failure is told as one
                status(self._pipeline, names, listeners=(self._collected, self._emit))

    def _reserved(
        self, rules: Sequence[Rule], *, failures: bool, now: datetime
    ) -> tuple[Decision, bool]:
        """Decide, and write down who is about to be told; False: nothing can be written."""
        given_up = threading.Event()

        def keep() -> Decision | None:
            return self._kept(rules, failures=failures, now=now, given_up=given_up)

        try:
            found = _within(KEEP_SECONDS, keep)
        except ConduitError as error:
            self._complain(f"alerts: what was told before can't be asked for: {error.message}")
            found = None
        except TimeoutError:
            given_up.set()
            text = f"didn't answer in {KEEP_SECONDS:.0f} s"
            self._complain(f"alerts: what was told before can't be asked for: it {text}")
            found = None
        if found is not None:
            return found, True
        facts = self._collected.facts(failures=failures)
        return decide(self._pipeline.name, rules, facts, (), now, self._runner, kept=False), False

    def _kept(
        self, rules: Sequence[Rule], *, failures: bool, now: datetime, given_up: threading.Event
    ) -> Decision | None:
        name = self._pipeline.name
        with self._pipeline.open() as ends:
            keeper = ends.destination
            if not isinstance(keeper, KeepsIncidents):
                return None
            if any("schema_change" in rule.on for rule in rules):
                self._recall(ends.destination)
            facts = self._collected.facts(failures=failures)
            quiet = max((r.quiet for r in rules if r.quiet is not None), default=timedelta())
            since = now - max(KEEP_TRYING, quiet)
            ids = _ids(name, facts)
            for _ in range(_TRIES):
                known = keeper.incidents(name, since, ids)
                decision = decide(name, rules, facts, known, now, self._runner)
                if given_up.is_set():  # it was told without: kept now, it would be told again
                    return None
                if not decision.write or keeper.keep_incidents(decision.write):
                    return decision
        return None

    def _recall(self, destination: Destination) -> None:
        """Say again what a load changed of columns, if an earlier run published it and died."""
        from conduit_core.engine.outcome import changes_of

        for name, load_id in self._collected.replayed.items():
            (stream,) = self._pipeline.select((name,))
            for record in destination.records(self._pipeline.target(stream, destination)):
                for c in changes_of(record) if record.load_id == load_id else ():
                    self._collected(
                        SchemaChanged(
                            pipeline=self._pipeline.name,
                            stream=name,
                            load_id=load_id,
                            **c.model_dump(),
                        )
                    )

    def _mark(self, outcomes: Sequence[tuple[Sending, bool]]) -> None:
        """Write down who was told."""
        try:
            if _within(MARK_SECONDS, lambda: self._marked(outcomes)):
                return
            text = "other processes write at the same time"
        except ConduitError as error:
            text = error.message
        except TimeoutError:
            text = f"the destination didn't answer in {MARK_SECONDS:.0f} s"
        self._complain(f"alerts: who was told can't be kept, the next run tells again: {text}")

    def _marked(self, outcomes: Sequence[tuple[Sending, bool]]) -> bool:
        ids = {sending.incident for sending, _ in outcomes}
        with self._pipeline.open() as ends:
            keeper = ends.destination
            if not isinstance(keeper, KeepsIncidents):
                return True
            for _ in range(_TRIES):
                now = datetime.now(UTC)
                known = {i.id: i for i in keeper.incidents(self._pipeline.name, now, ids)}
                changed: dict[str, Incident] = {}
                for sending, sent in outcomes:
                    before = changed.get(sending.incident) or known.get(sending.incident)
                    if before is not None:
                        after = settled(before, sending, sent=sent, now=now)
                        if after != before:
                            changed[before.id] = after
                if not changed or keeper.keep_incidents(tuple(changed.values())):
                    return True
        return False


_ORIGIN = ("runner", "run", "url")


def _ids(pipeline: str, facts: Sequence[Fact]) -> list[str]:
    return sorted({once_id(pipeline, f) for f in facts if f.load_id and not f.over})


def _said(error: Exception) -> str:
    """Return what an error says, if it is one of ours: another one's text may show a secret."""
    if isinstance(error, ConduitError):
        return error.message
    return str(error) if isinstance(error, ValueError) else type(error).__name__


def _target(pipeline: Pipeline, receiver: ReceiverSpec) -> Target:
    """Return a receiver, its connection looked up.

    Raises:
        ConfigError: the connection isn't known, or is no receiver.
        ValueError: its URL is none.
    """
    return target_of(pipeline.receiver(receiver), receiver.connection)


def _bound(
    number: int, spec: NotifyRule, targets: Sequence[Target], complain: Callable[[str], None]
) -> _Bound:
    matches: Callable[[Mapping[str, object]], bool] = _always
    if spec.if_ is not None:
        matches = _guarded(texts.condition, spec.if_, True, f"notify[{number}].if", complain)  # noqa: FBT003
    say: Callable[[Mapping[str, object]], str] | None = None
    if spec.template is not None:
        say = _guarded(texts.template, spec.template, "", f"notify[{number}].template", complain)
    digests = tuple(dict.fromkeys(t.digest for t in targets))
    rule = Rule(number, frozenset(spec.on), digests, spec.quiet, matches)
    return _Bound(rule, tuple(targets), say)


def _always(facts: Mapping[str, object]) -> bool:
    return True


def _guarded(
    make: Callable[[str], Callable[[Mapping[str, object]], _T]],
    text: str,
    instead: _T,
    where: str,
    complain: Callable[[str], None],
) -> Callable[[Mapping[str, object]], _T]:
    """Return a condition or a template that, where it fails, is a warning, and something else."""
    made: list[Callable[[Mapping[str, object]], _T]] = []
    said: set[str] = set()

    def ask(facts: Mapping[str, object]) -> _T:
        try:
            if not made:
                made.append(make(text))
            return made[0](_whole(facts))
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            told = error.message if isinstance(error, ConduitError) else str(error)
            if told not in said:
                said.add(told)
                better = "it counts as true" if instead else "the usual text is sent"
                complain(f"{where} fails, {better}: {type(error).__name__}: {told}")
            return instead

    return ask


def _whole(facts: Mapping[str, object]) -> dict[str, object]:
    """Return an alert's facts with every name that there is; an older release kept fewer."""
    whole = {name: facts.get(name, default) for name, default in _DEFAULTS.items()}
    counts = whole["counts"]
    return {**whole, "counts": _Counts(counts if isinstance(counts, dict) else {})}


class _Counts(dict[str, int]):
    """Rows by what became of them, where a kind that a load has none of is 0 when it is asked."""

    def __missing__(self, kind: str) -> int:
        if kind in Counts.model_fields:
            return 0
        raise KeyError(kind)


def _posts(
    pipeline: str,
    bound: Sequence[_Bound],
    sendings: Sequence[Sending],
    complain: Callable[[str], None],
    *,
    kept: bool,
    test: bool = False,
) -> list[Post]:
    """Return what each receiver is told: a message for each kind, a line for each stream."""
    targets = {t.digest: t for b in bound for t in b.targets}
    say = {b.rule.number: b.say for b in bound}
    grouped: dict[tuple[str, str], list[Sending]] = {}
    for sending in sendings:
        one = replace(sending, facts=_whole(sending.facts))
        grouped.setdefault((sending.receiver, sending.word), []).append(one)
    messages: dict[str, list[texts.Message]] = {}
    for (receiver, word), group in grouped.items():
        lines = []
        for sending, usual in zip(group, texts.lines_of(group), strict=True):
            own = say[sending.rule]
            lines.append((own(sending.facts) if own else "") or usual)
        message = texts.Message(word, tuple(group), tuple(lines), pipeline, kept=kept, test=test)
        messages.setdefault(receiver, []).append(message)
    return [Post(targets[receiver], told) for receiver, told in messages.items()]


def _within(seconds: float, work: Callable[[], _T]) -> _T:
    """Return what ``work`` does, in that time at most.

    Raises:
        TimeoutError: it isn't done; it goes on, and nobody waits for it.
    """
    done: list[_T] = []
    failed: list[Exception] = []
    over = threading.Event()  # a join that Ctrl-C ends takes the thread for ended

    def go() -> None:
        try:
            done.append(work())
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            failed.append(error)
        finally:
            over.set()

    run = copy_context().run  # a runner's settings are in context variables
    thread = threading.Thread(target=run, args=(go,), name="alerts", daemon=True)
    try:
        thread.start()
        over.wait(seconds)
    except BaseException:  # Ctrl-C, or a runner's timeout
        over.wait(ENDING_SECONDS)
        raise
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"it takes more than {seconds:.0f} s")
    return done[0]


# --- looked at, and tried -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """A receiver that was sent a test; ``reason`` is why it wasn't taken, or empty.

    ``is_refusal``: it never will take one, as its URL or token is wrong.
    """

    receiver: str
    rule: int
    reason: str
    is_refusal: bool = False


def try_alerts(pipeline: Pipeline, about: str = "failure") -> list[Tried]:
    """Send a test, marked as one, to each receiver of a pipeline; return who took it.

    Raises:
        ConfigError: a rule's condition or template is wrong, or a connection isn't known.
    """
    complaints: list[str] = []
    tried: dict[tuple[str, str], tuple[int, Target]] = {}
    bound = []
    for number, spec in enumerate(pipeline.loaded.spec.notify):
        try:
            texts.check_words(spec.if_, spec.template)
            targets = [_target(pipeline, receiver) for receiver in spec.to]
        except (ConfigError, ValueError) as error:
            told = error.message if isinstance(error, ConfigError) else str(error)
            raise pipeline.loaded.problem(("notify", number), told) from None
        except ImportError as error:
            told = f"{error}; {REMEDY}"
            raise pipeline.loaded.problem(("notify", number), told) from None
        bound.append(_bound(number, spec, targets, complaints.append))
        for target in targets:
            tried.setdefault((target.digest, target.name), (number, target))
    now = datetime.now(UTC)
    facts = _example(pipeline, about, now)
    sendings = [
        Sending(number, target.digest, about, "", 1, uuid4().hex, facts)
        for number, target in tried.values()
    ]
    posts = _posts(pipeline.name, bound, sendings, complaints.append, kept=True, test=True)
    send_all(posts, SEND_SECONDS)
    found = {post.target.digest: (post.outcomes[0] or "", 0 in post.refused) for post in posts}
    return [Tried(t.name, number, *found[t.digest]) for number, t in tried.values()]


def check_notify(pipeline: Pipeline) -> list[CheckItem]:
    """Look at the rules of a pipeline without telling anybody: URLs, connections, templates."""
    items = []
    for number, spec in enumerate(pipeline.loaded.spec.notify):
        name = f"notify[{number}]"
        try:
            texts.check_words(spec.if_, spec.template)
            shown = [_checked(pipeline, receiver) for receiver in spec.to]
        except (ConduitError, ValueError) as error:
            told = error.message if isinstance(error, ConduitError) else str(error)
            where = pipeline.loaded.locate(("notify", number))
            items.append(CheckItem(name, ok=False, detail=f"{where}: {told}"))
        except ImportError as error:
            items.append(CheckItem(name, ok=False, detail=str(error), remedy=REMEDY))
        else:
            told = f"{', '.join(spec.on)} to {', '.join(shown)}"
            items.append(CheckItem(name, ok=True, detail=told))
            if "stale" in spec.on and all(s.freshness is None for s in pipeline.streams):
                where = pipeline.loaded.locate(("notify", number))
                detail = f"{where}: nothing can be stale: no stream has `freshness:`"
                items.append(CheckItem(name, ok=False, detail=detail, remedy=FRESHNESS))
    return items


def _checked(pipeline: Pipeline, receiver: ReceiverSpec) -> str:
    target = _target(pipeline, receiver)
    if target.is_webhook:
        import_module("httpx")
    else:
        try:
            service_of(target)
        except NotSentError as error:
            raise ValueError(f"{target.name}: {error}") from None
    return target.name


def _example(pipeline: Pipeline, about: str, now: datetime) -> dict[str, object]:
    """Return facts of nothing that happened."""
    return AlertFacts(
        about=about,
        was="failure" if about == "recovered" else "",
        pipeline=pipeline.name,
        stream=pipeline.streams[0].name,
        at=now.isoformat(),
        text="this is a test" if about == "failure" else "",
        lag_seconds=7200.0 if about == "stale" else None,
        freshness_seconds=3600.0 if about == "stale" else None,
        opened_at=now.isoformat(),
        runner="cli",
    ).plain()
