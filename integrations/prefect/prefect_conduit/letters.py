"""``replay_letters``: dead letters once more, as a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from prefect import task
from prefect.runtime import task_run

from conduit_core.errors import ConduitError, ConfigError
from prefect_conduit.asked import runner_text
from prefect_conduit.failures import PLANS, bare
from prefect_conduit.news import News
from prefect_conduit.pipelines import PipelineLike, opened
from prefect_conduit.state import PrefectStateStore, store_of
from prefect_conduit.stopping import stop_event
from prefect_conduit.tasks import failed, published
from prefect_conduit.twins import in_thread
from prefect_conduit.watching import watching

if TYPE_CHECKING:
    from conduit_core import LoadResult, Pipeline


class _Which(TypedDict):
    """Which letters are replayed."""

    load_id: str | None
    rule: str | None
    ids: tuple[str, ...]


def _run_name() -> str:
    return f"replay {task_run.parameters.get('stream') or 'all'}"


@task(
    name="replay-letters",
    task_run_name=_run_name,
    **PLANS,
)
def replay_letters(
    pipeline: PipelineLike,
    stream: str | None = None,
    *,
    load_id: str | None = None,
    rule: str | None = None,
    ids: Sequence[str] | str = (),
    state_prefix: str | None = None,
) -> list[LoadResult]:
    """Hold open dead letters to today's rules, and load those that pass, once.

    Each stream's letters are a load of their own. A retry finds only what is still open.

    Args:
        pipeline: the pipeline's file, its content as a mapping, or a ConduitPipeline block.
        stream: whose letters; None for those of all streams.
        load_id: only letters that this load rejected last.
        rule: only those that break this rule.
        ids: only these letters, by their ids or what those begin with.
        state_prefix: what the Variables with the state begin with; default: what the block says,
            or ``conduit``.

    Returns:
        What became of each stream's letters, in the file's order: ``empty`` where there were none;
        those that are still open are counted as ``rejected``.

    Raises:
        ConduitError: the first stream's that can't be replayed; those before it are.
    """
    name = ""
    try:
        store = store_of(pipeline, state_prefix)
        found = opened(pipeline)
        name = found.name
        results = _replayed(found, stream, _which(load_id, rule, ids), store)
    except ConduitError as error:
        _failed(error, name, stream)
        raise
    for result in results:
        if result.outcome == "published":
            published(result)
    return results


def _replayed(
    pipeline: Pipeline, stream: str | None, which: _Which, store: PrefectStateStore
) -> list[LoadResult]:
    from conduit_core import replay

    if not isinstance(stream, str | None):
        raise ConfigError(f"stream= is a stream's name, not {stream!r}", pipeline=pipeline.name)
    names = tuple(s.name for s in pipeline.select(None if stream is None else (stream,)))
    news = News(store, pipeline, *names)
    with watching(pipeline, news.hear) as listeners:
        try:
            return replay(
                pipeline,
                names,
                **which,
                store=news,
                listeners=listeners,
                runner=runner_text(),
                cancel=stop_event(),
            )
        except ConduitError as error:
            store.explain(error)
            raise


def _which(load_id: object, rule: object, ids: object) -> _Which:
    return {"load_id": _text("load_id", load_id), "rule": _text("rule", rule), "ids": _ids(ids)}


def _text(name: str, value: object) -> str | None:
    """Return a filter; None for an empty one, as a form gives it."""
    if not isinstance(value, str | None):
        raise ConfigError(f"{name}= is text, not {type(value).__name__}")
    return value or None


def _ids(value: object) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, Sequence) or not all(isinstance(one, str) for one in found):
        raise ConfigError(f"ids= is a list of letters' ids, not {value!r}")
    return tuple(found)


def _failed(error: ConduitError, pipeline: str, stream: str | None) -> None:
    """Tell of an error as a load's; where it is of no one stream the task's state alone has it."""
    whose = error.stream or stream
    if whose:
        failed(error, pipeline, whose, plans=True)
    else:
        bare(error)


areplay_letters = in_thread(replay_letters)
"""Do what ``replay_letters`` does, for an asynchronous flow that awaits it."""
