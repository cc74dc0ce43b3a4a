"""Manifests: what a version of a target is. Versioned JSON, read by any tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from conduit_core.errors import StateError
from conduit_core.state.ledger import LedgerRecord

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Literal[1] = 1


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class Range(_Data):
    """The least and the greatest value of a column in a file (NULL and NaN aside), as text.

    ``low`` and ``high`` are None where there is no value; ``others`` counts NULLs and NaNs.
    """

    column: str
    type: str
    low: str | None = None
    high: str | None = None
    others: int = 0


class DataFile(_Data):
    """A data file: its path below the root, and what is in it.

    ``widest`` is the bytes of the longest row, in text formats: what a reader's block must hold.
    """

    path: str
    rows: int
    bytes: int
    ranges: tuple[Range, ...] = ()
    widest: int = 0


class FileList(_Data):
    """The data files of a version, in order: in an object of its own, which versions share."""

    format: Literal[1] = FORMAT
    files: tuple[DataFile, ...] = ()


class Manifest(_Data):
    """A version of a target; the newest one is the table.

    Args:
        version: from 1, each once.
        attempt: the attempt that made it: tells our own from a rival's after a lost answer.
        previous: the attempt of the version before it, "" for the first.
        record: the ledger's record.
        columns: the table's columns (``types.schema``); None while there is no table.
        schema_text: the load's own schema, as the ledger keeps it.
        report: what the stream's rules found in the load, as JSON.
        files: the path of the list of data files; None: there are none.
        rows, bytes: of all data files together.
    """

    format: Literal[1] = FORMAT
    version: int
    attempt: str
    previous: str
    record: LedgerRecord
    columns: tuple[dict[str, object], ...] | None = None
    schema_text: str = "[]"
    report: str = ""
    files: str | None = None
    rows: int = 0
    bytes: int = 0

    @property
    def schema_arrow(self) -> pa.Schema | None:
        """The table's columns; None while there is no table."""
        from conduit_core.types.schema import schema_from_json

        return None if self.columns is None else schema_from_json(self.columns)


_Model = TypeVar("_Model", Manifest, FileList)


def read_as(model: type[_Model], data: bytes, path: str) -> _Model:
    """Read what :func:`to_bytes` wrote.

    Raises:
        StateError: it is something else, or of a later format.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError:
        newer = _format_of(data)
        why = f"it is of format {newer}, this version reads {FORMAT}" if newer else "it is damaged"
        raise StateError(f"{path} can't be read: {why}", command="conduit check") from None


def _format_of(data: bytes) -> int | None:
    try:
        found = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) and found != FORMAT else None


def to_bytes(model: Manifest | FileList) -> bytes:
    """Return the JSON of a manifest or a list."""
    return model.model_dump_json(indent=1, exclude_defaults=False).encode()


def totals(files: Sequence[DataFile]) -> tuple[int, int]:
    """Return the rows and the bytes of files together."""
    return sum(f.rows for f in files), sum(f.bytes for f in files)
