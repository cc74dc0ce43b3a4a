"""Blocks: a system that a pipeline reads or writes, and a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import CheckItem, ConnectionResolver, ConnectionSpec, Pipeline


class ConduitConnection(Block):
    """A system that a pipeline reads or writes, as ``{connection: NAME}`` in its file.

    Args:
        url: the whole of it, with user and password.
        type: the connector, where there is no URL.
        options: what else a pipeline file says of a connection; ``${NAME}`` isn't filled in.
    """

    _block_type_name: ClassVar[str] = "Conduit Connection"
    _block_type_slug: ClassVar[str] = "conduit-connection"

    url: SecretStr | None = Field(default=None, description="postgres://user:password@host/db")
    type: str | None = Field(default=None, description="The connector, where there is no URL.")
    options: dict[str, Any] = Field(default_factory=dict)

    def spec(self) -> ConnectionSpec:
        """Return what the block says, as a pipeline file would, with its secrets wrapped.

        Raises:
            ConfigError: it is none; no value is shown.
        """
        from conduit_core import GivenConnections

        url = None if self.url is None else self.url.get_secret_value()
        said: object = url if url and not self.options else {**self.options}
        if isinstance(said, dict):
            said |= {k: v for k, v in (("type", self.type), ("url", url)) if v}
        name = self._block_document_name or "block"
        return GivenConnections({name: said}, "Prefect block").resolve(name)

    def check(self) -> tuple[CheckItem, ...]:
        """Connect, and return what was found.

        Raises:
            ConduitError: it can't be reached.
        """
        from conduit_core import check_connection

        return tuple(check_connection(self.spec()))


class ConduitPipeline(Block):
    """A pipeline: its file, or the file's content.

    Args:
        path: the file, relative to the working directory.
        content: or what the file would hold.
        source: the name of a connection in place of the source's.
        destination: the name of a connection in place of the destination's.
        state_prefix: what the Variables with the state begin with, in place of ``conduit``: for a
            second destination with tables of the same names.
    """

    _block_type_name: ClassVar[str] = "Conduit Pipeline"
    _block_type_slug: ClassVar[str] = "conduit-pipeline"

    path: str | None = Field(default=None)
    content: dict[str, Any] | None = Field(default=None)
    source: str | None = Field(default=None)
    destination: str | None = Field(default=None)
    state_prefix: str | None = Field(default=None, pattern=r"^[a-z0-9_]{1,100}$")

    def opened(self, connections: ConnectionResolver) -> Pipeline:
        """Return the pipeline.

        Raises:
            ConfigError: it is wrong, or isn't there.
        """
        from conduit_core import Pipeline

        if (self.path is None) == (self.content is None):
            raise ConfigError("a ConduitPipeline block takes one of `path` and `content`")
        if self.path is not None:
            return Pipeline.from_file(
                self.path, connections=connections, source=self.source, destination=self.destination
            )
        return Pipeline.from_mapping(
            self.content or {},
            Path.cwd(),
            connections=connections,
            source=self.source,
            destination=self.destination,
        )
