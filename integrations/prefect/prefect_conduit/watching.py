"""Who hears a task's events: the run's log, and the receivers of metrics, traces and alerts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run, task_run

from prefect_conduit.failures import is_final
from prefect_conduit.observability import receivers

_TRACEPARENT = "__OTEL_TRACEPARENT"
"""The label of a run under which Prefect keeps its trace."""

if TYPE_CHECKING:
    from conduit_core import Origin, Pipeline
    from conduit_core.events import Listener


@contextmanager
def watching(
    pipeline: Pipeline, *own: Listener, plans: bool = True
) -> Iterator[tuple[Listener, ...]]:
    """Watch what a task does until the block ends.

    Args:
        pipeline: what it runs.
        own: who else hears its events.
        plans: whether another try of the task plans anew.

    Yields:
        The listeners to hand to the core.
    """
    from conduit_core import PlainLines, listeners_from_environment, observing

    log = get_run_logger()
    heard: tuple[Listener, ...] = (
        PlainLines(log.info, warn=log.warning, clock=False),
        *listeners_from_environment(),
        *own,
    )
    with observing(
        pipeline,
        heard,
        to=receivers(),
        origin=_origin(),
        will_retry=lambda error: not is_final(error, plans=plans),
    ) as observation:
        yield observation.listeners


def _origin() -> Origin:
    from conduit_core import Origin

    run, name = flow_run.id or task_run.id or "", flow_run.name or task_run.name or ""
    return Origin(
        runner="prefect",
        run=name,
        url=flow_run.ui_url or "",
        traceparent=_traceparent(),
        namespace="prefect",
        job=flow_run.flow_name or "",
        run_id=run,
    )


def _traceparent() -> str:
    """Return the flow run's trace, where Prefect's own telemetry is on."""
    context = FlowRunContext.get()
    labels = context.flow_run.labels if context and context.flow_run else {}
    return str(labels.get(_TRACEPARENT) or "")
