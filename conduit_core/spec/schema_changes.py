"""What becomes of a target when its source changes shape: ``on_schema_change:``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from conduit_core.spec.endpoints import MODEL_CONFIG

Word = Literal["auto", "warn", "fail", "ignore"]
WORDS: tuple[Word, ...] = ("auto", "warn", "fail", "ignore")


def _from_word(value: object) -> object:
    if isinstance(value, str):
        return {"added": value, "removed": value, "type_changed": value}
    return value


class SchemaChangeSpec(BaseModel):
    """One word for each kind of change; a kind that isn't named is ``auto``.

    auto applies it. warn leaves the target as it is and loads the columns that both have; ignore
    does the same and says nothing. fail publishes nothing.
    """

    model_config = MODEL_CONFIG

    added: Word = Field(default="auto", description="A column that the target hasn't.")
    removed: Word = Field(
        default="auto",
        description="A column that the source has no more. It stays in the target: new rows have "
        "NULL there, updated ones keep their value.",
    )
    type_changed: Word = Field(
        default="auto",
        description="A column of another type, or one that may now be NULL. auto widens the "
        "target's column where a type holds both without loss.",
    )


OnSchemaChange = Annotated[SchemaChangeSpec, BeforeValidator(_from_word)]
