"""Who is told of loads, by a block or the environment; and of which failures nobody is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.context import FlowRunContext

from conduit_core.observe.observing import Observation
from prefect_conduit import (
    ConduitObservability,
    load_stream,
    observability,
    run_pipeline,
    watching,
)
from tests.observe.lineage import Collected, collecting
from tests.prefect.shop import Shop

CANARY = "hunter2canary"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver() -> Iterator[Collected]:
    observability._of_block.cache_clear()
    with collecting() as collected:
        yield collected


def word(receiver: Collected) -> str:
    return f"openlineage+http://:{CANARY}@{receiver.url.partition('//')[2]}"


def test_a_block_names_the_receivers(
    shop: Shop,
    receiver: Collected,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    block = ConduitObservability(receivers=[word(receiver)])
    assert CANARY not in repr(block)
    block.save("watch", overwrite=True)
    monkeypatch.setenv("CONDUIT_OBSERVE", "block:watch")
    with caplog.at_level("DEBUG", "prefect"):
        run_pipeline(shop.mapping)
    assert receiver.runs() == [(f"{shop.name}.orders", kind) for kind in ("START", "COMPLETE")]
    assert set(receiver.keys) == {f"Bearer {CANARY}"}
    parent = receiver.events[-1]["run"]["facets"]["parent"]
    assert (parent["job"]["namespace"], parent["job"]["name"]) == ("prefect", "run-pipeline")
    assert CANARY not in caplog.text


def test_the_parent_is_the_flow_run_of_whoever_calls(
    shop: Shop, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUIT_OBSERVE", word(receiver))

    @flow
    def nightly() -> str:
        load_stream(shop.mapping, "orders")
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        context.flow_run.labels["__OTEL_TRACEPARENT"] = TRACE  # as Prefect's own telemetry does
        assert watching._origin().traceparent == TRACE
        return str(context.flow_run.id)

    run_id = nightly()
    assert {e["run"]["facets"]["parent"]["run"]["runId"] for e in receiver.events} == {run_id}


def test_a_block_that_is_not_there_is_a_warning(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CONDUIT_OBSERVE", "block:nobody")
    run_pipeline(shop.mapping)
    assert shop.count() == 5
    assert "the block conduit-observability/nobody isn't used" in caplog.text


def test_of_a_task_that_is_tried_again_nobody_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    close = Observation.close

    def closing(self: Observation) -> None:
        found.append(self.will_retry)
        close(self)

    monkeypatch.setattr(Observation, "close", closing)
    again = load_stream.with_options(retries=1, retry_delay_seconds=0)
    broken = json.loads(json.dumps(shop.mapping))
    broken["destination"] = {"type": "postgres", "host": "127.0.0.1", "port": 1, "database": "x"}

    @flow
    def nightly() -> None:
        again(broken, "orders")

    assert nightly(return_state=True).is_failed()
    assert found == [True, False]
