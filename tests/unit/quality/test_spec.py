"""Rules and steps as one line of a model, and back from JSON."""

from __future__ import annotations

from pydantic import BaseModel

from conduit_core.spec.amounts import Share, format_amount, parse_amount
from conduit_core.spec.rules import Rule
from conduit_core.spec.transforms import Step


class _Stream(BaseModel):
    quality: tuple[Rule, ...] = ()
    transform: tuple[Step, ...] = ()


def test_a_field_is_one_line() -> None:
    stream = _Stream.model_validate(
        {
            "quality": [
                {"rule": "not_null", "columns": ["id", "customer_id"]},
                {"rule": "range", "column": "amount", "min": 0, "action": "dlq"},
                {"rule": "regex", "column": "email", "pattern": "@", "action": "dlq",
                 "max_rejected": "1%"},
                {"rule": "pandera", "model": "shop.schemas:Orders", "action": "warn"},
                {"rule": "row_count", "min": "50%", "max": 10},
                {"rule": "freshness", "column": "at", "max_age": "24h"},
            ],
            "transform": [
                {"rename": {"a": "b"}},
                {"hash": "email"},
                {"mask": {"columns": ["iban"], "keep_last": 4, "with": "#"}},
            ],
        }
    )  # fmt: skip
    assert _Stream.model_validate_json(stream.model_dump_json(by_alias=True)) == stream
    schema = _Stream.model_json_schema(by_alias=True)
    assert {"NotNull", "Drift", "MaskStep"} <= set(schema["$defs"])


def test_amounts() -> None:
    assert parse_amount("0.5%") == Share("0.005")
    assert [format_amount(parse_amount(text)) for text in ("1 %", "100%", "7", 3)] == [
        "1%",
        "100%",
        7,
        3,
    ]
