"""How a stream learns which rows are gone at the source: ``deletes:``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from conduit_core.spec.endpoints import MODEL_CONFIG
from conduit_core.spec.names import split_table
from conduit_core.spec.problems import Loc, refusal

FlagValue = bool | int | str
DELETING_MODES = frozenset({"upsert", "scd2"})
_BELONGS = {"column": "flag", "values": "flag", "table": "tracking_table"}
_BELONGS |= {"cursor": "tracking_table", "unique_key": "tracking_table"}


def _many(value: object) -> object:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _from_word(value: object) -> object:
    return {"detect": value} if isinstance(value, str) else value


class DeletesSpec(BaseModel):
    """Where deletes show at the source, and what they do to the target."""

    model_config = MODEL_CONFIG

    detect: Literal["flag", "snapshot", "tracking_table"] = Field(
        description="flag: a column of the row says so. snapshot: the source's keys are read "
        "whole and compared. tracking_table: a table of the source lists deleted keys."
    )
    apply: Literal["soft", "hard"] = Field(
        default="soft",
        description="soft: the row stays, _conduit_deleted_at says since when. hard: it goes.",
    )
    max_ratio: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The share of the target's rows that one load may delete: 0.2.",
    )
    column: str | None = Field(
        default=None, min_length=1, description="flag: the column that says a row is deleted."
    )
    values: Annotated[tuple[FlagValue, ...], BeforeValidator(_many)] = Field(
        default=(),
        description="flag: its values that say so. Default: true, a number that isn't 0, a time; "
        "a column of another type needs them said.",
    )
    table: str | None = Field(
        default=None, min_length=1, description="tracking_table: the table of deleted keys."
    )
    cursor: str | None = Field(
        default=None,
        min_length=1,
        description="tracking_table: the column that says when, comparable with the stream's "
        "cursor. A stream with a cursor needs it.",
    )
    unique_key: Annotated[tuple[str, ...], BeforeValidator(_many)] = Field(
        default=(),
        description="tracking_table: its key columns, in the order of the stream's unique_key. "
        "Default: the same names.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := list(self._problems()):
            raise refusal(problems)
        return self

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        for key, owner in _BELONGS.items():
            if key in self.model_fields_set and owner != self.detect and getattr(self, key):
                yield (key,), f"`{key}` is for `detect: {owner}`, not {self.detect}"
        if self.detect == "flag" and self.column is None:
            yield ("detect",), "`detect: flag` needs a `column`: the one that says a row is deleted"
        if self.detect == "tracking_table":
            if self.table is None:
                yield ("detect",), "`detect: tracking_table` needs a `table`: that of deleted keys"
            else:
                try:
                    split_table(self.table)
                except ValueError as error:
                    yield ("table",), f"`table` {error}"


Deletes = Annotated[DeletesSpec, BeforeValidator(_from_word)]
