"""``transform:`` of a stream: what is done to its rows before the rules look at them.

``transform: tuple[Step, ...]`` is all that a model needs. Steps run in the order they are written:
``- rename: {nr: number}``, ``- cast: {amount: "decimal(12, 2)"}``, ``- drop: [note]``,
``- hash: {columns: email, salt: ${SALT}}``, ``- mask: {columns: iban, keep_last: 4}``.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, SecretStr, Tag
from pydantic import model_validator as _model_validator

from conduit_core.spec.endpoints import MODEL_CONFIG
from conduit_core.spec.problems import refusal
from conduit_core.spec.scalars import many

Column = Annotated[str, Field(min_length=1)]
_KINDS = ("rename", "cast", "drop", "hash", "mask")


def _columns_of(value: object) -> object:
    """Read ``hash: email`` and ``mask: [a, b]`` as their mappings."""
    return {"columns": value} if isinstance(value, str | list | tuple) else value


Columns = Annotated[tuple[Column, ...], BeforeValidator(many), Field(min_length=1)]


class HashOptions(BaseModel):
    """Which columns become digests, and how."""

    model_config = MODEL_CONFIG

    columns: Columns = Field(description="The columns that become digests.")
    salt: SecretStr | None = Field(
        default=None,
        description="A secret that goes into each digest; without it a value can be guessed.",
    )
    algorithm: Literal["sha256", "sha512", "blake2b"] = Field(
        default="sha256", description="With a salt it is an HMAC. Default: sha256."
    )


class MaskOptions(BaseModel):
    """Which columns are hidden, and how much of them still shows."""

    model_config = MODEL_CONFIG

    columns: Columns = Field(description="The text columns that are hidden.")
    keep_first: int = Field(default=0, ge=0, description="How many characters stay at the start.")
    keep_last: int = Field(
        default=0,
        ge=0,
        description="How many stay at the end. Text that would show whole is hidden whole.",
    )
    with_: str = Field(
        default="*", alias="with", min_length=1, max_length=1, description="What hides the rest."
    )
    keep_length: bool = Field(
        default=True, description="Whether the hidden part keeps its length; else it is 4 long."
    )


class StepBase(BaseModel):
    """What the rest of a stream asks of every step."""

    model_config = MODEL_CONFIG

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns it changes in any way."""
        return ()

    @property
    def takes_away(self) -> tuple[str, ...]:
        """The names that are gone afterwards."""
        return ()


class RenameStep(StepBase):
    """Columns get other names."""

    rename: dict[Column, Column] = Field(min_length=1, description="old name: new name.")

    @_model_validator(mode="after")
    def _check(self) -> Self:
        names = list(self.rename.values())
        if len(set(names)) < len(names):
            raise refusal([(("rename",), "`rename` gives two columns the same name")])
        return self

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns it changes in any way."""
        return tuple(self.rename)

    @property
    def takes_away(self) -> tuple[str, ...]:
        """The names that are gone afterwards."""
        return tuple(self.rename)


class CastStep(StepBase):
    """Columns get other types; a value that doesn't fit is an error."""

    cast: dict[Column, str] = Field(
        min_length=1,
        description="column: type. int64, float64, decimal(12, 2), text, bool, date, timestamp.",
    )

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns it changes in any way."""
        return tuple(self.cast)


class DropStep(StepBase):
    """Columns are left out."""

    drop: Columns = Field(description="The columns left out.")

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns it changes in any way."""
        return self.drop

    @property
    def takes_away(self) -> tuple[str, ...]:
        """The names that are gone afterwards."""
        return self.drop


class HashStep(StepBase):
    """Values become digests, as hexadecimal text; NULL stays."""

    hash: Annotated[HashOptions, BeforeValidator(_columns_of)]

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns it changes in any way."""
        return self.hash.columns


class MaskStep(StepBase):
    """Characters are hidden; NULL stays."""

    mask: Annotated[MaskOptions, BeforeValidator(_columns_of)]

    @property
    def touches(self) -> tuple[str, ...]:
        """The columns it changes in any way."""
        return self.mask.columns


def _kind(value: object) -> str | None:
    if isinstance(value, dict):
        found = [kind for kind in _KINDS if kind in value]
        return found[0] if found else None
    return next((kind for kind in _KINDS if hasattr(value, kind)), None)


StepSpec: TypeAlias = RenameStep | CastStep | DropStep | HashStep | MaskStep
Step = Annotated[
    Annotated[RenameStep, Tag("rename")]
    | Annotated[CastStep, Tag("cast")]
    | Annotated[DropStep, Tag("drop")]
    | Annotated[HashStep, Tag("hash")]
    | Annotated[MaskStep, Tag("mask")],
    Discriminator(
        _kind,
        custom_error_type="conduit_step",
        custom_error_message="must be one of rename, cast, drop, hash, mask",
    ),
]
