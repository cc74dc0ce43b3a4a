"""Who hears a step's events: its log, and the receivers of metrics, traces and alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagster_conduit.failures import retries_left

if TYPE_CHECKING:
    from dagster import OpExecutionContext

    from conduit_core import Origin, Pipeline
    from conduit_core.events import Listener


@contextmanager
def watching(
    pipeline: Pipeline, context: OpExecutionContext, *own: Listener
) -> Iterator[tuple[Listener, ...]]:
    """Watch what a step does until the block ends.

    Args:
        pipeline: what it runs.
        context: the step's.
        own: who else hears its events.

    Yields:
        The listeners to hand to the core.
    """
    from conduit_core import PlainLines, listeners_from_environment, observing

    log: Callable[[str], None] = context.log.info
    heard: tuple[Listener, ...] = (
        PlainLines(log, clock=False),
        *listeners_from_environment(),
        *own,
    )
    with observing(
        pipeline,
        heard,
        origin=_origin(context),
        will_retry=lambda error: error.retry != "never" and retries_left(context),
    ) as observation:
        yield observation.listeners


def _origin(context: OpExecutionContext) -> Origin:
    from conduit_core import Origin

    run = context.run
    return Origin(runner="dagster", run=f"{run.job_name}/{run.run_id}", run_id=run.run_id)
