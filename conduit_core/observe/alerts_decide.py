"""Who is told of what, decided from what a run says and from what was told before. Pure.

A process writes down that it is about to tell (a *reservation*), tells, and writes that it did. So
of two at once only one tells; of one that is killed in between, the next run tells again, under the
same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from conduit_core.connectors.incidents import LASTING, About, Incident, Telling

LEASE = timedelta(seconds=60)
"""How long a reservation holds; who hasn't written by then that it told is taken for dead."""
KEEP_TRYING = timedelta(days=1)
"""How long what is over is told of, where a receiver doesn't take it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a run says of a stream, or a hook.

    Args:
        stream: the stream, or ``after.NAME``.
        about: what happened.
        facts: what the alert says, as plain JSON.
        over: whether it is over: a load that ended well says so of a failure.
        error, exit_code: of a failure.
        load_id: the load, "" where none was planned.
        again: whether the load was published by an earlier run.
    """

    stream: str
    about: About
    facts: Mapping[str, object] = field(default_factory=dict)
    over: bool = False
    error: str = ""
    exit_code: int = 0
    load_id: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of ``notify:``.

    Args:
        number: which one of the file.
        on: the words it tells of.
        receivers: who is told, by their digests.
        quiet: how long nothing more is said; None: for ever, of what goes on.
        matches: whether it tells of an alert with these facts.
    """

    number: int
    on: frozenset[str]
    receivers: tuple[str, ...]
    quiet: timedelta | None = None
    matches: Callable[[Mapping[str, object]], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Sending:
    """An alert to one receiver.

    Args:
        rule: by which rule.
        receiver: who is told.
        word: of what: an :data:`About`, or ``recovered``.
        incident: the incident's id.
        count: how many times this receiver is told of the incident by then.
        key: the same each time this very alert is sent.
        facts: what it says.
    """

    rule: int
    receiver: str
    word: str
    incident: str
    count: int
    key: str
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write first, and what to send then."""

    send: tuple[Sending, ...] = ()
    write: tuple[Incident, ...] = ()


def once_id(pipeline: str, fact: Fact) -> str:
    """Return the id of what happens once in a load."""
    return _digest(pipeline, fact.stream, fact.about, fact.load_id)


def decide(
    pipeline: str,
    rules: Sequence[Rule],
    facts: Iterable[Fact],
    incidents: Iterable[Incident],
    now: datetime,
    runner: str = "",
    *,
    kept: bool = True,
) -> Decision:
    """Return whom to tell of what, and the incidents as they are then.

    Args:
        pipeline: its name.
        rules: those of its file.
        facts: what the run says.
        incidents: those that go on, those that were over not long ago, and those of these loads.
        now: the time.
        runner: who runs it.
        kept: whether the destination remembers. If not, all that the run says is told, under a key
            that says so; what an earlier run has published is not told again.
    """
    if not kept:
        return _unkept(pipeline, rules, facts, now, runner)
    known = {incident.id: incident for incident in incidents}
    going_on = {(i.stream, i.about): i for i in known.values() if _goes_on(i)}
    told_of = {word for rule in rules for word in rule.on}
    deciding = _Deciding(rules, known, now)
    for fact in facts:
        if fact.about not in told_of:
            continue
        if fact.about not in LASTING:
            found = known.get(once_id(pipeline, fact)) or _new(pipeline, fact, now, runner)
            deciding.once(found)
        elif fact.over:
            if current := going_on.get((fact.stream, fact.about)):
                deciding.over(current, fact)
        else:
            current = going_on.get((fact.stream, fact.about))
            found = _again(current, fact, now) if current else _new(pipeline, fact, now, runner)
            deciding.lasting(found)
    for incident in known.values():
        deciding.left_over(incident)
    return Decision(tuple(deciding.send), tuple(deciding.changed.values()))


def _unkept(
    pipeline: str, rules: Sequence[Rule], facts: Iterable[Fact], now: datetime, runner: str
) -> Decision:
    deciding = _Deciding(rules, {}, now)
    for fact in facts:
        if not fact.over and not fact.again:
            found = _new(pipeline, fact, now, runner)
            found = replace(found, id=once_id(pipeline, fact)) if fact.load_id else found
            deciding.lasting(found)
    return Decision(tuple(replace(s, key=f"unkept-{s.key}") for s in deciding.send))


def settled(incident: Incident, sending: Sending, *, sent: bool, now: datetime) -> Incident:
    """Return an incident after a receiver was told, or wasn't.

    One that didn't take the first word of an incident was never told of it.
    """
    telling = incident.told.get(sending.receiver)
    if telling is None or telling.sent or telling.count != sending.count:
        return incident
    told = dict(incident.told)
    if sent:
        told[sending.receiver] = replace(telling, sent=True, at=now)
    elif incident.about in LASTING and not telling.over and telling.count == 1:
        del told[sending.receiver]
    return replace(incident, told=told)


class _Deciding:
    """Adds up what is sent and written."""

    def __init__(self, rules: Sequence[Rule], known: Mapping[str, Incident], now: datetime) -> None:
        self._rules = rules
        self._known = known
        self._now = now
        self._done: set[str] = set()
        self.send: list[Sending] = []
        self.changed: dict[str, Incident] = {}

    def lasting(self, incident: Incident) -> None:
        """Tell of what begins or goes on."""
        facts = facts_of(incident)
        for rule in self._rules:
            if incident.about in rule.on and rule.matches(facts):
                for receiver in rule.receivers:
                    if self._is_due(incident.told.get(receiver), rule):
                        incident = self._tell(incident, rule, receiver)
        self._write(incident)

    def over(self, incident: Incident, fact: Fact) -> None:
        """Close an incident, and tell those who were told of it."""
        facts = {**incident.facts, "over": dict(fact.facts)}
        incident = replace(
            incident, closed_at=self._now, facts=facts, load_id=fact.load_id or incident.load_id
        )
        shown = facts_of(incident, over=True)
        for rule in self._rules:
            # who tells of the beginning tells of the end: its condition is of the beginning
            if "recovered" in rule.on and (incident.about in rule.on or rule.matches(shown)):
                for receiver in rule.receivers:
                    telling = incident.told.get(receiver)
                    if telling is not None and not telling.over:
                        incident = self._tell(incident, rule, receiver, over=True)
        self._write(incident)

    def once(self, incident: Incident) -> None:
        """Tell of what happened in one load, unless it was told of before."""
        before = incident
        facts = facts_of(incident)
        for rule in self._rules:
            if incident.about in rule.on and rule.matches(facts):
                for receiver in rule.receivers:
                    if self._is_first(incident, receiver, rule.quiet):
                        incident = self._tell(incident, rule, receiver)
        if incident is not before:
            self._write(incident)
        self._done.add(incident.id)

    def left_over(self, incident: Incident) -> None:
        """Tell again where a process died before it could write that it had told."""
        if incident.id in self._done or self._is_past(incident):
            return
        before = incident
        for receiver, telling in incident.told.items():
            word = "recovered" if telling.over else incident.about
            rule = self._rule_for(word, receiver)
            if rule is not None and self._is_free(telling):
                incident = self._tell(incident, rule, receiver, over=telling.over)
        if incident is not before:
            self._write(incident)

    def _rule_for(self, word: str, receiver: str) -> Rule | None:
        return next((r for r in self._rules if word in r.on and receiver in r.receivers), None)

    def _is_past(self, incident: Incident) -> bool:
        return incident.closed_at is not None and self._now - incident.closed_at > KEEP_TRYING

    def _is_free(self, telling: Telling) -> bool:
        """Whether nobody tells now, and nobody has."""
        return not telling.sent and self._now - telling.at >= LEASE

    def _is_due(self, telling: Telling | None, rule: Rule) -> bool:
        if telling is None or self._is_free(telling):
            return True
        waited = self._now - telling.at
        return telling.sent and rule.quiet is not None and waited >= rule.quiet

    def _is_first(self, incident: Incident, receiver: str, quiet: timedelta | None) -> bool:
        telling = incident.told.get(receiver)
        if telling is not None:
            return self._is_free(telling)
        if quiet is None:
            return True
        others = {**self._known, **self.changed}.values()
        same = (i for i in others if (i.stream, i.about) == (incident.stream, incident.about))
        told = (i.told[receiver].at for i in same if receiver in i.told)
        return all(self._now - at >= quiet for at in told)

    def _tell(
        self, incident: Incident, rule: Rule, receiver: str, *, over: bool = False
    ) -> Incident:
        """Add a sending, and reserve it."""
        before = incident.told.get(receiver)
        same = before is not None and not before.sent and before.over == over
        count = (before.count if before else 0) + (0 if same else 1)
        word = "recovered" if over else incident.about
        key = _digest(incident.id, word, str(count))
        telling = Telling(self._now, count, sent=False, over=over)
        told = {**incident.told, receiver: telling}
        incident = replace(incident, told=told, told_at=self._now)
        facts = facts_of(incident, over=over)
        self.send.append(Sending(rule.number, receiver, word, incident.id, count, key, facts))
        return incident

    def _write(self, incident: Incident) -> None:
        self.changed[incident.id] = incident
        self._done.add(incident.id)


def facts_of(incident: Incident, *, over: bool = False) -> dict[str, object]:
    """Return what an alert says of an incident; of its end, what ended it."""
    own = {k: v for k, v in incident.facts.items() if k != "over"}
    ended = incident.facts.get("over")
    if over and isinstance(ended, Mapping):
        own = {**own, **ended, "error": incident.error, "exit_code": incident.exit_code}
    return {
        **own,
        "about": "recovered" if over else incident.about,
        "was": incident.about if over else "",
        "opened_at": incident.opened_at.isoformat(),
        "times": incident.times,
    }


def _goes_on(incident: Incident) -> bool:
    return incident.about in LASTING and incident.closed_at is None


def _new(pipeline: str, fact: Fact, now: datetime, runner: str) -> Incident:
    lasting = fact.about in LASTING
    begun = _digest(pipeline, fact.stream, fact.about, now.isoformat())
    return Incident(
        id=begun if lasting else once_id(pipeline, fact),
        pipeline=pipeline,
        stream=fact.stream,
        about=fact.about,
        opened_at=now,
        seen_at=now,
        closed_at=None if lasting else now,
        error=fact.error,
        exit_code=fact.exit_code,
        load_id=fact.load_id,
        runner=runner,
        facts=fact.facts,
    )


def _again(incident: Incident, fact: Fact, now: datetime) -> Incident:
    """Return what goes on, seen once more; the same load, seen again, is not."""
    if incident.about == "rejected" and fact.load_id == incident.load_id != "":
        return incident
    return replace(
        incident,
        seen_at=now,
        times=incident.times + 1,
        error=fact.error,
        exit_code=fact.exit_code,
        load_id=fact.load_id or incident.load_id,
        facts=fact.facts,
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
