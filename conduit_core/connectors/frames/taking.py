"""What Python functions hand over, as Arrow: which objects there are, and how each is taken."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pyarrow as pa

from conduit_core.errors import ConfigError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from pyarrow.dataset import Dataset

    Taken: TypeAlias = pa.Table | pa.RecordBatchReader | Dataset | "Slices"

_ROWS = 16_384
_PARTS = "pyarrow Table, RecordBatch, RecordBatchReader or Dataset, a pandas or polars DataFrame"


@dataclass(frozen=True, slots=True)
class Slices:
    """A polars DataFrame, turned into Arrow slice by slice: its own memory isn't doubled."""

    frame: pl.DataFrame
    schema: pa.Schema

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the columns, rows in their order."""
        for part in self.frame.select(columns).iter_slices(_ROWS):
            yield from _polars_table(part).to_batches()


def spelled(given: object) -> str:
    """Return an object's type for people; never its value."""
    kind = type(given)
    module = kind.__module__.partition(".")[0]
    return kind.__qualname__ if module == "builtins" else f"{module} {kind.__qualname__}"


def refuse(given: object) -> None:
    """Refuse what can't be data, as far as that can be told without taking any of it.

    Raises:
        ConfigError: it is named by its type, with what to do.
    """
    if given is None or is_arrow(given) or is_maker(given):
        return
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | bytearray | Mapping):
        raise not_data(given)
    if isinstance(given, list | tuple):
        for item in given:
            if item is not None and not is_arrow(item):
                raise not_data(given, item)


def not_data(given: object, item: object = None) -> ConfigError:
    """Return the error for an object that holds no rows that can be read as Arrow."""
    what = f"a {spelled(given)}" + ("" if item is None else f" of {spelled(item)}")
    return ConfigError(
        f"the data is {what}, which has no columns with types: it must be a {_PARTS}, or a list or"
        " generator of these; rows that are dicts become one by `pyarrow.Table.from_pylist(rows)`"
    )


def is_maker(given: object) -> bool:
    """Say whether an object is a function that makes the data."""
    return callable(given) and not is_arrow(given) and not isinstance(given, type | Iterable)


def is_arrow(given: object) -> bool:
    """Say whether an object is a table, or a stream of batches, by itself."""
    return hasattr(given, "__arrow_c_stream__") or any(
        _is(given, *names)
        for names in (
            ("pyarrow.dataset", "Dataset"),
            ("pandas", "DataFrame"),
            ("polars", "LazyFrame"),
        )
    )


def _is(given: object, module: str, name: str) -> bool:
    """Say whether an object is of a class whose module need not be there, and isn't imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(given, kind)


def take(given: object) -> Taken:
    """Return an object that :func:`is_arrow` knows as Arrow; a stream isn't read yet.

    Raises:
        SchemaError: a column has no type that Arrow knows; it is named.
        ConfigError: it is a stream of something else than tables.
    """
    if isinstance(given, pa.Table | pa.RecordBatchReader):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if _is(given, "pyarrow.dataset", "Dataset"):
        return cast("Dataset", given)
    if _is(given, "pandas", "DataFrame"):
        return _from_pandas(cast("pd.DataFrame", given))
    if _is(given, "polars", "DataFrame"):
        return _slices(cast("pl.DataFrame", given))
    if _is(given, "polars", "LazyFrame"):
        return _collected(cast("pl.LazyFrame", given))
    try:
        return pa.RecordBatchReader.from_stream(cast("Any", given))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise not_data(given) from error


def batches_of(taken: Taken, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the columns' batches, in Arrow's types as they are; a stream has all its columns."""
    if isinstance(taken, pa.RecordBatchReader):
        yield from taken
    elif isinstance(taken, pa.Table):
        yield from taken.select(columns).to_batches()
    elif isinstance(taken, Slices):
        yield from taken.batches(columns)
    else:
        found = taken.scanner(columns=columns, batch_readahead=1, fragment_readahead=1)
        yield from found.to_batches()


def refuse_twins(names: list[str]) -> None:
    """Refuse two columns of one name.

    Raises:
        SchemaError: it is named.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SchemaError(f"two columns are named {twice[0]!r}: rename one")


# --- pandas ---------------------------------------------------------------------------------------


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    """Return the table; levels of the index that have a name are its last columns."""
    for name in frame.columns:
        if not isinstance(name, str):
            raise SchemaError(
                f"a column of the DataFrame is named {name!r}, a {spelled(name)}: give the columns"
                " names that are texts, by `df.columns = [...]`"
            )
    unnamed = [i for i, name in enumerate(frame.index.names) if name is None]
    named = len(frame.index.names) - len(unnamed)
    refuse_twins([*frame.columns, *(n for n in frame.index.names if n is not None)])
    if unnamed and named:
        frame = frame.reset_index(level=unnamed, drop=True)
    _refuse_periods(frame)
    try:
        return pa.Table.from_pandas(frame, preserve_index=named > 0)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _untyped(frame, error) from error


def _refuse_periods(frame: pd.DataFrame) -> None:
    for name, kind in frame.dtypes.items():
        if str(kind).startswith("period["):
            raise SchemaError(
                f"column {name!r} is {kind}, which only pandas has: turn it into a time"
                f" (`df[{name!r}].dt.to_timestamp()`) or a text (`.astype(str)`)"
            )


def _untyped(frame: pd.DataFrame, error: Exception) -> SchemaError:
    """Name the first column that Arrow has no type for; a value isn't shown."""
    for name in frame.columns:
        try:
            pa.Array.from_pandas(frame[name])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            kinds = sorted({spelled(value) for value in frame[name].dropna().head(10_000)})
            return SchemaError(
                f"column {name!r} ({frame[name].dtype}) holds {', '.join(kinds[:5])}, which Arrow"
                " has no one type for: give it one, by `.astype(...)`"
            )
    return SchemaError(f"pandas' columns can't be read as Arrow: {type(error).__name__}")


# --- polars ---------------------------------------------------------------------------------------


def _polars_table(frame: pl.DataFrame) -> pa.Table:
    oldest: Any = sys.modules["polars"].CompatLevel.oldest()
    return frame.to_arrow(compat_level=oldest)


def _slices(frame: pl.DataFrame) -> Slices:
    polars: Any = sys.modules["polars"]
    fields = []
    for name, kind in frame.schema.items():
        untyped = SchemaError(
            f"column {name!r} is polars' {kind}, which Arrow has no type for: cast it"
        )
        if kind == polars.Object:  # its values would be addresses
            raise untyped
        try:
            fields.append(_polars_table(frame.select(name).head(0)).schema.field(0))
        except (pa.ArrowException, polars.exceptions.PolarsError, TypeError) as error:
            raise untyped from error
    return Slices(frame, pa.schema(fields))


def _collected(frame: pl.LazyFrame) -> Taken:
    """Return a query's batches as they come, where this polars can say them so."""
    if not hasattr(frame, "collect_batches"):
        return _slices(frame.collect())
    slices = (_slices(part) for part in frame.collect_batches(chunk_size=_ROWS))
    first = next(slices, None)
    if first is None:
        return _slices(frame.collect())

    def batches() -> Iterator[pa.RecordBatch]:
        yield from first.batches(first.schema.names)
        for part in slices:
            yield from part.batches(part.schema.names)

    return pa.RecordBatchReader.from_batches(first.schema, batches())
