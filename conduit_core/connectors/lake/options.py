"""The destination's options of the file connectors, and a destination made from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ByteSize, Field, field_validator

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core.connectors.base import Context, Destination
    from conduit_core.connectors.lake.formats import FileFormat

ParquetCodec = Literal["zstd", "snappy", "gzip", "lz4", "brotli", "none"]
TextCodec = Literal["none", "gzip", "zstd"]
TARGET_FILE_SIZE = 128 * 1024 * 1024
ROW_GROUP_SIZE = 122_880
_KIB = 1024


class LakeOptions(BaseModel):
    """What only a destination of files takes; mixed into the connectors' options."""

    partition_by: tuple[str, ...] = ()
    """Destination: columns whose values name the files' folders (``day=2024-01-01/``); the columns
    stay in the files too."""
    target_file_size: ByteSize = Field(ByteSize(TARGET_FILE_SIZE), ge=64 * _KIB, le=2**40)
    """Destination: a file is full at about this size; ``64MiB``, or bytes."""

    @field_validator("partition_by", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("partition_by")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or "" in value:
            raise ValueError("names a column twice, or one without a name")
        return value


class TextLakeOptions(LakeOptions):
    """What CSV and JSON lines take."""

    compression: TextCodec = "none"
    """Destination: compression of the files (``.gz``, ``.zst``)."""


class ParquetLakeOptions(LakeOptions):
    """What Parquet takes."""

    compression: ParquetCodec = "zstd"
    """Destination: the codec of the columns."""
    row_group_size: int = Field(ROW_GROUP_SIZE, ge=1, le=2**24)
    """Destination: rows of a row group, at most; wide rows make smaller ones."""


def refuse_options(given: BaseModel, others: frozenset[str], end: str, other: str) -> None:
    """Refuse options that only the other end of a pipeline takes.

    Raises:
        ConfigError: naming them.
    """
    wrong = sorted(given.model_fields_set & others)
    if wrong:
        names = ", ".join(f"`{name}`" for name in wrong)
        raise ConfigError(
            f"{end}: only a {other} takes {names}; remove {'them' if len(wrong) > 1 else 'it'}",
            command="conduit check",
        )


def make_destination(
    system: str,
    options: LakeOptions,
    where: tuple[str, Mapping[str, str]],
    form: FileFormat,
    context: Context,
    schema: str | None,
    internal_schema: str | None,
) -> Destination:
    """Return the destination at a folder or URL, with a bucket's credentials. Touches nothing yet.

    Raises:
        ConfigError: no path, or an option that has no meaning here.
    """
    from conduit_core.connectors.lake.destination import LakeDestination
    from conduit_core.connectors.lake.writer import WriteOptions
    from conduit_core.connectors.objects import open_store

    path, credentials = where
    if not path:
        raise ConfigError("destination: path is missing: a folder, or a URL such as s3://bucket/x")
    if internal_schema is not None:
        raise ConfigError(
            "destination: internal_schema has no meaning for files: manifests lie in the folder"
            " _conduit beside the tables'"
        )
    group = options.row_group_size if isinstance(options, ParquetLakeOptions) else ROW_GROUP_SIZE
    cut = WriteOptions(
        options.partition_by, int(options.target_file_size), group, context.budget_bytes // 2
    )
    store = open_store(path, context.base_dir, credentials)
    return LakeDestination(system, store, form, cut, _url(path, context.base_dir), schema or "")


def _url(path: str, base_dir: Path) -> str:
    """Return what other tools prepend to a file's path: no query, no credentials."""
    if "://" not in path:
        return str((Path.cwd() / base_dir / Path(path).expanduser()).resolve())
    parts = urlsplit(path)
    if parts.scheme == "file":
        return parts.path
    place = parts.netloc if parts.scheme in {"abfs", "abfss"} else parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"
