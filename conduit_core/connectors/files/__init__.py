"""Sources of files: CSV, JSON, JSON lines and Parquet, on disks and object stores."""

from __future__ import annotations

from conduit_core.connectors.base import Context
from conduit_core.connectors.files.csv import CsvFormat
from conduit_core.connectors.files.listing import Root
from conduit_core.connectors.files.options import CsvOptions, FilesOptions
from conduit_core.connectors.files.parquet import ParquetFormat
from conduit_core.connectors.files.source import FileSource, file_digest
from conduit_core.connectors.registry import Connector

__all__ = ["FileSource", "csv_connector", "file_digest", "parquet_connector"]


def _csv(options: CsvOptions, context: Context) -> FileSource:
    return FileSource("csv", Root(options.path, context.base_dir), CsvFormat(options))


def _parquet(options: FilesOptions, context: Context) -> FileSource:
    return FileSource("parquet", Root(options.path, context.base_dir), ParquetFormat())


csv_connector = Connector("csv", CsvOptions, source=_csv, title="CSV files")
parquet_connector = Connector("parquet", FilesOptions, source=_parquet, title="Parquet files")
