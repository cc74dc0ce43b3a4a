"""What makes a load itself: target fingerprint, request, load id. Digests of plain text."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

from conduit_core.engine.model import RunRequest
from conduit_core.spec import StreamSpec
from conduit_core.spec.fingerprint import fingerprint
from conduit_core.types.dialect import Table


def stream_fingerprint(stream: StreamSpec, source_identity: str, folder: Path) -> str:
    """Return the fingerprint of what decides a stream's rows, its rules' own code included.

    Raises:
        ConfigError: a function or model of a rule doesn't import.
    """
    if not stream.quality and not stream.transform:
        return fingerprint(stream, source_identity)
    from conduit_core.quality import decisive  # most streams have neither

    facts = decisive(stream.quality, stream.transform, folder)
    return fingerprint(stream, source_identity, facts)


def digest(*parts: str) -> str:
    """Return 16 hex digits over the parts, which can't run into each other."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def target_fingerprint(destination_identity: str, target: Table) -> str:
    """Return the target's fingerprint: destination without secrets, schema and table."""
    return digest(destination_identity, target.schema, target.name)


def request_text(request: RunRequest) -> str:
    """Return the request as canonical JSON: watermark (with cap), window or full refresh."""
    item: dict[str, object]
    if request.full_refresh:
        item = {"kind": "full_refresh"}
    elif request.window_from is not None or request.only is not None:
        item = {"kind": "given"}
        if request.window_from is not None:
            item["from"] = request.window_from
        if request.only is not None:
            item["only"] = request.only.model_dump(mode="json")
        if request.window_to is not None:
            item["to"] = request.window_to
    else:
        item = {"kind": "watermark"}
        if request.window_to is not None:
            item["to"] = request.window_to
    return json.dumps(item, separators=(",", ":"))


def asked_for(request: RunRequest) -> str:
    """Return the options that ask for the same once more, for a command to paste."""
    parts = ["--full-refresh"] if request.full_refresh else []
    for option, value in (("--from", request.window_from), ("--to", request.window_to)):
        if value is not None:
            parts += [option, shlex.quote(value)]
    if request.only is not None:
        only = request.only
        pairs = (f"{only.column}={value}" for value in only.values)
        parts += [text for pair in pairs for text in ("--only", shlex.quote(pair))]
    return "".join(f" {part}" for part in parts)


def load_id(
    fingerprint: str, base_version: int, effective: str, request: str, spec_fingerprint: str
) -> str:
    """Return the deterministic id of a load (design, section 4, Identity)."""
    return digest(fingerprint, str(base_version), effective, request, spec_fingerprint)
