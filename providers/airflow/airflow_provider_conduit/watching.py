"""Who hears a task's events: its log, and the receivers of metrics, traces and alerts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_conduit.compat import BaseHook, setting
from airflow_provider_conduit.lineage import is_on

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import Origin, Pipeline
    from conduit_core.errors import ConduitError
    from conduit_core.events import Listener

SECTION = "conduit"
OPTION = "observe"
_CONNECTION = "connection:"
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
        PlainLines(_log.info, warn=_log.warning, clock=False),
        *listeners_from_environment(),
        *own,
    )
    with (
        _without_a_trace_that_nobody_sends(),
        observing(
            pipeline,
            heard,
            to=receivers(),
            origin=origin_of(context),
            without=_told_by_airflow(),
            will_retry=lambda error: will_retry(error, context, has_plan=has_plan),
        ) as observation,
    ):
        yield observation.listeners


def receivers() -> str | None:
    """Return the receivers' URLs that Airflow's settings name; None for those of the environment.

    ``[conduit] observe`` has them, or ``connection:ID``: they are that connection's password then,
    so that any secrets backend may keep them.
    """
    try:
        text = setting(SECTION, OPTION).strip()
        if not text.startswith(_CONNECTION):
            return text or None
        conn_id = text.removeprefix(_CONNECTION)
        return str(BaseHook.get_connection(conn_id).password or "")
    except Exception as error:  # noqa: BLE001 - a receiver never fails a load
        _log.warning("[%s] %s can't be read: %s", SECTION, OPTION, type(error).__name__)
        return ""


def _told_by_airflow() -> Mapping[str, str]:
    """Return what Airflow sends by itself, and why we don't."""
    return {"openlineage": "Airflow's OpenLineage provider does it"} if is_on() else {}


@contextmanager
def _without_a_trace_that_nobody_sends() -> Iterator[None]:
    """Hide the task's span where Airflow's own tracing is off.

    Airflow gives each task one all the same, marked as not to be sent: what is below it wouldn't
    be sent, either.
    """
    if _traces_are_on():
        yield
        return
    try:
        from opentelemetry import context, trace
    except ImportError:
        yield
        return
    token = context.attach(trace.set_span_in_context(trace.INVALID_SPAN))
    try:
        yield
    finally:
        context.detach(token)


def _traces_are_on() -> bool:
    return setting("traces", "otel_on").strip().lower() in ("true", "t", "1")


def origin_of(context: Context) -> Origin:
    """Return the task's run, as alerts, traces and lineage name it."""
    from conduit_core import Origin

    ti = context["ti"]
    run = "/".join((ti.dag_id, ti.run_id, ti.task_id))
    carrier = getattr(ti, "context_carrier", None) if _traces_are_on() else None
    return Origin(
        runner="airflow",
        run=run,
        url=getattr(ti, "log_url", None) or "",
        traceparent=str((carrier or {}).get("traceparent") or ""),
    )


def will_retry(error: ConduitError, context: Context, *, has_plan: bool) -> bool:
    """Say whether Airflow runs the task again after an error: then nobody is told yet."""
    if error.retry == "never" or (error.retry == "plan" and has_plan):
        return False
    ti = context["ti"]
    return int(ti.try_number) <= int(ti.max_tries)
