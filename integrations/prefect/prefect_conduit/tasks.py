"""``load_stream``: a stream's whole load as one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect import task
from prefect.runtime import task_run

from conduit_core.errors import ConduitError, ConfigError, QualityError
from prefect_conduit.artifacts import never_failing, show_failure, show_load, show_rules
from prefect_conduit.asked import Asked, Moment, request_of
from prefect_conduit.failures import ATTEMPTS, PLANS, bare, is_final
from prefect_conduit.news import News, tell_failure
from prefect_conduit.pipelines import PipelineLike, opened
from prefect_conduit.progress import Progress
from prefect_conduit.related import in_ready_flow
from prefect_conduit.state import PrefectStateStore, store_of
from prefect_conduit.stopping import stop_event
from prefect_conduit.twins import in_thread
from prefect_conduit.watching import watching

if TYPE_CHECKING:
    from conduit_core import LoadResult, Pipeline

AT_ONCE = 4
"""Loads that share a process, and its memory, as a rule."""


@task(
    name="load-stream",
    task_run_name="load {stream}",
    **PLANS,
)
def load_stream(
    pipeline: PipelineLike,
    stream: str,
    *,
    window_from: Moment | None = None,
    window_to: Moment | None = None,
    full_refresh: bool = False,
    reload: bool = False,
    allow_empty: bool = False,
    allow_deletes: bool = False,
    only: Mapping[str, object] | None = None,
    state_prefix: str | None = None,
) -> LoadResult:
    """Load a stream: plan, read, check and publish it, exactly once.

    A retry of the task or of its flow run is the same request: what it has published isn't loaded
    again.

    Args:
        pipeline: the pipeline's file, its content as a mapping, or a ConduitPipeline block.
        stream: the stream's name.
        window_from: the start of a given window, which belongs to it.
        window_to: its end, which doesn't.
        full_refresh: replace the table's content.
        reload: load again what this flow run has loaded already.
        allow_empty: let an empty extract empty the table.
        allow_deletes: let the load delete any share of the table's rows.
        only: the slice of the rows whose column has a value, or one of some: ``{"region": "eu"}``;
            with a window, of its rows.
        state_prefix: what the Variables with the state begin with; default: what the block says,
            or ``conduit``.

    Returns:
        What became of the load.

    Raises:
        ConduitError: it failed; its text is the four lines.
    """
    asked = Asked(
        window_from=window_from,
        window_to=window_to,
        full_refresh=full_refresh,
        reload=reload,
        allow_empty=allow_empty,
        allow_deletes=allow_deletes,
        only=only,
    )
    return loaded(pipeline, stream, asked, state_prefix)


aload_stream = in_thread(load_stream)
"""Do what ``load_stream`` does, for an asynchronous flow that awaits it."""


def loaded(given: PipelineLike, stream: str, asked: Asked, prefix: str | None) -> LoadResult:
    """Load a stream, and tell Prefect of it."""
    name = ""
    try:
        store = store_of(given, prefix)
        pipeline = opened(given)
        name = pipeline.name
        if not isinstance(stream, str):
            raise ConfigError(f"stream= is a stream's name, not {stream!r}", pipeline=name)
        result = load(pipeline, stream, asked, store)
    except ConduitError as error:
        failed(error, name, stream, plans=True)
        raise
    published(result)
    return result


def load(pipeline: Pipeline, stream: str, asked: Asked, store: PrefectStateStore) -> LoadResult:
    """Load a stream, and tell of what is published before its state is kept.

    Raises:
        ConduitError: it failed.
    """
    from conduit_core import run

    news = News(store, pipeline, stream)
    with (
        Progress(pipeline.name, stream) as progress,
        watching(pipeline, news.hear, progress.hear) as listeners,
    ):
        done = run(
            pipeline,
            (stream,),
            request=request_of(stream, asked),
            store=news,
            listeners=listeners,
            jobs=AT_ONCE,  # the memory it may take is a share
            attempts=ATTEMPTS,
            cancel=stop_event(),
        )
        if done.failures:
            error = done.failures[0].to_error()
            store.explain(error)
            raise error
    if not done.results:
        raise pipeline.at(ConduitError("ended before it began", retry="step"), stream)
    (result,) = done.results
    return result


def published(result: LoadResult) -> None:
    """Show what became of a load. Prefect has heard of it when its state was kept."""
    rules = result.quality.get("rules", ())
    with never_failing(f"the load of {result.stream} can't be shown"):
        show_rules(result.pipeline, result.stream, rules)  # type: ignore[arg-type]
        if not in_ready_flow():  # which shows all of its loads at once
            show_load(result)


def failed(error: ConduitError, pipeline: str, stream: str, *, plans: bool) -> None:
    """Show and tell of an error that is final; of one that was stopped nobody hears."""
    bare(error)
    if stop_event().is_set() or not is_final(error, plans=plans):
        return
    with never_failing(f"the failure of {stream} can't be shown"):
        if isinstance(error, QualityError):
            show_rules(pipeline, stream, error.reports)
        if not in_ready_flow():
            show_failure(pipeline, stream, error)
    with never_failing(f"Prefect can't be told of the failure of {stream}"):
        tell_failure(error, pipeline, stream, task_run.id)
