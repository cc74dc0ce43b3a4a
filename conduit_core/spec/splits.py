"""``splits:`` of a stream: into how many parts its window is cut, and by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from conduit_core.spec.endpoints import MODEL_CONFIG
from conduit_core.spec.problems import Loc, refusal

MAX_SPLITS = 1000
"""More would only make the plan large: a split is a task of its own."""
_RANGE = f"a whole number from 1 to {MAX_SPLITS}"

_Value = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]


def whole_number(value: object) -> int:
    """Return how many splits a value asks for.

    Raises:
        ValueError: it is no number of splits.
    """
    text = value.strip() if isinstance(value, str) else value
    number = int(text) if isinstance(text, str) and text.isdecimal() else text
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_SPLITS:
        raise ValueError(f"must be {_RANGE}")
    return number


def _texts(value: object) -> object:
    """Return the listed values as the texts that the column's type reads later."""
    items = value if isinstance(value, list | tuple) else (value,)
    texts = []
    for item in items:
        if not isinstance(item, str | int | float | datetime | date):
            text = "must be a list of texts, numbers or dates (NULL is in the rest)"
            raise ValueError(text)  # noqa: TRY004 - pydantic's validators raise this
        if isinstance(item, bool):
            texts.append(str(item).lower())
        else:
            texts.append(item.isoformat() if isinstance(item, datetime | date) else str(item))
    if not texts:
        raise ValueError("must not be empty")
    if any(count > 1 for count in Counter(texts).values()):
        raise ValueError("names the same value twice")
    if len(texts) >= MAX_SPLITS:
        raise ValueError(f"must be fewer than {MAX_SPLITS}")
    return tuple(texts)


class SplitsSpec(BaseModel):
    """How a window is cut: a number of parts of about one size, or one part for each value."""

    model_config = MODEL_CONFIG

    count: Annotated[int | None, BeforeValidator(lambda v: v if v is None else whole_number(v))] = (
        Field(
            default=None,
            ge=1,
            le=MAX_SPLITS,
            description="How many splits, of about as many rows or bytes each.",
        )
    )
    by: Literal["range", "hash", "file"] | None = Field(
        default=None,
        description="What cuts them: ranges of a column, a hash of it, or whole files. Default: "
        "file for a source of files, else range.",
    )
    column: str | None = Field(
        default=None,
        min_length=1,
        description="The column that is compared. Default: the key, else the cursor's first.",
    )
    values: Annotated[
        tuple[_Value, ...], BeforeValidator(lambda v: () if v is None else _texts(v))
    ] = Field(
        default=(),
        description="One split for each of these values of the column, and one for the rest.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[tuple[Loc, str]] = []
        if self.values:
            problems.extend(
                ((key,), f"`values` says how it is split: leave out `{key}`")
                for key in ("count", "by")
                if getattr(self, key) is not None
            )
            if self.column is None:
                problems.append((("values",), "`values` needs a `column`"))
        elif self.count is None:
            problems.append(((), f"`splits` needs a `count` ({_RANGE}), or `values`"))
        if self.by == "file" and self.column is not None:
            problems.append((("column",), "`by: file` compares no column: leave out `column`"))
        if problems:
            raise refusal(problems)
        return self

    @property
    def parts(self) -> int:
        """Into how many parts a load is cut, at most."""
        return len(self.values) + 1 if self.values else self.count or 1


def spread(value: object) -> object:
    """Turn ``splits: 8`` into its mapping.

    Raises:
        ValueError: it is neither a number of splits nor a mapping.
    """
    if value is None or isinstance(value, Mapping | SplitsSpec):
        return value
    try:
        return {"count": whole_number(value)}
    except ValueError:
        text = f"must be {_RANGE}, or a mapping with count, by, column, values"
        raise ValueError(text) from None
