"""Records (Python dicts) to typed columns: for JSON, whose parser gives records and not columns.

The type of a field is inferred from a sample of records:

- whole numbers are int64; beyond it decimal128(38, 0); with a fraction anywhere float64.
- texts are text; dates and moments in ISO 8601 as in CSV files.
- lists of numbers, texts or booleans are lists; objects and all other lists travel as json text.
- a field that is a number here and a text there is an error, unless ``types:`` says what it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import cast

import pyarrow as pa

from conduit_core.connectors.arrow import Column, Field
from conduit_core.connectors.files.convert import BadValueError, Inference, to_type
from conduit_core.connectors.files.formats import Sample, share, with_types
from conduit_core.connectors.files.opening import File
from conduit_core.connectors.files.sifting import Unreadable
from conduit_core.errors import SchemaError, SourceDataError
from conduit_core.types.schema import logical_type, tagged

Record = dict[str, object]
Placed = tuple[str, Record]
"""A record, and where it stands."""
_MIN_SAMPLE = 64 * 1024

_MANY_TEXTS = 16_384
_INT64 = 2**63
_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
_NUMBERS = {"a whole number", "a number"}
_NESTED = {"a list", "an object"}
_NULL = type(None)


def kind_of(value: object) -> str:
    """Return what a JSON value is, for people."""
    return _KINDS.get(type(value), "null" if value is None else f"Python's {type(value).__name__}")


@dataclass(slots=True)
class _Seen:
    """What the sample showed of one field."""

    kinds: dict[str, str] = field(default_factory=dict)
    """Each kind, and where it was seen first."""
    texts: list[str] = field(default_factory=list)
    moments: Inference = field(default_factory=Inference)
    """What the texts are, those on their way into it aside."""
    values: int = 0
    items: set[str] = field(default_factory=set)
    largest: int = 0

    def add(self, value: object, where: str) -> None:
        kind = kind_of(value)
        if kind == "null":
            return
        self.values += 1
        self.kinds.setdefault(kind, where)
        if isinstance(value, str):
            self.texts.append(value)
            if len(self.texts) >= _MANY_TEXTS:
                self.settle()
        elif isinstance(value, list):
            self.items.update(kind_of(item) for item in value)
        elif isinstance(value, int):
            self.largest = max(self.largest, abs(value) + (value > 0))

    def settle(self) -> pa.DataType | None:
        """Return the type of the texts so far."""
        if self.texts:
            self.moments.add(pa.chunked_array([self.texts], pa.string()))
            self.texts = []
        return self.moments.kind


class FieldTypes:
    """Collects a sample's fields and settles their types."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._seen: dict[str, _Seen] = {}

    def add(self, record: Record, where: str) -> None:
        """Look at one record; ``where`` names file and record."""
        for name, value in record.items():
            self._seen.setdefault(name, _Seen()).add(value, where)

    def nulls(self, rows: int) -> dict[str, int]:
        """Return in how many of so many records each field is null or missing."""
        return {name: rows - seen.values for name, seen in self._seen.items()}

    def fields(self) -> tuple[dict[str, Field], list[str]]:
        """Return the fields in order of appearance, and those that never had a value.

        Raises:
            SourceDataError: a field has mixed types; both are named, with file and record.
        """
        out: dict[str, Field] = {}
        empty: list[str] = []
        for name, seen in self._seen.items():
            if name in self._given:
                out[name] = pa.field(name, pa.string())  # the user's type replaces it
                continue
            if not seen.kinds:
                empty.append(name)
            out[name] = _settle(name, seen)
        return out, empty


def sample_records(
    files: Sequence[File],
    given: Mapping[str, str],
    read: Callable[[File, int], Iterator[tuple[Iterable[Placed], int]]],
    *,
    whole: bool,
    limit: int | None,
) -> Sample:
    """Infer the fields' types from the first records of the sampled files together.

    Args:
        files: the sampled files, which share the sample's bytes.
        given: the option ``types:``.
        read: yields a file's records, piece by piece, each time with the bytes taken so far.
        whole: whether the sampled files are all there are.
        limit: about how many bytes to look at; None: everything.

    Raises:
        SchemaError: there is no record, so there are no columns.
    """
    budget = share(limit, files, _MIN_SAMPLE)
    types = FieldTypes(given)
    rows = size = 0
    total: int | None = 0
    for file in files:
        taken = 0
        for records, taken in read(file, budget):
            for where, record in records:
                types.add(record, where)
                rows += 1
            if taken >= budget:
                whole = False
                break
        size += taken
        content = file.content_size()
        total = None if total is None or content is None else total + content
    fields, empty = types.fields()
    if not fields and not given:
        raise SchemaError(f"{', '.join(map(str, files[:3]))}: no records, so no columns")
    estimate = rows if whole else None if total is None else rows * total // max(size, 1)
    notes = (f"{', '.join(empty)}: no value in the sample, read as text",) if empty else ()
    schema = with_types(fields, given, whole=whole)
    return Sample(schema, estimate, notes, rows, whole, types.nulls(rows))


def _settle(name: str, seen: _Seen) -> Field:
    kinds = set(seen.kinds)
    if kinds <= _NUMBERS and kinds:
        if "a number" in kinds:
            return pa.field(name, pa.float64())
        fits = seen.largest <= _INT64
        return pa.field(name, pa.int64() if fits else pa.decimal128(38, 0))
    if kinds <= _NESTED and kinds:
        if kinds == {"a list"} and (item := _item_type(seen.items)) is not None:
            return pa.field(name, pa.list_(item))
        return tagged(pa.field(name, pa.string()), logical="json")
    if len(kinds) > 1:
        (one, here), (two, there) = list(seen.kinds.items())[:2]
        raise mixed(there, name, two, f"it is {one} in {here}")
    if kinds == {"a boolean"}:
        return pa.field(name, pa.bool_())
    kind = seen.settle()
    temporal = kind is not None and (pa.types.is_timestamp(kind) or pa.types.is_date(kind))
    return pa.field(name, kind if temporal and kind is not None else pa.string())


def _item_type(kinds: set[str]) -> pa.DataType | None:
    some = kinds - {"null"}
    if some and some <= _NUMBERS:
        return pa.float64() if "a number" in some else pa.int64()
    if some == {"a text"}:
        return pa.string()
    return pa.bool_() if some == {"a boolean"} else None


def mixed(
    where: str, name: str, found: str, expected: str, *, has_types: bool = True
) -> SourceDataError:
    """Return the error for a field whose value isn't of its type.

    Args:
        where: file and record.
        name: the field.
        found: the value.
        expected: what says another type, as a clause.
        has_types: whether the source has an option ``types:``.
    """
    remedy = f". Remedy: types: {{{name}: json}} (or text) on the source" if has_types else ""
    return SourceDataError(f"{where}, field {name!r}: {found}, but {expected}{remedy}")


def build(
    records: Sequence[Record],
    wanted: pa.Schema,
    *,
    file: str,
    places: Sequence[str] | int,
    loose: Container[str] = (),
    lenient: Container[str] = (),
    has_types: bool = True,
) -> pa.RecordBatch:
    """Turn records into a batch of exactly the wanted fields.

    Args:
        records: in the file's order.
        wanted: the batch's fields.
        file: the name of the file, or of whatever else they come from.
        places: where each record stands, for errors, or the first record's number.
        loose: fields whose type the user gave: as text or json they take any value.
        lenient: fields in which a value of another type is no error (see ``Format.batches``).
        has_types: whether the source has an option ``types:``, which the error then names.

    Raises:
        SourceDataError: naming file, record, field, value and both types.
    """

    def where(row: int) -> str:
        return f"{file}, {f'record {places + row}' if isinstance(places, int) else places[row]}"

    def refused(f: Field, bad: BadValueError) -> SourceDataError:
        is_inferred = has_types and f.name not in loose
        said = f"it is {_spell(f)} elsewhere" if is_inferred else f"the column is {_spell(f)}"
        return mixed(where(bad.row), f.name, bad.value, said, has_types=has_types)

    arrays: list[Column] = []
    unreadable = Unreadable()
    for f in wanted:
        values = [record.get(f.name) for record in records]
        try:
            arrays.append(_array(values, f, loose=f.name in loose))
        except BadValueError as bad:
            if f.name not in lenient:
                raise refused(f, bad) from None
            arrays.append(_sifted(values, f, unreadable, loose=f.name in loose))
    if not arrays:
        return pa.RecordBatch.from_arrays([pa.nulls(len(records))], ["nothing"])
    return unreadable.beside(pa.RecordBatch.from_arrays(arrays, schema=wanted))


def _sifted(values: list[object], f: Field, unreadable: Unreadable, *, loose: bool) -> Column:
    """Return the column with NULL for the values that aren't of its type, which are set aside."""
    marks = [_is_bad(value, f, loose=loose) for value in values]
    bad = [value for value, is_bad in zip(values, marks, strict=True) if is_bad]
    unreadable.add(f.name, pa.array(marks, pa.bool_()), bad)
    good = [None if is_bad else value for value, is_bad in zip(values, marks, strict=True)]
    return _array(good, f, loose=loose)


def _is_bad(value: object, f: Field, *, loose: bool) -> bool:
    try:
        _array([value], f, loose=loose)
    except BadValueError:
        return True
    return False


def _array(values: list[object], f: Field, *, loose: bool) -> Column:
    kind = f.type
    nested = logical_type(f) == "json"
    allowed = {dict, list, _NULL} if nested else _allowed(kind)
    kinds: set[type] = set(map(type, values))
    strange: set[type] = kinds.difference(allowed)
    if loose and (nested or pa.types.is_string(kind)):
        return pa.array(
            [
                v if v is None or (isinstance(v, str) and not nested) else _json(v, row)
                for row, v in enumerate(values)
            ],
            pa.string(),
        )
    if strange:
        row = next(i for i, v in enumerate(values) if type(v) in strange)
        raise BadValueError(row, f"{kind_of(values[row])} ({_short(values[row])})")
    if nested:
        return pa.array(
            [None if v is None else _json(v, row) for row, v in enumerate(values)], pa.string()
        )
    if list in allowed:
        _check_items(values, kind)
    if not pa.types.is_decimal(kind) and (Decimal in kinds or list in kinds):
        values = [_floats(value, row) for row, value in enumerate(values)]
    try:
        if str not in allowed:
            return cast("Column", pa.array(values, kind))
        texts: Column = pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        row = _first_bad(values, kind)
        raise BadValueError(row, _short(values[row])) from None
    try:
        return to_type(texts, kind)
    except BadValueError as bad:
        lacks = _lacking(bad.value, kind)
        raise BadValueError(bad.row, f"a text ({_short(bad.value)}{lacks})") from None


def _check_items(values: Sequence[object], kind: pa.DataType) -> None:
    """Refuse a list with an item of another type: Arrow would cut a fraction off in silence."""
    items = _allowed(cast("pa.ListType[pa.DataType]", kind).value_type)
    for row, value in enumerate(values):
        if isinstance(value, list) and not set(map(type, value)) <= items:
            strange = next(v for v in value if type(v) not in items)
            raise BadValueError(row, f"a list with {kind_of(strange)}")


def _floats(value: object, row: int) -> object:
    """Take a number that was parsed digit by digit as the double that its column holds."""
    if isinstance(value, Decimal):
        number = float(value)
        if math.isinf(number):
            raise BadValueError(row, f"{value} (beyond a double)")
        return number
    return [_floats(item, row) for item in value] if isinstance(value, list) else value


def _first_bad(values: Sequence[object], kind: pa.DataType) -> int:
    for row, value in enumerate(values):
        try:
            pa.array([value], kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return row
    return 0


def _allowed(kind: pa.DataType) -> set[type]:
    if pa.types.is_integer(kind):
        return {int, _NULL}
    if pa.types.is_floating(kind):
        return {int, float, Decimal, _NULL}
    if pa.types.is_decimal(kind):
        return {int, Decimal, _NULL}
    if pa.types.is_boolean(kind):
        return {bool, _NULL}
    if pa.types.is_list(kind):
        return {list, _NULL}
    return {str, _NULL}


def _json(value: object, row: int) -> str:
    try:
        return json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), default=float, allow_nan=False
        )
    except ValueError:
        found = "not a JSON number (NaN, Infinity or beyond a double)"
        raise BadValueError(row, found) from None


def _short(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 80 else text[:80] + "...")


def _lacking(text: str, kind: pa.DataType) -> str:
    """Say what a time lacks that is one but for its zone; no zone is guessed."""
    if not (pa.types.is_timestamp(kind) and kind.tz):
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return ", without a time zone: end it with Z or +01:00" if moment.tzinfo is None else ""


def _spell(f: Field) -> str:
    t = pa.types
    if t.is_integer(f.type):
        return "a whole number"
    if t.is_floating(f.type) or t.is_decimal(f.type):
        return "a number"
    if t.is_boolean(f.type):
        return "a boolean"
    if logical_type(f) == "json":
        return "an object or a list"
    return "a text" if t.is_string(f.type) else str(f.type)


def exact(wanted: pa.Schema) -> bool:
    """Say whether a column needs numbers digit by digit."""
    return any(pa.types.is_decimal(f.type) for f in wanted)


def unknown(records: Iterable[Record], known: frozenset[str]) -> tuple[int, str] | None:
    """Return the first record (its index) with a field that isn't known, and the field."""
    for row, record in enumerate(records):
        if not record.keys() <= known:
            return row, next(name for name in record if name not in known)
    return None
