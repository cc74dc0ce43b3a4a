"""``transform:`` compiled: batches in, batches out, in Arrow; the schema is known beforehand."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeAlias, cast

import pyarrow as pa

from conduit_core.errors import ConfigError, SchemaError
from conduit_core.quality.arrays import Column, is_binary, is_text, kernels, plain, plain_type
from conduit_core.quality.finding import did_you_mean
from conduit_core.quality.literals import UnfitError
from conduit_core.quality.typenames import arrow_type
from conduit_core.spec.transforms import (
    CastStep,
    DropStep,
    HashOptions,
    HashStep,
    MaskOptions,
    RenameStep,
    StepSpec,
)

Field: TypeAlias = "pa.Field[pa.DataType]"
Change: TypeAlias = "Callable[[Column], Column]"
_HIDDEN = 4
"""How long the hidden part is where its length isn't kept."""


class Transform:
    """A stream's transform, compiled against the schema of its source.

    Every step is folded into one change for each column that comes out, so a batch is built once.

    Args:
        steps: in the order they are carried out.
        schema: the rows' columns as the source gives them.
        redact: columns that come out, of which no error may show a value.

    Raises:
        SchemaError: a step names a column that isn't there, or that is there already.
        ConfigError: a step doesn't fit its column's type, or leaves no column.
    """

    def __init__(
        self, steps: Sequence[StepSpec], schema: pa.Schema, redact: Collection[str] = ()
    ) -> None:
        self._redact = frozenset(redact)
        self._columns = [_Out(field, index, ()) for index, field in enumerate(schema)]
        for step in steps:
            self._carry_out(step)
        if not self._columns:
            raise ConfigError("`transform` leaves no column", command="conduit check")
        self.schema: pa.Schema = pa.schema([column.field for column in self._columns])
        """The columns that come out."""

    def names_of(self, name: str) -> str | None:
        """Return what a column of the source is called afterwards; None where it is dropped."""
        return next((c.field.name for c in self._columns if c.source_name == name), None)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch, transformed; its rows stay, in their order.

        Raises:
            SchemaError: a value doesn't fit the type it is cast to.
        """
        arrays = []
        for out in self._columns:
            column = batch.column(out.index)
            try:
                for change in out.changes:
                    column = change(column)
            except SchemaError as error:
                raise self._without_values(error, out.field) from None
            arrays.append(column)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _without_values(self, error: SchemaError, field: Field) -> SchemaError:
        if field.name not in self._redact:
            return error
        return SchemaError(
            f"`transform` of column {field.name!r}: a value doesn't fit {field.type}; `redact`"
            " keeps it out of this text",
            command=error.command,
        )

    def _carry_out(self, step: StepSpec) -> None:
        if isinstance(step, RenameStep):
            self._rename(step)
        elif isinstance(step, DropStep):
            gone = {self._find(name, "drop") for name in step.drop}
            self._columns = [c for i, c in enumerate(self._columns) if i not in gone]
        elif isinstance(step, CastStep):
            for name, text in step.cast.items():
                self._cast(name, text)
        elif isinstance(step, HashStep):
            for name in step.hash.columns:
                self._hash(name, step.hash)
        else:
            for name in step.mask.columns:
                self._mask(name, step.mask)

    def _find(self, name: str, step: str) -> int:
        names = [column.field.name for column in self._columns]
        if names.count(name) != 1:
            raise SchemaError(
                f"`transform: {step}` names column {name!r}, which the rows don't have"
                f" there{did_you_mean(name, names) or ';'} they have {', '.join(names)}",
                command="conduit check",
            )
        return names.index(name)

    def _rename(self, step: RenameStep) -> None:
        places = {self._find(old, "rename"): new for old, new in step.rename.items()}
        for at, new in places.items():
            self._columns[at] = self._columns[at].to(self._columns[at].field.with_name(new))
        names = [column.field.name for column in self._columns]
        if twice := [name for name in places.values() if names.count(name) > 1]:
            raise SchemaError(
                f"`transform: rename` makes a second column {twice[0]!r}", command="conduit check"
            )

    def _cast(self, name: str, text: str) -> None:
        at = self._find(name, "cast")
        out = self._columns[at]
        try:
            kind = arrow_type(text)
            _try_cast(out.field.type, kind)
        except UnfitError as error:
            raise ConfigError(
                f"`transform: cast` of column {name!r}: {error}", command="conduit check"
            ) from error
        field = pa.field(out.field.name, kind, nullable=out.field.nullable)
        self._columns[at] = out.to(field, partial(_cast, target=kind, name=name))

    def _hash(self, name: str, options: HashOptions) -> None:
        at = self._find(name, "hash")
        out = self._columns[at]
        kind = plain_type(out.field.type)
        if pa.types.is_nested(kind) or pa.types.is_floating(kind):
            raise ConfigError(
                f"`transform: hash` of column {name!r}: values of type {kind} have no one text",
                command="conduit check",
            )
        salt = b"" if options.salt is None else options.salt.get_secret_value().encode()
        field = pa.field(out.field.name, pa.string(), nullable=out.field.nullable)
        self._columns[at] = out.to(field, _Hasher(options.algorithm, salt))

    def _mask(self, name: str, options: MaskOptions) -> None:
        at = self._find(name, "mask")
        out = self._columns[at]
        if not is_text(plain_type(out.field.type)):
            raise ConfigError(
                f"`transform: mask` of column {name!r} ({out.field.type}): it is no text; cast it"
                " to text before, or hash it",
                command="conduit check",
            )
        field = pa.field(out.field.name, pa.string(), nullable=out.field.nullable)
        self._columns[at] = out.to(field, partial(_masked, options=options))


class _Out:
    """One column that comes out: its field, where it comes from, and what is done to it."""

    def __init__(
        self, field: Field, index: int, changes: tuple[Change, ...], source_name: str = ""
    ) -> None:
        self.field, self.index, self.changes = field, index, changes
        self.source_name = source_name or field.name

    def to(self, field: Field, *changes: Change) -> _Out:
        return _Out(field, self.index, (*self.changes, *changes), self.source_name)


def _try_cast(source: pa.DataType, target: pa.DataType) -> None:
    try:
        kernels.cast(pa.array([], plain_type(source)), target)
    except pa.ArrowException as error:
        raise UnfitError(f"{source} can't be cast to {target}") from error


def _cast(column: Column, *, target: pa.DataType, name: str) -> Column:
    column = plain(column)
    try:
        if is_text(column.type) and not is_text(target):
            column = kernels.utf8_trim_whitespace(column)
        if pa.types.is_integer(column.type) and pa.types.is_decimal(target):
            column = kernels.cast(column, pa.decimal256(20 + max(target.scale, 0), target.scale))
        return cast("Column", kernels.cast(column, target))
    except (pa.ArrowException, ValueError) as error:
        raise SchemaError(
            f"`transform: cast` of column {name!r} to {target}: {error}", command="conduit check"
        ) from error


class _Hasher:
    """Digests as hexadecimal text; each distinct value of a batch is hashed once.

    What is hashed is the value's text in UTF-8 (binary: its bytes), so another system can compute
    the same: HMAC with the salt as key, or the plain digest where there is none.
    """

    def __init__(self, algorithm: str, salt: bytes) -> None:
        self._new = hmac.new(salt, digestmod=algorithm) if salt else hashlib.new(algorithm)

    def __call__(self, column: Column) -> Column:
        column = plain(column)
        if not (is_text(column.type) or is_binary(column.type)):
            column = kernels.cast(column, pa.string())
        encoded = kernels.dictionary_encode(column)
        digests = [self._digest(value) for value in encoded.dictionary.to_pylist()]
        return pa.array(digests, pa.string()).take(encoded.indices)

    def _digest(self, value: str | bytes) -> str:
        state = self._new.copy()
        state.update(value.encode() if isinstance(value, str) else value)
        return state.hexdigest()


def _masked(column: Column, *, options: MaskOptions) -> Column:
    column = kernels.cast(plain(column), pa.string())
    first, last = options.keep_first, options.keep_last
    length = kernels.utf8_length(column)
    shows = kernels.greater(length, first + last)
    if options.keep_length:
        hidden = kernels.if_else(shows, kernels.subtract(length, first + last), length)
        middle = kernels.binary_repeat(pa.scalar(options.with_), hidden)
    else:
        middle = pa.repeat(pa.scalar(options.with_ * _HIDDEN), len(column))
    head = kernels.utf8_slice_codeunits(column, 0, first)
    tail = (
        kernels.utf8_slice_codeunits(column, -last)
        if last
        else pa.repeat(pa.scalar(""), len(column))
    )
    whole = kernels.binary_join_element_wise(head, middle, tail, "")
    masked = kernels.if_else(shows, whole, middle)
    there = kernels.if_else(column.is_valid(), masked, pa.scalar(None, pa.string()))
    return cast("Column", there)
