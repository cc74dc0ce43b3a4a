"""Blocks: a system that a pipeline reads or writes, and a pipeline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from pydantic import ConfigDict, Field, SecretStr, model_validator

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import CheckItem, ConnectionResolver, ConnectionSpec, Pipeline

_QUIET = ConfigDict(hide_input_in_errors=True)
"""An error says what is wrong, never what was given."""


class ConduitConnection(Block):
    """A system that a pipeline reads or writes: `{connection: shop}` in its file, or a URL's parts.

    A block's name has small letters, digits and dashes only: `connection: shop_pg` in a file, as
    other runners have it, is the block `shop-pg`. `${NAME}` isn't filled in.

    Args:
        url: the whole of it, with user and password; or its parts, with a type.
        type: the connector: `postgres`, `duckdb`, `sqlite`, `csv`, `json`, `jsonl`, `parquet`, or
            one that was installed. Not needed beside a URL.
        host: a server.
        port: its port.
        database: its database.
        user: who logs in; beside a URL it is put into it.
        password: the same.
        path: a database file, or where files are: a folder or a bucket's URL.
        options: what else a pipeline file says of a connection: `schema`, `delimiter`, ...
        secret_options: the same for what nobody may see: `credentials`, ...
    """

    model_config = _QUIET
    _block_type_name: ClassVar[str] = "Conduit Connection"
    _block_type_slug: ClassVar[str] = "conduit-connection"
    _description: ClassVar[str] = (
        "A system that a Conduit pipeline reads or writes, as `connection: NAME` in its file."
    )
    _code_example: ClassVar[str] = """\
```python
from prefect_conduit import ConduitConnection

shop = ConduitConnection(url="postgres://reader:PASSWORD@db.example.com/shop")
shop.save("shop", overwrite=True)
ConduitConnection.load("shop").check()
```"""

    url: SecretStr | None = Field(
        default=None,
        title="URL",
        description="The whole of it: postgres://user:password@host/database",
    )
    type: str | None = Field(
        default=None,
        description="The connector, where there is no URL.",
        examples=["postgres", "duckdb", "sqlite", "csv", "json", "jsonl", "parquet"],
    )
    host: str | None = Field(default=None, description="A server.")
    port: int | None = Field(default=None, description="Its port.")
    database: str | None = Field(default=None, description="Its database.")
    user: str | None = Field(default=None, description="Who logs in.")
    password: SecretStr | None = Field(default=None, description="The user's password.")
    path: str | None = Field(
        default=None, description="A database file, or where files are: a folder or s3://bucket/x"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="What else a pipeline file says of a connection, such as schema or delimiter.",
    )
    secret_options: SecretDict = Field(
        default=SecretDict({}),
        description="The same for what nobody may see, such as a bucket's credentials.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        try:
            self.spec()
        except ConfigError as error:
            raise ValueError(error.message) from None
        return self

    def spec(self) -> ConnectionSpec:
        """Return what the block says, as a pipeline file would, with its secrets wrapped.

        Raises:
            ConfigError: it is none; no value is shown.
        """
        from conduit_core import connection_from_mapping

        name = self._block_document_name
        said: dict[str, object] = {
            **self.options,
            **_wrapped(self.secret_options.get_secret_value()),
            **{key: getattr(self, key) for key in ("type", "url", "path", "host", "port")},
            "database": self.database,
        }
        password = self.password
        return connection_from_mapping(
            {key: item for key, item in said.items() if item is not None},
            f"Prefect block {self.get_block_type_slug()}" + (f"/{name}" if name else ""),
            user=self.user,
            password=None if password is None else password.get_secret_value(),
        )

    def check(self) -> tuple[CheckItem, ...]:
        """Connect, and return what was found: whether it is fit to be written, else to be read.

        Raises:
            ConduitError: it can't be reached, or what the block says is wrong.
        """
        from conduit_core import check_connection

        return tuple(check_connection(self.spec()))

    async def acheck(self) -> tuple[CheckItem, ...]:
        """Do what ``check`` does, in a thread of its own."""
        return await asyncio.to_thread(self.check)


class ConduitPipeline(Block):
    """A pipeline: its file, or the file's content.

    Content is checked when the block is made, but for what `${NAME}` leaves open. A file is looked
    for where the pipeline runs.

    Args:
        path: the file, relative to the working directory.
        content: or what the file would hold. People can read it: no password may stand in it.
        source: the name of a connection in place of the source's.
        destination: the name of a connection in place of the destination's.
        state_prefix: what the Variables with the state begin with, in place of ``conduit``: for a
            second destination with tables of the same names.
    """

    model_config = _QUIET
    _block_type_name: ClassVar[str] = "Conduit Pipeline"
    _block_type_slug: ClassVar[str] = "conduit-pipeline"
    _description: ClassVar[str] = "A Conduit pipeline: its file, or the file's content."
    _code_example: ClassVar[str] = """\
```python
from prefect_conduit import ConduitPipeline, run_pipeline

ConduitPipeline(path="shop.yml", destination="warehouse").save("shop", overwrite=True)
run_pipeline(ConduitPipeline.load("shop"))
```"""

    path: str | None = Field(
        default=None, description="The pipeline's file, relative to where the flow runs."
    )
    content: dict[str, Any] | None = Field(
        default=None, description="What the file would hold, instead of a path."
    )
    source: str | None = Field(
        default=None, description="A connection's name, in place of the file's source."
    )
    destination: str | None = Field(
        default=None, description="A connection's name, in place of the file's destination."
    )
    state_prefix: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_]{1,100}$",
        description="What the Variables with the state begin with, in place of conduit.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.path) == bool(self.content):
            raise ValueError("a ConduitPipeline takes one of `path` and `content`")
        if self.content:
            try:
                _check(self.content, self.source, self.destination)
            except ConfigError as error:
                raise ValueError(error.message) from None
        return self

    def opened(self, connections: ConnectionResolver) -> Pipeline:
        """Return the pipeline.

        Args:
            connections: finds the pipeline's named connections.

        Raises:
            ConfigError: it is wrong, or isn't there.
        """
        from conduit_core import Pipeline

        source, destination = self.source or None, self.destination or None
        if self.path:
            return Pipeline.from_file(
                Path(self.path).expanduser(),
                connections=connections,
                source=source,
                destination=destination,
            )
        return Pipeline.from_mapping(
            self.content or {},
            Path.cwd(),
            connections=connections,
            source=source,
            destination=destination,
        )


class ConduitObservability(Block):
    """Who is told of loads: receivers of metrics, traces and lineage, tokens in their URLs.

    ``CONDUIT_OBSERVE=block:NAME``, in the worker's environment or a deployment's job variables,
    has flows use it.

    Args:
        receivers: URLs, such as ``otlp+https://collector.example.com``.
    """

    model_config = _QUIET
    _block_type_name: ClassVar[str] = "Conduit Observability"
    _block_type_slug: ClassVar[str] = "conduit-observability"
    _description: ClassVar[str] = "Who is told of loads: metrics, traces and lineage."
    _code_example: ClassVar[str] = """\
```python
from prefect_conduit import ConduitObservability

watch = ConduitObservability(receivers=["openlineage+https://KEY@lineage.example.com"])
watch.save("watch", overwrite=True)
```"""

    receivers: list[SecretStr] = Field(
        default_factory=list,
        description="URLs of receivers, such as otlp+http://collector:4318.",
    )


def end_with_secret(content: Mapping[str, object]) -> str | None:
    """Return the end of a pipeline, source or destination, that has a password written in it."""
    from conduit_core import shows_secret

    return next((e for e in ("source", "destination") if shows_secret(content.get(e))), None)


def _check(content: Mapping[str, object], source: str | None, destination: str | None) -> None:
    """Check a file's content, as far as can be done without the variables that it names."""
    from conduit_core import Pipeline, outline

    if end := end_with_secret(content):
        raise ConfigError(
            f"{end}: a password can't stand in a block's content, which people can read: name a"
            f" connection, as {end}: {{connection: shop}}, or a variable: ${{SHOP_URL}}"
        )
    if "${" in json.dumps(content, default=str):
        outline(content)
        return
    Pipeline.from_mapping(content, source=source or None, destination=destination or None)


def _wrapped(value: object) -> Any:
    if isinstance(value, Mapping):
        return {key: _wrapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_wrapped(item) for item in value]
    return SecretStr(value) if isinstance(value, str) else value
