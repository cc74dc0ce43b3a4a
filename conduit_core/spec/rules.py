"""``quality:`` of a stream: the rules its rows are held to, and what becomes of those that break.

``quality: tuple[Rule, ...]`` is all that a model needs; ``rule_names`` gives each rule its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from conduit_core.spec.amounts import Amount, Share
from conduit_core.spec.endpoints import MODEL_CONFIG, Duration
from conduit_core.spec.names import IMPORT_PATH, name_rules
from conduit_core.spec.problems import Loc, refusal
from conduit_core.spec.scalars import many, zone

Action = Literal["fail", "dlq", "warn"]


def _literal(value: object) -> object:
    """Dates become the text that the column's type reads later; numbers stay exact."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _literals(value: object) -> object:
    items = value if isinstance(value, list | tuple) else (value,)
    if not items:
        raise ValueError("must not be empty")
    if any(item is None for item in items):
        raise ValueError("must not list null: NULL passes anyway; use rule: not_null")
    return tuple(_literal(item) for item in items)


def _bound(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, a date or a time")  # noqa: TRY004 - pydantic's contract
    return _literal(value)


_Literal = bool | int | float | str
Bound = Annotated[
    int | float | str | None,
    BeforeValidator(_bound),
    WithJsonSchema({"type": ["number", "string", "null"]}),
]
ImportPath = Annotated[str, Field(pattern=IMPORT_PATH, examples=["shop.rules:adds_up"])]
Column = Annotated[str, Field(min_length=1)]


class RuleBase(BaseModel):
    """What every rule may say."""

    model_config = MODEL_CONFIG
    is_of_rows: ClassVar[bool] = True
    """Whether it judges rows; else a whole load, at its audit."""
    also_keys: ClassVar[tuple[str, ...]] = ("column",)
    """Keys of the file that stand for a field."""
    needs_columns: ClassVar[bool] = True

    columns: Annotated[tuple[Column, ...], BeforeValidator(many)] = Field(
        default=(), description="The column or columns it looks at; `column` is the same key."
    )
    action: Action = Field(
        default="fail",
        description="What a broken rule does. fail: nothing is published. dlq: the row becomes a "
        "dead letter. warn: the row is loaded, and counted.",
    )
    where: str | None = Field(
        default=None, min_length=1, description="Only rows for which this SQL condition is true."
    )
    max_rejected: Amount | None = Field(
        default=None,
        description="dlq and warn: how many rows may break it, or which share (1%) of those it "
        "looked at; more fail the load.",
    )
    name: str = Field(
        default="", max_length=200, description="Its name in reports. Default: rule(columns)."
    )
    description: str = Field(default="", description="Why it is there; for people.")

    @model_validator(mode="before")
    @classmethod
    def _one_column(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        out = {key: item for key, item in data.items() if item is not None}
        if "column" in out:
            if "columns" in out:
                raise refusal([(("columns",), "write `column` or `columns`, not both")])
            out["columns"] = out.pop("column")
        return out

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := list(self._problems()):
            raise refusal(problems)
        return self

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        kind = str(getattr(self, "rule", ""))
        if self.needs_columns and not self.columns:
            yield ("columns",), f"`rule: {kind}` needs a `column`"
        if not self.needs_columns and self.columns:
            yield ("columns",), f"`rule: {kind}` takes no `column`"
        if len(set(self.columns)) < len(self.columns):
            yield ("columns",), "`columns` names the same column twice"
        if self.max_rejected is not None and self.action == "fail":
            text = "is for action: dlq and warn; with `action: fail` no row may break the rule"
            yield ("max_rejected",), f"`max_rejected` {text}"
        if not self.is_of_rows:
            if self.action == "dlq":
                text = f"`rule: {kind}` judges the whole load: it has no rows for `action: dlq`"
                yield ("action",), text
            if self.max_rejected is not None:
                yield ("max_rejected",), f"`max_rejected` counts rows; `rule: {kind}` judges none"
            if self.where is not None:
                yield ("where",), f"`where` picks rows; `rule: {kind}` judges the whole load"


def _order(low: object, high: object) -> Iterator[tuple[Loc, str]]:
    if low is None and high is None:
        yield (), "needs a `min`, a `max`, or both"
    numbers = isinstance(low, int | float | Decimal) and isinstance(high, int | float | Decimal)
    if numbers and isinstance(low, Share) == isinstance(high, Share) and low > high:  # type: ignore[operator]
        yield ("min",), "`min` is above `max`"


class NotNull(RuleBase):
    """The value is there."""

    rule: Literal["not_null"]


class Unique(RuleBase):
    """No two rows have the same values in these columns; the first row stays. NULLs never match.

    It is judged last, among the rows that no other rule with ``action: dlq`` rejects.
    """

    rule: Literal["unique"]
    within: Literal["load", "target"] = Field(
        default="load",
        description="load: among the rows of a load. target: also those that the target has.",
    )


class Range(RuleBase):
    """A number, date or time lies between two bounds, which are both in it. NaN never does."""

    rule: Literal["range"]
    min: Bound = Field(default=None, description="The least value allowed: 0, 2024-01-01.")
    max: Bound = Field(default=None, description="The greatest value allowed.")

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        yield from super()._problems()
        yield from _order(self.min, self.max)


class Regex(RuleBase):
    """Text holds a match of a pattern; ^ and $ tie it to the whole text.

    RE2 syntax: no look-around, no back-references; its time grows with the text, never beyond.
    """

    rule: Literal["regex"]
    pattern: str = Field(min_length=1, description="An RE2 pattern, searched for in the text.")


class AcceptedValues(RuleBase):
    """The value is one of a list."""

    rule: Literal["accepted_values"]
    values: Annotated[
        tuple[_Literal, ...],
        BeforeValidator(_literals),
        WithJsonSchema({"type": "array", "items": {"type": ["string", "number", "boolean"]}}),
    ] = Field(description="The values allowed.")


class Length(RuleBase):
    """Text has so many characters, binary so many bytes, a list so many items."""

    rule: Literal["length"]
    min: int | None = Field(default=None, ge=0, description="The least length allowed.")
    max: int | None = Field(default=None, ge=0, description="The greatest length allowed.")

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        yield from super()._problems()
        yield from _order(self.min, self.max)


class Custom(RuleBase):
    """A function of yours judges record batches: ``RecordBatch -> BooleanArray``."""

    rule: Literal["custom"]
    needs_columns: ClassVar[bool] = False
    function: ImportPath = Field(description="Where the function is: package.module:function.")


class Expression(RuleBase):
    """A SQL condition over the row's columns isn't false."""

    rule: Literal["expression"]
    needs_columns: ClassVar[bool] = False
    sql: str = Field(min_length=1, description="A condition: paid <= total OR status = 'open'.")


class Pandera(RuleBase):
    """A pandera schema or model holds for the rows."""

    rule: Literal["pandera"]
    needs_columns: ClassVar[bool] = False
    model: ImportPath = Field(
        description="Where the DataFrameSchema or DataFrameModel is: package.module:name."
    )


class RowCount(RuleBase):
    """A load has so many rows; a share is of the median of the last loads."""

    rule: Literal["row_count"]
    is_of_rows: ClassVar[bool] = False
    needs_columns: ClassVar[bool] = False
    min: Amount | None = Field(default=None, description="The fewest rows: 1, or 50%.")
    max: Amount | None = Field(default=None, description="The most rows: 1000000, or 200%.")
    last: int = Field(default=10, ge=1, le=1000, description="How many loads a share looks back.")

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        yield from super()._problems()
        yield from _order(self.min, self.max)


class Freshness(RuleBase):
    """The newest value of a time column isn't older than so long before the load was planned."""

    rule: Literal["freshness"]
    is_of_rows: ClassVar[bool] = False
    max_age: Duration = Field(description="How old the newest row may be: 24h.")
    timezone: Annotated[str | None, BeforeValidator(zone)] = Field(
        default=None, description="The time zone of a column without one: UTC, Europe/Oslo."
    )


class Drift(RuleBase):
    """A column's values lie about where they lay in the last loads."""

    rule: Literal["drift"]
    is_of_rows: ClassVar[bool] = False
    max_shift: float | None = Field(
        default=None,
        ge=0,
        description="How far the mean may move, in standard deviations of the last loads: 0.5. Of "
        "text, the mean length; of booleans, the share of true.",
    )
    max_nulls: float | None = Field(
        default=None, ge=0, le=1, description="How far the share of NULLs may move: 0.05."
    )
    last: int = Field(default=10, ge=1, le=1000, description="How many loads it looks back.")

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        yield from super()._problems()
        if self.max_shift is None and self.max_nulls is None:
            yield (), "needs a `max_shift`, a `max_nulls`, or both"


RowSpec: TypeAlias = (
    NotNull | Unique | Range | Regex | AcceptedValues | Length | Custom | Expression | Pandera
)
LoadSpec: TypeAlias = RowCount | Freshness | Drift
RuleSpec: TypeAlias = RowSpec | LoadSpec
Rule = Annotated[RuleSpec, Field(discriminator="rule")]


def rule_names(rules: Iterable[RuleSpec]) -> tuple[str, ...]:
    """Return the name of each rule: its own, or ``range(amount)``, the second time with ``#2``.

    Raises:
        ValueError: two rules were given the same name.
    """
    return name_rules([(rule.name or "", rule.rule, rule.columns) for rule in rules])
