"""Dead letters from outside a load: listed, replayed, purged. Each opens the pipeline itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from conduit_core.connectors.letters import DeadLetter, KeepsLetters, Status
from conduit_core.connectors.publish import LetterFilter
from conduit_core.engine.budget import budgets
from conduit_core.engine.model import LoadResult
from conduit_core.engine.outcome import failed_event, finished_event
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.replay import replay_stream
from conduit_core.engine.runtime import Runtime
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.events import Emitter, Listener
from conduit_core.spec import StreamSpec
from conduit_core.spec.rules import rule_names
from conduit_core.state.store import StateStore
from conduit_core.types.dialect import Table

ALL: tuple[Status, ...] = ("open", "resolved", "superseded", "purged")
KEPT: tuple[Status, ...] = ("open", "resolved", "superseded")


def letters(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    which: LetterFilter | None = None,
    *,
    statuses: tuple[Status, ...] = ("open",),
    limit: int | None = None,
) -> list[DeadLetter]:
    """Return the dead letters of streams (all by default), the newest first. Read-only.

    Raises:
        ConfigError: the destination keeps none.
    """
    with _kept(pipeline, streams) as (keeper, targets):
        found = [
            letter
            for target in targets
            for letter in keeper.letters(target, which, statuses=statuses, limit=limit)
        ]
    found.sort(key=lambda letter: letter.last_seen_at, reverse=True)
    return found[:limit]


def find_letters(pipeline: Pipeline, ids: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return which stream has which of these dead letters, for a runner that replays one by one.

    Args:
        pipeline: whose letters; the destination is asked.
        ids: the letters' ids, or what those begin with.

    Returns:
        Whole ids by the names of the streams that have some, in the file's order.

    Raises:
        ConfigError: no letter, or several, have such an id; the destination keeps none.
    """
    with _kept(pipeline, None) as (keeper, targets):
        there = [keeper.letters(target, statuses=ALL) for target in targets]
    every = [letter for each in there for letter in each]
    try:
        wanted = {by_beginning(every, beginning).letter_id for beginning in ids}
    except ConfigError as error:
        raise pipeline.at(error, command="conduit dlq list") from None
    held = [tuple(x.letter_id for x in each if x.letter_id in wanted) for each in there]
    return {s.name: own for s, own in zip(pipeline.streams, held, strict=True) if own}


def replay(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    *,
    load_id: str | None = None,
    rule: str | None = None,
    ids: tuple[str, ...] = (),
    store: StateStore | None = None,
    listeners: tuple[Listener, ...] = (),
    runner: str = "{}",
    cancel: threading.Event | None = None,
) -> list[LoadResult]:
    """Hold open dead letters to today's rules, and load those that pass, once.

    Each stream's letters are a load of their own. What breaks a rule again stays open; where the
    target has a newer row, the letter is superseded.

    Args:
        pipeline: whose letters.
        streams: names of streams; None for all.
        load_id: only letters that this load rejected last.
        rule: only those that break this rule.
        ids: only these letters, by their ids or what those begin with.
        store: the runner's state store.
        listeners: called with every event.
        runner: who asks, as JSON.
        cancel: set from outside to end it: the stream in flight is rolled back, and fails.

    Raises:
        ConduitError: the first stream's that can't be replayed; those before it are.
    """
    which = LetterFilter(load_id=load_id, rule=rule, ids=ids or None)
    queue_bytes, _ = budgets(1)
    runtime = Runtime(Emitter(listeners), store, queue_bytes, cancel=cancel or threading.Event())
    with pipeline.open() as ends:
        chosen = pipeline.select(streams)
        targets = [pipeline.target(stream, ends.destination) for stream in chosen]
        known = _known(_keeper(ends), targets, pipeline, which)
        return [_replayed(pipeline, stream, ends, known, runtime, runner) for stream in chosen]


def _replayed(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    which: LetterFilter,
    runtime: Runtime,
    runner: str,
) -> LoadResult:
    try:
        result = replay_stream(pipeline, stream, ends, which, runtime, runner)
    except ConduitError as error:
        runtime.emit(failed_event(pipeline.name, stream.name, error))
        raise
    runtime.emit(finished_event(result))
    return result


def purge(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    which: LetterFilter | None = None,
    *,
    statuses: tuple[Status, ...] = KEPT,
    older_than: timedelta | None = None,
    dry_run: bool = False,
) -> int:
    """Forget the payloads of dead letters, which become ``purged``; return how many.

    Args:
        pipeline: whose letters.
        streams: names of streams; None for all.
        which: which letters.
        statuses: of which status.
        older_than: how long ago they must have been rejected last.
        dry_run: only count.
    """
    border = datetime.now(UTC) - older_than if older_than is not None else None
    with _kept(pipeline, streams) as (keeper, targets):
        which = _known(keeper, targets, pipeline, which or LetterFilter())
        if not dry_run:
            return sum(
                keeper.purge_letters(target, which, statuses=statuses, seen_before=border)
                for target in targets
            )
        found = (keeper.letters(target, which, statuses=statuses) for target in targets)
        return sum(1 for each in found for x in each if border is None or x.last_seen_at < border)


def _known(
    keeper: KeepsLetters, targets: list[Table], pipeline: Pipeline, which: LetterFilter
) -> LetterFilter:
    """Return the filter with whole ids for their beginnings.

    Raises:
        ConfigError: no letter, or several, have such an id; nothing breaks, or is called, the rule.
    """
    if which.rule is not None:
        from conduit_core.engine.rules import READABLE
        from conduit_core.quality.storable import NAME as STORABLE

        rules = {n for s in pipeline.streams for n in rule_names(s.quality)}
        rules |= {READABLE, STORABLE}
        one = LetterFilter(rule=which.rule)
        if which.rule not in rules and not any(
            keeper.letters(t, one, statuses=ALL, limit=1) for t in targets
        ):
            raise ConfigError(
                f"no rule is called {which.rule!r}; there are {', '.join(sorted(rules))}",
                command="conduit dlq list",
            )
    if which.ids is None:
        return which
    there = [letter for t in targets for letter in keeper.letters(t, statuses=ALL)]
    whole = tuple(by_beginning(there, beginning).letter_id for beginning in which.ids)
    return which.model_copy(update={"ids": whole})


def by_beginning(there: list[DeadLetter], beginning: str) -> DeadLetter:
    """Return the letter whose id begins so.

    Raises:
        ConfigError: there is none, or are several.
    """
    found = [letter for letter in there if letter.letter_id.startswith(beginning)]
    if len(found) != 1:
        what = "no dead letter" if not found else f"{len(found)} dead letters"
        raise ConfigError(
            f"{what} with an id that begins with {beginning!r}", command="conduit dlq list"
        )
    return found[0]


@contextmanager
def _kept(
    pipeline: Pipeline, streams: tuple[str, ...] | None
) -> Iterator[tuple[KeepsLetters, list[Table]]]:
    with pipeline.open() as ends:
        keeper = _keeper(ends)
        keeper.check_letters()
        target: Callable[..., Table] = pipeline.target
        yield keeper, [target(s, ends.destination) for s in pipeline.select(streams)]


def _keeper(ends: Ends) -> KeepsLetters:
    if not isinstance(ends.destination, KeepsLetters):
        raise ConfigError(
            f"a {ends.destination.system} destination keeps no dead letters: databases do",
            command="conduit connectors",
        )
    return ends.destination
