"""The options of the file connectors: what stands beside ``type:`` in a pipeline file.

Sources and destinations share a model; what only one of them takes is refused on the other.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from conduit_core.connectors.files.convert import named_field
from conduit_core.connectors.lake.options import (
    LakeOptions,
    ParquetLakeOptions,
    TextLakeOptions,
)
from conduit_core.errors import ConfigError

Contradictions = Literal["fail", "widen", "dlq"]


class FilesOptions(BaseModel):
    """Where files are. A source's streams name files, globs or folders relative to ``path``; a
    destination's tables are folders in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    path: str = ""
    """A folder, a file, or a URL; absent, at a source: the pipeline file's folder."""
    credentials: dict[str, SecretStr] = Field(default_factory=dict)
    """A bucket's, instead of those of the environment, and what else its client takes:
    ``{access_key_id: ..., secret_access_key: ..., region: ..., endpoint: ...}`` of S3,
    ``{service_account_key: ...}`` of GCS, ``{account_name: ..., account_key: ...}`` of Azure."""

    @property
    def keys(self) -> dict[str, str]:
        """The credentials, opened: for the client alone."""
        return {name: value.get_secret_value() for name, value in self.credentials.items()}

    @field_validator("path")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        parts = urlsplit(value)
        has_account = parts.scheme in {"abfs", "abfss"} and ":" not in parts.netloc
        if "://" in value and "@" in parts.netloc and not has_account:
            raise ValueError(
                "keep keys out of the URL: write them under `credentials:`, or leave them to the"
                " cloud's own variables (AWS_ACCESS_KEY_ID ...) or profile"
            )
        return value


class TypedOptions(FilesOptions):
    """Options of formats whose types are inferred from a sample."""

    types: dict[str, str] = Field(default_factory=dict)
    """Types by column, instead of the inferred ones: ``{zip: text, price: decimal(9, 2)}``."""
    contradictions: Contradictions = "fail"
    """What is done about a value that isn't of its column's type: ``fail`` stops the load;
    ``widen`` looks at every value beforehand, not at a sample; ``dlq`` rejects the value's row."""

    @field_validator("types")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            try:
                named_field(name, text)
            except ConfigError as error:
                raise ValueError(error.message) from None
        return value


class CsvOptions(TypedOptions, TextLakeOptions):
    """Options of ``type: csv``."""

    delimiter: str = Field(",", min_length=1, max_length=1)
    """What stands between two values: one character."""
    quote: str | None = Field('"', min_length=1, max_length=1)
    """The quote character (doubled inside a quoted value); null: quotes are ordinary characters."""
    encoding: str = "utf-8"
    """How the characters are encoded, by Python's name for it: ``latin-1``, ``cp1252``."""
    header: bool = True
    """Whether the first line names the columns."""
    columns: tuple[str, ...] | None = None
    """The columns' names in the file's order; without them ``header: false`` gives column_1, ..."""
    null_values: tuple[str, ...] = ()
    """Texts that mean NULL in a text column, beside the empty unquoted one. Numbers, dates and
    booleans take NA, N/A, NULL, null, None and \\N for NULL anyway."""

    @field_validator("encoding")
    @classmethod
    def _codec(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"no encoding {value!r}; try utf-8, latin-1, cp1252, utf-16") from None
        return value


class JsonOptions(TypedOptions):
    """Options of ``type: json``, which is a source only."""


class JsonlOptions(TypedOptions, TextLakeOptions):
    """Options of ``type: jsonl``."""


class ParquetOptions(FilesOptions, ParquetLakeOptions):
    """Options of ``type: parquet``."""


DESTINATION_ONLY = frozenset({*LakeOptions.model_fields, "compression", "row_group_size"})
SOURCE_ONLY = frozenset(
    {"types", "contradictions", "quote", "encoding", "header", "columns", "null_values"}
)
