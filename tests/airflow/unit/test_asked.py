from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conduit.asked import Asked, point, request_of, truth
from conduit_core.errors import ConfigError


def context(**more: Any) -> Any:
    task = SimpleNamespace(dag=None)
    ti = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
    return {"ti": SimpleNamespace(**(ti | {"max_tries": 2, "task": task} | more))}


def test_p12_a_retry_is_the_same_request() -> None:
    first = request_of(Asked(), context())
    again = request_of(Asked(), context(try_number=2))
    assert first.request_key == again.request_key == "airflow/d/r/t/-1"
    assert request_of(Asked(), context(map_index=3)).request_key == "airflow/d/r/t/3"
    assert request_of(Asked(), context(run_id="s")).request_key != first.request_key


def test_with_reload_a_clear_is_another_request_and_a_retry_is_not() -> None:
    """Airflow raises `max_tries` when a task is cleared, not when it is tried again."""
    first = request_of(Asked(reload=True), context())
    again = request_of(Asked(reload=True), context(try_number=2))
    cleared = request_of(Asked(reload="True"), context(try_number=3, max_tries=4))
    assert first.request_key == again.request_key
    assert first.request_key != cleared.request_key
    assert not first.reload


@pytest.mark.parametrize("value", ["maybe", "2", object()])
def test_what_is_neither_yes_nor_no_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="must be true or false"):
        truth("full_refresh", value)


@pytest.mark.parametrize(
    ("value", "found"),
    [(True, True), ("True", True), ("false", False), ("None", False), ("", False), (" yes ", True)],
)
def test_templates_render_to_texts(value: object, *, found: bool) -> None:
    assert truth("reload", value) is found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        ("None", None),
        (" ", None),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        ("2026-01-01", "2026-01-01"),
        (42, "42"),
    ],
)
def test_points_are_texts(value: object, found: str | None) -> None:
    assert point("window_from", value) == found


def test_a_template_that_was_not_rendered_is_refused() -> None:
    with pytest.raises(ConfigError, match="wasn't rendered"):
        point("window_from", "{{ ds }}")
