"""What a task asks the core for: a window, and a key that each of its retries has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run, task_run
from pydantic import ValidationError

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import RunRequest

Moment: TypeAlias = str | date | datetime
"""An end of a window: text as on the command line, or a date or time."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a task's caller asks for."""

    window_from: Moment | None = None
    window_to: Moment | None = None
    full_refresh: bool = False
    reload: bool = False
    allow_empty: bool = False
    allow_deletes: bool = False
    only: Mapping[str, object] | None = None
    call: str = ""
    """Which of a flow run's loads of one stream it is, where the window doesn't say."""


def request_of(stream: str, asked: Asked) -> RunRequest:
    """Return the request of a task.

    Its key is made of the flow run, the stream and the window, so that each retry of the task and
    of the flow run is the same request, in whatever process. With ``reload`` each task run is one
    of its own. A task that no flow started is the same request in its own retries.

    Raises:
        ConfigError: an argument is of the wrong type.
    """
    from conduit_core import RunRequest, SliceBy

    start, end = _text("window_from", asked.window_from), _text("window_to", asked.window_to)
    only = None if asked.only is None else SliceBy.of(asked.only)
    run = flow_run.id or task_run.id
    parts = ["prefect", run, stream, start or "", end or ""]
    if only is not None:
        # Values may be a thousand: the key goes into an index, the values are in the request.
        parts.append(hashlib.sha256(only.model_dump_json().encode()).hexdigest()[:16])
    if asked.call:
        parts.append(asked.call)
    if asked.full_refresh:
        parts.append("full")
    if asked.reload:
        parts += ["reload", task_run.id or ""]
    try:
        return RunRequest.model_validate(
            {
                "window_from": start,
                "window_to": end,
                "only": only,
                "full_refresh": asked.full_refresh,
                "request_key": "/".join(parts) if run else None,
                "allow_empty": asked.allow_empty,
                "allow_deletes": asked.allow_deletes,
                "runner": runner_text(),
                "after": False,
            }
        )
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"an argument is wrong: {said}", stream=stream) from None


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


def scheduled_start() -> datetime:
    """Return when the run was to start that this one belongs to, however late it does.

    A flow that is called by another has no schedule of its own, and is another run when the outer
    one is retried.
    """
    outermost = flow_run.root_flow_run_id
    if outermost == flow_run.id:
        return flow_run.scheduled_start_time  # type: ignore[no-any-return]
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(UUID(outermost)).expected_start_time
    return found or flow_run.scheduled_start_time


def slice_before(length: object, scheduled: datetime) -> tuple[str, str]:
    """Return the slice of a length that ends at a run's scheduled start.

    Args:
        length: ``1 day``, ``90m``, ``1h30m``: an exact time, so that a day has 24 hours.
        scheduled: when the run was to start, however late it does.

    Raises:
        ConfigError: the length is none.
    """
    from conduit_core import parse_duration

    if not isinstance(length, str):
        raise ConfigError(f"window_length={length!r} is text, such as '1 day'")
    try:
        span = parse_duration(length)
    except ValueError as error:
        raise ConfigError(f"window_length={length!r} {error}") from None
    if span <= timedelta(0):
        raise ConfigError(f"window_length={length!r} is no length of time")
    try:
        start = scheduled - span
    except OverflowError:
        raise ConfigError(f"window_length={length!r} begins before the year 1") from None
    return start.isoformat(), scheduled.isoformat()


def _text(name: str, moment: object) -> str | None:
    if moment is None or isinstance(moment, str):
        return moment
    if isinstance(moment, date):
        return moment.isoformat()
    raise ConfigError(f"{name}= is text, a date or a time, not {type(moment).__name__}")
