"""A number of rows, or a share in percent: ``100``, ``1%``, ``0.5%``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

_PERCENT = re.compile(r"\d{1,9}(\.\d{1,9})?\s*%", re.ASCII)
_ROWS = re.compile(r"\d{1,18}", re.ASCII)
EXPECTED = "must be a number of rows such as 100, or a share such as 1%"


class Share(Decimal):
    """A part of something, as a fraction: ``1%`` is ``Share("0.01")``."""

    __slots__ = ()


def parse_amount(value: object) -> int | Share:
    """Return the rows, or the share, that ``value`` writes.

    Raises:
        ValueError: it is neither; the message never holds the value.
    """
    if isinstance(value, Share) or (isinstance(value, int) and not isinstance(value, bool)):
        if value < 0:
            raise ValueError("must not be negative")
        return value
    text = value.strip() if isinstance(value, str) else ""
    if _PERCENT.fullmatch(text):
        return Share(Decimal(text.removesuffix("%").strip()) / 100)
    if _ROWS.fullmatch(text):
        return int(text)
    raise ValueError(EXPECTED)


def format_amount(value: int | Share) -> int | str:
    """Return what :func:`parse_amount` reads back."""
    return f"{(value * 100).normalize():f}%" if isinstance(value, Share) else value


def rows_of(amount: int | Share, whole: int) -> Decimal:
    """Return the rows that an amount means where a share is of ``whole`` rows."""
    return amount * Decimal(whole) if isinstance(amount, Share) else Decimal(amount)


Amount = Annotated[
    int | InstanceOf[Share],
    BeforeValidator(parse_amount),
    PlainSerializer(format_amount, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$", "examples": ["1%"]},
            ]
        }
    ),
]
