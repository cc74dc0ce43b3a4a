"""Who hears a step's events: its log, and the receivers of metrics, traces and alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagster_conduit.failures import will_retry

if TYPE_CHECKING:
    from dagster import OpExecutionContext

    from conduit_core import Origin, Pipeline
    from conduit_core.events import Listener


@contextmanager
def watching(
    pipeline: Pipeline,
    context: OpExecutionContext,
    *own: Listener,
    to: Sequence[str] | None,
) -> Iterator[tuple[Listener, ...]]:
    """Watch what a step does until the block ends.

    Args:
        pipeline: what it runs.
        context: the step's.
        own: who else hears its events.
        to: the resource's receivers; None for those of the environment.

    Yields:
        The listeners to hand to the core.
    """
    from conduit_core import PlainLines, listeners_from_environment, observing

    log: Callable[[str], None] = context.log.info
    warn: Callable[[str], None] = context.log.warning
    heard: tuple[Listener, ...] = (
        PlainLines(log, warn=warn, clock=False),
        *listeners_from_environment(),
        *own,
    )
    with observing(
        pipeline,
        heard,
        to=to,
        origin=_origin(context),
        will_retry=lambda error: will_retry(error, context),
    ) as observation:
        yield observation.listeners


def _origin(context: OpExecutionContext) -> Origin:
    from conduit_core import Origin

    run = context.run
    return Origin(
        runner="dagster",
        run=f"{run.job_name}/{run.run_id}",
        namespace="dagster",
        job=run.job_name,
        run_id=run.run_id,
    )
