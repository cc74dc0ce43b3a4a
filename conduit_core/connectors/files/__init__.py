"""Files: CSV, JSON lines and Parquet as sources and destinations, JSON as a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.connectors.files.formats import Format
from conduit_core.connectors.files.listing import Root
from conduit_core.connectors.files.options import (
    DESTINATION_ONLY,
    SOURCE_ONLY,
    CsvOptions,
    FilesOptions,
    JsonlOptions,
    JsonOptions,
    ParquetOptions,
    TypedOptions,
)
from conduit_core.connectors.files.source import FileSource
from conduit_core.connectors.lake.options import LakeOptions, make_destination, refuse_options
from conduit_core.connectors.registry import Connector

if TYPE_CHECKING:
    from pydantic import BaseModel

    from conduit_core.connectors.airflow import AirflowConnection
    from conduit_core.connectors.lake.formats import FileFormat

__all__ = [
    "FileSource",
    "csv_connector",
    "json_connector",
    "jsonl_connector",
    "parquet_connector",
]

_Options = TypeVar("_Options", bound=FilesOptions)


def _own(given: BaseModel, options: type[_Options]) -> _Options:
    if isinstance(given, options):
        return given
    return options.model_validate(given.model_dump(exclude_unset=True))


def _from_airflow(conn: AirflowConnection) -> Mapping[str, object]:
    """Return where the files are; of which type they are, the pipeline file says."""
    path = conn.extra.get("path")
    if not path:
        raise conn.refuse('its extra has no path: {"path": "/data"}')
    return {"path": str(path)}


def _connector(
    name: str,
    options: type[_Options],
    make: Callable[[_Options], Format],
    title: str,
    extra: str = "",
    write: Callable[[_Options], FileFormat] | None = None,
) -> Connector:
    def source(given: BaseModel, context: Context) -> Source:
        own = _own(given, options)
        refuse_options(own, DESTINATION_ONLY, "source", "destination")
        root = Root(own.path, context.base_dir, credentials=own.keys)
        policy = own.contradictions if isinstance(own, TypedOptions) else "fail"
        return FileSource(name, root, make(own), contradictions=policy)

    def destination(
        given: BaseModel,
        context: Context,
        schema: str | None,
        internal_schema: str | None,
        _lock_wait: float,
    ) -> Destination:
        own = _own(given, options)
        refuse_options(own, SOURCE_ONLY, "destination", "source")
        assert write is not None  # noqa: S101 - only then is this one registered
        assert isinstance(own, LakeOptions)  # noqa: S101 - its options are
        where = (own.path, own.keys)
        return make_destination(name, own, where, write(own), context, schema, internal_schema)

    return Connector(
        name,
        options,
        source=source,
        destination=destination if write is not None else None,
        title=title,
        extra=extra,
        airflow_types=("fs",),
        from_airflow=_from_airflow,
    )


# Each format brings a part of Arrow with it, so it is imported when it is read.


def _read_csv(options: CsvOptions) -> Format:
    from conduit_core.connectors.files.csv import CsvFormat

    return CsvFormat(options)


def _read_json(options: JsonOptions) -> Format:
    from conduit_core.connectors.files.json import JsonFormat

    return JsonFormat(options)


def _read_jsonl(options: JsonlOptions) -> Format:
    from conduit_core.connectors.files.jsonl import JsonlFormat

    return JsonlFormat(options)


def _read_parquet(_: ParquetOptions) -> Format:
    from conduit_core.connectors.files.parquet import ParquetFormat

    return ParquetFormat()


def _write_csv(options: CsvOptions) -> FileFormat:
    from conduit_core.connectors.lake.formats import CsvFormat as Written

    return Written(options.compression, options.delimiter)


def _write_jsonl(options: JsonlOptions) -> FileFormat:
    from conduit_core.connectors.lake.formats import JsonlFormat as Written

    return Written(options.compression)


def _write_parquet(options: ParquetOptions) -> FileFormat:
    from conduit_core.connectors.lake.formats import ParquetFormat as Written

    return Written(options.compression)


csv_connector = _connector(
    "csv", CsvOptions, _read_csv, "CSV files: plain, .gz, .zst, .zip", write=_write_csv
)
json_connector = _connector(
    "json", JsonOptions, _read_json, "JSON files: an array of objects, or one object", "json"
)
jsonl_connector = _connector(
    "jsonl", JsonlOptions, _read_jsonl, "JSON lines: one object a line", write=_write_jsonl
)
parquet_connector = _connector(
    "parquet", ParquetOptions, _read_parquet, "Parquet files", write=_write_parquet
)
