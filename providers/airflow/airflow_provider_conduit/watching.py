"""Who hears a task's events: its log, and the receivers of metrics, traces and alerts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import Origin, Pipeline
    from conduit_core.errors import ConduitError
    from conduit_core.events import Listener

_log = logging.getLogger("airflow.task.conduit")


@contextmanager
def watching(
    pipeline: Pipeline, context: Context, *own: Listener, has_plan: bool = False
) -> Iterator[tuple[Listener, ...]]:
    """Watch what a task does until the block ends.

    Args:
        pipeline: what it runs.
        context: the task's.
        own: who else hears its events.
        has_plan: whether the task is given its plan: a stale one no retry mends.

    Yields:
        The listeners to hand to the core.
    """
    from conduit_core import PlainLines, listeners_from_environment, observing

    heard: tuple[Listener, ...] = (
        PlainLines(_log.info, clock=False),
        *listeners_from_environment(),
        *own,
    )
    with observing(
        pipeline,
        heard,
        origin=origin_of(context),
        will_retry=lambda error: will_retry(error, context, has_plan=has_plan),
    ) as observation:
        yield observation.listeners


def origin_of(context: Context) -> Origin:
    """Return the task's run, as alerts, traces and lineage name it."""
    from conduit_core import Origin

    ti = context["ti"]
    run = "/".join((ti.dag_id, ti.run_id, ti.task_id))
    return Origin(runner="airflow", run=run, url=getattr(ti, "log_url", None) or "")


def will_retry(error: ConduitError, context: Context, *, has_plan: bool) -> bool:
    """Say whether Airflow runs the task again after an error: then nobody is told yet."""
    if error.retry == "never" or (error.retry == "plan" and has_plan):
        return False
    ti = context["ti"]
    return int(ti.try_number) <= int(ti.max_tries)
