"""``@conduit_stream``: what a function returns or yields is loaded into a table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ParamSpec

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from prefect_conduit.connections import PrefectConnections
from prefect_conduit.failures import RETRIES, WAITS_SECONDS, retry_may_help
from prefect_conduit.requests import Asked
from prefect_conduit.tasks import loaded

if TYPE_CHECKING:
    from conduit_core import LoadResult, Pipeline

P = ParamSpec("P")


def conduit_stream(
    *,
    into: str,
    destination: str | Mapping[str, object],
    mode: str = "append",
    key: str | Sequence[str] | None = None,
    cursor: str | Sequence[str] | None = None,
    stream: Mapping[str, object] | None = None,
    name: str | None = None,
    state_prefix: str | None = None,
) -> Callable[[Callable[P, object]], Task[P, LoadResult]]:
    """Make a task of a function: what it returns or yields is loaded, exactly once.

    Args:
        into: the table, ``schema.table`` or ``table``.
        destination: a URL, a block's name, or what a pipeline file says of a destination.
        mode: how rows are published, as in a pipeline file.
        key: the stream's ``unique_key``.
        cursor: the stream's ``cursor``.
        stream: further keys of a stream, as in a file: ``quality``, ``transform``, ``deletes``.
        name: the pipeline's name in the ledger; default: the flow's.
        state_prefix: what the Variable with the state begins with; default: ``conduit``.
    """
    to: Mapping[str, object] | str = destination
    if isinstance(destination, str) and "://" not in destination:
        to = {"connection": destination}

    def made(function: Callable[P, object]) -> Task[P, LoadResult]:
        @functools.wraps(function)
        def load(*args: P.args, **kwargs: P.kwargs) -> LoadResult:
            pipeline = _pipeline(partial(function, *args, **kwargs))
            (only,) = pipeline.streams
            return loaded(pipeline, only.name, Asked(), state_prefix)

        def _pipeline(data: Callable[[], object]) -> Pipeline:
            from conduit_core import Pipeline

            return Pipeline.from_data(
                data,
                name=name or flow_run.flow_name or function.__name__,
                into=into,
                destination=to,
                mode=mode,  # type: ignore[arg-type]
                key=key,
                cursor=cursor,
                stream=stream,
                connections=PrefectConnections(),
            )

        return Task(
            load,
            name=function.__name__.replace("_", "-"),
            retries=RETRIES,
            retry_delay_seconds=WAITS_SECONDS,
            retry_condition_fn=retry_may_help,
            cache_policy=NO_CACHE,
        )

    return made
