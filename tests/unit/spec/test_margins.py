"""``settle`` and ``lookback`` in the pipeline file."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from conduit_core.spec import StreamSpec
from tests.unit.spec.conftest import HEAD, Load, Refused


def spec(**keys: Any) -> StreamSpec:
    return StreamSpec.model_validate({"table": "a", "cursor": "at", "mode": "upsert", **keys})


@pytest.mark.parametrize(
    ("written", "meant", "text"),
    [
        ("10m", timedelta(minutes=10), "10m"),
        ("1h30m", timedelta(minutes=90), "1h30m"),
        (100, Decimal(100), "100"),
        ("100", Decimal(100), "100"),
        (0.5, Decimal("0.5"), "0.5"),
        ("2.50", Decimal("2.50"), "2.50"),
    ],
)
def test_a_lookback_is_a_duration_or_a_number(
    written: object, meant: timedelta | Decimal, text: str
) -> None:
    made = spec(lookback=written, unique_key="id")
    assert made.lookback == meant
    assert type(made.lookback) is type(meant)
    dumped = made.model_dump(mode="json")
    assert dumped["lookback"] == text
    assert StreamSpec.model_validate(dumped).lookback == meant


@pytest.mark.parametrize("wrong", [-1, "-1", "soon", "-5m", True, "nan", float("inf"), [1], {}])
def test_what_is_neither_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        spec(lookback=wrong, unique_key="id")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"mode": "append"}, "needs a `unique_key`"),
        ({"mode": "append", "unique_key": "id"}, "needs a `unique_key` and a mode that uses it"),
        ({"mode": "replace", "unique_key": "id"}, "mode: replace doesn't"),
        ({"mode": "replace_window"}, "needs a `unique_key`"),
        ({"cursor": (), "unique_key": "id"}, "`lookback` needs a `cursor`"),
    ],
)
def test_a_lookback_that_would_add_rows_again_is_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec(lookback="10m", **keys)


def test_settle_in_the_file(load: Load, refused: Refused) -> None:
    line = f"{HEAD}streams:\n  - {{table: a, mode: append, cursor: at, settle: "
    (stream,) = load(f"{line}30s}}\n").spec.streams
    assert stream.settle == timedelta(seconds=30)
    assert "pipeline.yml:5: streams[0]: `settle` needs a unit" in refused(f"{line}30}}\n")
    assert "must be a duration" in refused(f"{line}soon}}\n")


def test_settle_needs_a_cursor_but_not_where_it_is_a_default(load: Load, refused: Refused) -> None:
    message = refused(f"{HEAD}streams:\n  - {{table: a, settle: 30s}}\n")
    assert message == "pipeline.yml:5: streams[0]: `settle` needs a `cursor`"
    streams = "streams:\n  - a\n  - {table: b, mode: append, cursor: at}\n"
    plain, timed = load(f"{HEAD}defaults: {{settle: 30s}}\n{streams}").spec.streams
    assert (plain.settle, timed.settle) == (None, timedelta(seconds=30))
