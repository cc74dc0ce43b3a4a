from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_conduit.naming import safe_ids


def test_what_airflow_takes_is_kept() -> None:
    assert safe_ids(["orders", "order-items", "a_1"]) == ["orders", "order-items", "a_1"]


def test_what_airflow_does_not_take_is_replaced_and_no_two_are_equal() -> None:
    assert safe_ids(["a b", "a/b", "a_b"]) == ["a_b_2", "a_b_3", "a_b"]
    assert safe_ids(["ä", "Zürich.2026", "заказы", "注文"]) == [
        "a",
        "Zurich_2026",
        "stream",
        "stream_2",
    ]


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8))
def test_ids_are_valid_distinct_and_the_same_each_time(names: list[str]) -> None:
    ids = safe_ids(names)
    assert len(set(ids)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", task_id) for task_id in ids)
    assert ids == safe_ids(names)
    kept = [name for name in names if re.fullmatch(r"[A-Za-z0-9-]+", name)]
    assert set(kept) <= set(ids)
