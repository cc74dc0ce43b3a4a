"""The digest of what decides a stream's rows: part of a load's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from conduit_core.spec.model import StreamSpec

# What decides which rows are read and what they look like in the target. Not here: names, the
# target (it has a fingerprint of its own), freshness, and whatever only decides the speed.
_DECISIVE = (
    "table",
    "query",
    "path",
    "columns",
    "mode",
    "unique_key",
    "cursor",
    "cursor_timezone",
    "initial",
    "null_cursor",
    "metadata",
)
_MARGINS = ("settle", "lookback")
_DELETES = {"detect", "apply", "column", "values", "table", "cursor", "unique_key"}


def fingerprint(
    stream: StreamSpec, source_identity: str, decisive: Mapping[str, object] | None = None
) -> str:
    """Return 32 hex digits that are equal as long as the same rows would be loaded.

    Args:
        stream: the stream.
        source_identity: what makes the source itself (host, database, path), without secrets.
        decisive: what of its rules and transform decides the rows, as plain JSON.
    """
    facts = {key: getattr(stream, key) for key in _DECISIVE}
    facts |= {key: str(now) for key in _MARGINS if (now := getattr(stream, key)) is not None}
    if stream.deletes is not None:
        facts["deletes"] = stream.deletes.model_dump(mode="json", include=_DELETES)
    if stream.ignore_columns:
        facts["ignore_columns"] = stream.ignore_columns
    facts |= decisive or {}
    facts |= {"source": source_identity, "release": _release()}
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@cache
def _release() -> str:
    """Return this library's major.minor: another one may read or cast differently."""
    try:
        return ".".join(version("conduit-load").split(".")[:2])
    except PackageNotFoundError:  # a checkout that was never installed
        return "0.0"
