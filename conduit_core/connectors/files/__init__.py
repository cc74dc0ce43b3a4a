"""Sources of files: CSV, JSON, JSON lines and Parquet, on disks and object stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from conduit_core.connectors.base import Context, Source
from conduit_core.connectors.files.csv import CsvFormat
from conduit_core.connectors.files.formats import Format
from conduit_core.connectors.files.json import JsonFormat
from conduit_core.connectors.files.jsonl import JsonlFormat
from conduit_core.connectors.files.listing import Root
from conduit_core.connectors.files.options import CsvOptions, FilesOptions, JsonOptions
from conduit_core.connectors.files.parquet import ParquetFormat
from conduit_core.connectors.files.source import FileSource
from conduit_core.connectors.registry import Connector

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "FileSource",
    "csv_connector",
    "json_connector",
    "jsonl_connector",
    "parquet_connector",
]

_Options = TypeVar("_Options", bound=FilesOptions)


def _connector(
    name: str,
    options: type[_Options],
    make: Callable[[_Options], Format],
    title: str,
    extra: str = "",
) -> Connector:
    def source(given: BaseModel, context: Context) -> Source:
        own = given if isinstance(given, options) else options.model_validate(given.model_dump())
        return FileSource(name, Root(own.path, context.base_dir), make(own))

    return Connector(name, options, source=source, title=title, extra=extra)


csv_connector = _connector("csv", CsvOptions, CsvFormat, "CSV files: plain, .gz, .zst, .zip")
json_connector = _connector(
    "json", JsonOptions, JsonFormat, "JSON files: an array of objects, or one object", "json"
)
jsonl_connector = _connector("jsonl", JsonOptions, JsonlFormat, "JSON lines: one object a line")
parquet_connector = _connector("parquet", FilesOptions, lambda _: ParquetFormat(), "Parquet files")
