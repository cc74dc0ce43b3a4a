"""What a user gets wrong, told by name in the run's state; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_conduit import load_stream, run_pipeline
from tests.prefect.shop import ORDERS, Shop

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


@pytest.fixture
def target(shop: Shop) -> Iterator[None]:
    """Check at the end that no target was made."""
    shop.streams = [{**ORDERS, "cursor_timezone": "UTC"}]
    yield
    assert not (shop.folder / "wh.duckdb").exists()


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"streams": ["order"]}, "no stream 'order'; did you mean 'orders'?"),
        ({"streams": []}, "streams=[] names no stream: leave it out for all"),
        ({"window_from": "2026-02-01", "window_to": "2026-01-01"}, "2026-02-01"),
        ({"window_length": "1d", "window_to": "2026-01-01"}, "not both"),
        ({"window_length": "soon"}, "window_length='soon'"),
        ({"window_length": "300000 weeks"}, "before the year 1"),
        ({"pipeline": "gone.yml"}, "there is no gone.yml in "),
        ({"pipeline": {"name": "shop"}}, "source"),
        ({"pipeline": 5}, "pipeline"),
        ({"full_refresh": "perhaps"}, "full_refresh"),
        ({"window_from": [1]}, "window_from"),
    ],
)
def test_the_ready_flow_tells_what_is_wrong_before_it_writes(
    shop: Shop, given: dict[str, Any], said: str
) -> None:
    state: State[Any] = run_pipeline(**{"pipeline": shop.mapping, **given}, return_state=True)
    assert state.is_failed()
    assert said in (state.message or "")


@pytest.mark.usefixtures("target")
def test_a_task_tells_what_is_wrong_before_it_writes(shop: Shop) -> None:
    wrong: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((5, "orders"), {}, "pipeline= is a path, a mapping or a ConduitPipeline block, not int"),
        ((shop.mapping, 5), {}, "stream= is a stream's name, not 5"),
        ((shop.mapping, "order"), {}, "'order'"),
        ((shop.mapping, "orders"), {"window_from": object()}, "window_from"),
        ((shop.mapping, "orders"), {"full_refresh": "perhaps"}, "full_refresh"),
        (("gone.yml", "orders"), {}, "there is no gone.yml in "),
    ]

    @flow
    def all_wrong() -> list[State[Any]]:
        return [load_stream(*args, **more, return_state=True) for args, more, _ in wrong]

    states: Any = all_wrong(return_state=True).result(raise_on_failure=False)
    for state, (_, _, said) in zip(states, wrong, strict=True):
        assert state.is_failed()
        assert "ConfigError: " in state.message
        assert said in state.message
        assert "a retry will not help" in state.message


@pytest.mark.usefixtures("target")
def test_no_server(shop: Shop) -> None:
    nowhere = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nowhere), pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9"):
        run_pipeline(shop.mapping)
