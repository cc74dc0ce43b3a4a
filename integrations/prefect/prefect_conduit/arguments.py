"""Which call of a function this is: a digest of its arguments, the same in every process."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
from collections.abc import Callable, Mapping, Sequence, Set, Sized
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_BY_TEXT = (date, time, timedelta, Decimal, UUID, PurePath)


@dataclass(frozen=True)
class Call:
    """One call of a function.

    Args:
        text: the function's name, and a digest of its arguments where it has any.
        by_type: an argument that counts by its type alone, so that two of them look the same.
    """

    text: str
    by_type: str | None = None


def call_of(function: Callable[..., object], args: Sequence[Any], kwargs: Any) -> Call:
    """Return which call of a function this is.

    Values count as what they are, and tables and frames by their rows. What is none of these (a
    client, a session, a generator, a method's own object) counts by its type alone.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    if not bound.arguments:
        return Call(function.__qualname__)
    said = {name: _said(value) for name, value in bound.arguments.items()}
    by_type = next((name for name, each in said.items() if _has_unknown(each)), None)
    text = json.dumps(_said(bound.arguments), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Call(f"{function.__qualname__}/{digest}", by_type)


def _has_unknown(said: Any) -> bool:
    if isinstance(said, dict):
        return any(each is None or _has_unknown(each) for each in said.values())
    return isinstance(said, list) and any(_has_unknown(each) for each in said)


def _said(value: Any) -> Any:
    """Return a value as JSON that no value of another type has."""
    said: Any
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        said = repr(value)
    elif isinstance(value, Mapping):
        said = sorted(([_said(k), _said(v)] for k, v in value.items()), key=json.dumps)
    elif isinstance(value, list | tuple):
        said = [_said(item) for item in value]
    elif isinstance(value, Set):
        said = sorted((_said(item) for item in value), key=json.dumps)
    elif isinstance(value, bytes | bytearray):
        said = hashlib.sha256(value).hexdigest()
    elif isinstance(value, Enum):
        said = value.name
    elif isinstance(value, _BY_TEXT):
        said = str(value)
    else:
        said = _of_object(value)
    return {_kind(value): said}


def _of_object(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return [[name, _said(getattr(value, name))] for name in type(value).model_fields]
    if is_dataclass(value):
        return [[each.name, _said(getattr(value, each.name))] for each in fields(value)]
    # A reader has rows, too, but to read them uses it up.
    if hasattr(value, "__arrow_c_stream__") and isinstance(value, Sized):
        return _of_rows(value)
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return _said(value.tolist())
    return None


def _of_rows(value: Any) -> str | None:
    import pyarrow as pa

    sink = _Digest()
    try:
        with (
            pa.RecordBatchReader.from_stream(value) as reader,
            pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except (pa.ArrowException, TypeError, ValueError):  # what it holds has no type in Arrow
        return None
    return sink.hash.hexdigest()


class _Digest(io.RawIOBase):
    """A file that keeps nothing but the digest of what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)


def _kind(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
