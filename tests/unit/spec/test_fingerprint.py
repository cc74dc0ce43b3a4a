from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from conduit_core.spec import SplitsSpec, StreamSpec
from conduit_core.spec.fingerprint import fingerprint

BASE = StreamSpec(table="a", mode="append", cursor=("id",))


@pytest.mark.parametrize(
    "change",
    [
        {"table": "b"},
        {"columns": ("id",)},
        {"mode": "replace"},
        {"cursor": ("id", "x")},
        {"unique_key": ("id",)},
        {"metadata": ()},
        {"initial": "5"},
        {"cursor_timezone": "UTC"},
        {"null_cursor": "include"},
        {"settle": timedelta(seconds=30)},
        {"lookback": timedelta(minutes=10)},
        {"lookback": Decimal(10)},
    ],
)
def test_what_decides_rows_changes_it(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "s") != fingerprint(BASE, "s")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x"},
        {"into": "y"},
        {"freshness": timedelta(1)},
        {"splits": SplitsSpec(count=8)},
    ],
)
def test_what_does_not_decide_rows_leaves_it(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "s") == fingerprint(BASE, "s")


def test_it_depends_on_the_source_and_is_stable() -> None:
    assert fingerprint(BASE, "s") != fingerprint(BASE, "t")
    again = StreamSpec.model_validate({"cursor": "id", "mode": "append", "table": "a"})
    assert fingerprint(again, "s") == fingerprint(BASE, "s")
    assert len(fingerprint(BASE, "s")) == 32
