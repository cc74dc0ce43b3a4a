"""What nobody should do, done: the answer names what is wrong, and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import flow

from prefect_conduit import audit_load, plan_stream, publish_load, run_pipeline, stage_split
from tests.prefect.shop import ORDERS, Shop

if TYPE_CHECKING:
    import pytest
    from prefect.client.schemas.objects import State


def test_a_step_tells_what_it_got_in_place_of_a_plan_or_a_receipt(shop: Shop) -> None:
    shop.streams = [{**ORDERS, "splits": 2}]
    mapping = shop.mapping
    mapping["destination"]["staging"] = str(shop.folder / "staging")

    states: list[tuple[State[Any], str]] = []

    @flow
    def wrong() -> None:
        plan = plan_stream(mapping, "orders")
        steps: list[tuple[Any, tuple[Any, ...], str]] = [
            (stage_split, (None, "1"), "plan= is what plan_stream returned, not NoneType"),
            (stage_split, (plan.model_dump(), "1"), "plan= is what plan_stream returned, not dict"),
            (audit_load, (plan, [None]), "receipts= has a NoneType"),
            (audit_load, (plan, plan.splits), "receipts= is a list of receipts, not SplitBy"),
            (publish_load, ("plan", []), "plan= is what plan_stream returned, not str"),
            (publish_load, (plan, "receipts"), "receipts= has a str"),
        ]
        states.extend((step(mapping, *args, return_state=True), said) for step, args, said in steps)

    wrong()
    for state, said in states:
        assert state.is_failed()
        assert f"ConfigError: {said}" in (state.message or "")


def test_a_password_in_the_ready_flows_parameters_is_warned_of(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = shop.mapping
    mapping["source"] = "postgres://reader:canary@127.0.0.1:1/shop"
    with caplog.at_level("WARNING"):
        run_pipeline(mapping, streams=[], return_state=True)
    (told,) = [r.message for r in caplog.records if "stands under source:" in r.message]
    assert "connection: shop" in told
    assert "canary" not in caplog.text
