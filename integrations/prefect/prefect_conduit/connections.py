"""Prefect's blocks as the named connections of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import ConnectionSpec


class PrefectConnections:
    """Resolves a connection's name as a block: ``shop``, or ``TYPE/NAME`` of any known type."""

    def resolve(self, name: str) -> ConnectionSpec:
        """Return the connection that a block says.

        Raises:
            ConfigError: Prefect has no such block, or its type says nothing to a connector.
        """
        from prefect.blocks.core import Block

        from prefect_conduit.blocks import ConduitConnection

        kind, _, own = name.rpartition("/")
        slug = f"{kind or ConduitConnection.get_block_type_slug()}/{own}"
        try:
            block: Block = cast("Any", Block.load)(slug, _sync=True)  # also on a loop's thread
        except ValueError as error:
            raise ConfigError(
                f"Prefect has no block {slug}: save it, as ConduitConnection(...).save({own!r})",
                command="prefect block ls",
            ) from error
        if isinstance(block, ConduitConnection):
            return block.spec()
        raise ConfigError(f"the block {slug} says nothing to a connector")
