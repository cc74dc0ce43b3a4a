"""Who is told of loads: the environment's receivers, or those of a block."""

from __future__ import annotations

import os
from functools import cache

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

OBSERVE = "CONDUIT_OBSERVE"
_BLOCK = "block:"
_SLUG = "conduit-observability"


def receivers() -> tuple[str, ...] | None:
    """Return the receivers' URLs of the block that ``CONDUIT_OBSERVE=block:NAME`` names.

    None for those that the variable names itself. A block that can't be read is a warning.
    """
    text = os.environ.get(OBSERVE, "").strip()
    if not text.startswith(_BLOCK):
        return None
    name = text.removeprefix(_BLOCK)
    try:
        return _of_block(name)
    except ObjectNotFound:
        why = "Prefect has no such block: make it in its pages under Blocks"
    except Exception as error:  # noqa: BLE001 - a receiver never fails a load
        why = f"Prefect can't be asked for it: {type(error).__name__}"
    get_run_logger().warning("the block %s/%s isn't used: %s", _SLUG, name, why)
    return ()


@cache
def _of_block(name: str) -> tuple[str, ...]:
    """Ask Prefect once in a process."""
    with get_client(sync_client=True) as client:
        data = client.read_block_document_by_name(name, _SLUG).data
    return tuple(str(word) for word in data.get("receivers") or ())
