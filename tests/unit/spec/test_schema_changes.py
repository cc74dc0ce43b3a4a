"""``on_schema_change:`` as one word, or one for each kind."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from conduit_core.spec.schema_changes import WORDS, OnSchemaChange, SchemaChangeSpec


class Holder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    on_schema_change: OnSchemaChange = SchemaChangeSpec()


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_for_every_kind(word: str) -> None:
    spec = Holder.model_validate({"on_schema_change": word}).on_schema_change
    assert (spec.added, spec.removed, spec.type_changed) == (word, word, word)


def test_a_kind_that_is_not_named_is_auto() -> None:
    spec = Holder.model_validate({"on_schema_change": {"added": "fail"}}).on_schema_change
    assert (spec.added, spec.removed, spec.type_changed) == ("fail", "auto", "auto")
    assert Holder().on_schema_change == SchemaChangeSpec()


@pytest.mark.parametrize(
    "value", ["evolve", {"added": "maybe"}, {"renamed": "auto"}, ["auto"], 1, None, ""]
)
def test_what_it_is_not(value: object) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"on_schema_change": value})
