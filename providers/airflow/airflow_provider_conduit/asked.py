"""What a task asks the core for: a window, and a key that is the same in each of its retries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_conduit.windows import check_window, interval, times_of
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import RunRequest, SliceBy

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off", "none", "")


@dataclass(frozen=True, slots=True)
class Asked:
    """A task's own arguments, rendered; templates give texts, or values if they are native."""

    window: object = "watermark"
    window_from: object = None
    window_to: object = None
    only: object = None
    full_refresh: object = False
    reload: object = False
    allow_empty: object = False
    allow_deletes: object = False


def request_of(asked: Asked, context: Context) -> RunRequest:
    """Return the request of a task instance.

    Its key is made of the DAG, the run, the task and the map index, so that a retry, a clear or a
    second process of it are the same request. With ``reload`` each clear is a request of its own.

    Raises:
        ConfigError: an argument isn't what it must be, or the run has no interval.
    """
    from conduit_core import RunRequest

    ti = context["ti"]
    reload = truth("reload", asked.reload)
    key = "/".join(("airflow", ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)))
    if reload:
        key = f"{key}/reload/{ti.max_tries}"  # a clear raises it, a retry doesn't
    window_from, window_to = (
        point("window_from", asked.window_from),
        point("window_to", asked.window_to),
    )
    window = str(asked.window)
    check_window(window, window_from, window_to)
    if window == "data_interval":
        window_from, window_to = interval(times_of(context, ti.task.dag))
    return RunRequest(
        window_from=window_from,
        window_to=window_to,
        only=_slice(asked.only),
        full_refresh=truth("full_refresh", asked.full_refresh),
        request_key=key,
        allow_empty=truth("allow_empty", asked.allow_empty),
        allow_deletes=truth("allow_deletes", asked.allow_deletes),
        runner=runner_text(context),
        after=False,
    )


def runner_text(context: Context) -> str:
    """Return who asks, for the ledger."""
    ti = context["ti"]
    facts = {
        "runner": "airflow",
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": ti.map_index,
        "try_number": ti.try_number,
    }
    return json.dumps(facts)


def truth(name: str, value: object) -> bool:
    """Return a yes or no that may have been a template.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigError(f"{name}={value!r}: must be true or false")


def names_of(name: str, value: object) -> tuple[str, ...] | None:
    """Return names that may have been a template; None where it gave nothing.

    Args:
        name: the argument's.
        value: names, or their JSON text.

    Raises:
        ConfigError: it is something else.
    """
    found = _parsed(value)
    if found is None:
        return None
    if isinstance(found, list | tuple) and all(isinstance(one, str) for one in found):
        return tuple(found)
    raise ConfigError(
        f"{name}={value!r}: must be a list of texts, or its JSON: {{{{ params.{name} | tojson }}}}"
    )


def _slice(value: object) -> SliceBy | None:
    """Return the slice by value that an argument asks for, which may be a template's text.

    Raises:
        ConfigError: it is none.
    """
    from conduit_core import SliceBy

    found = _parsed(value)
    if isinstance(found, str):
        raise ConfigError(
            f"only={value!r}: must be a mapping such as {{'region': ['eu', 'us']}}, or its JSON:"
            " {{ params.only | tojson }}"
        )
    return None if found is None else SliceBy.of(found)


def _parsed(value: object) -> object:
    """Return what a template's text says as JSON, the text where it is none; None for nothing."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in {"", "None", "null"}:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def point(name: str, value: object) -> str | None:
    """Return one end of a window that may have been a template; what it renders to if it is empty.

    Raises:
        ConfigError: it isn't a text, or its template wasn't rendered.
    """
    if value is None or (isinstance(value, str) and value.strip() in {"", "None"}):
        return None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    text = str(value).strip()
    if "{{" in text:
        raise ConfigError(f"{name}={text!r}: the template wasn't rendered")
    return text
