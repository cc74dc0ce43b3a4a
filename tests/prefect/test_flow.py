"""The ready flow: a pipeline's streams side by side, from a file, a mapping or a block."""

from __future__ import annotations

from prefect_conduit import run_pipeline
from tests.prefect.shop import ORDERS, Shop


def test_a_flow_loads_every_stream_and_a_second_run_loads_what_is_new(shop: Shop) -> None:
    shop.sql("CREATE TABLE customers (id INTEGER PRIMARY KEY); INSERT INTO customers VALUES (1)")
    shop.streams = ["customers", ORDERS]
    done = run_pipeline(str(shop.written()))
    assert {each.stream: each.counts.inserted for each in done.results} == {
        "customers": 1,
        "orders": 5,
    }
    shop.fill(5, 8)
    again = run_pipeline(shop.mapping, streams=["orders"])
    assert [each.counts.inserted for each in again.results] == [3]
    assert shop.count() == 8
    assert shop.variable()["version"] == "2"
