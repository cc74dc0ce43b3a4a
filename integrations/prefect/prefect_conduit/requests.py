"""What a task asks the core for: a window, and a key that each of its retries has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from prefect.runtime import flow_run, task_run

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import RunRequest

Moment: TypeAlias = str | date | datetime
"""An end of a window: text as on the command line, or a date or time."""


@dataclass(frozen=True)
class Asked:
    """What a task's caller asks for."""

    window_from: Moment | None = None
    window_to: Moment | None = None
    full_refresh: bool = False
    reload: bool = False
    allow_empty: bool = False
    allow_deletes: bool = False
    call: str = ""
    """Which of a flow run's loads of one stream it is, where the window doesn't say."""


def request_of(stream: str, asked: Asked) -> RunRequest:
    """Return the request of a task.

    Its key is made of the flow run, the stream and the window, so that each retry of the task and
    of the flow run is the same request, in whatever process. With ``reload`` each task run is one
    of its own.
    """
    from conduit_core import RunRequest

    start, end = _text(asked.window_from), _text(asked.window_to)
    run = flow_run.id or task_run.id
    parts = ["prefect", run, stream, start or "", end or ""]
    if asked.call:
        parts.append(asked.call)
    if asked.full_refresh:
        parts.append("full")
    if asked.reload:
        parts += ["reload", task_run.id or ""]
    return RunRequest.model_validate(
        {
            "window_from": start,
            "window_to": end,
            "full_refresh": asked.full_refresh,
            "request_key": "/".join(parts) if run else None,
            "allow_empty": asked.allow_empty,
            "allow_deletes": asked.allow_deletes,
            "runner": runner_text(),
            "after": False,
        }
    )


def runner_text() -> str:
    """Return who asks, for the ledger."""
    facts = {
        "runner": "prefect",
        "flow": flow_run.flow_name,
        "flow_run": flow_run.name,
        "flow_run_id": flow_run.id,
        "attempt": flow_run.run_count,
        "task_run": task_run.name,
        "task_run_id": task_run.id,
    }
    return json.dumps({key: item for key, item in facts.items() if item})


def slice_before(length: str, scheduled: datetime) -> tuple[str, str]:
    """Return the slice of a length that ends at a run's scheduled start.

    Args:
        length: ``1 day``, ``90m``, ``1h30m``.
        scheduled: when the run was to start, however late it does.

    Raises:
        ConfigError: the length is none.
    """
    from conduit_core import parse_duration

    try:
        span = parse_duration(length)
    except ValueError as error:
        raise ConfigError(f"window_length={length!r} {error}") from None
    if span <= timedelta(0):
        raise ConfigError(f"window_length={length!r} is no length of time")
    return (scheduled - span).isoformat(), scheduled.isoformat()


def _text(moment: Moment | None) -> str | None:
    if moment is None or isinstance(moment, str):
        return moment
    return moment.isoformat()
